"""Whether it pays on the CPU to train the replicas of a phase side by side, as one stacked network.

    python benchmarks/side_by_side.py [MODEL ...] [--replicas 3 5] [--rounds 5] [--seconds 60] [--out CSV]

A training step (forward, backward, SGD with momentum, masks multiplied) of m replicas, each with a batch of its own:

    one by one         m networks in turn, 2 threads; what the ratios are to
    one by one, 1      the same with 1 thread
    stacked            one network of stacked parameters and buffers under ``torch.vmap``, 2 threads
    stacked, 1         the same with 1 thread
    two processes      of 1 thread each, m networks dealt out between them, as ``--jobs 2`` does

It does not pay, and is not built: the stack, at the better of 1 and 2 threads, took 1.1 (digits_cnn) to 2.0 times
(simplenet_cifar) the processor's seconds of one replica after another with 1 thread, ResNet-8 and ResNet-20 1.4 to 1.5
times. It beats one by one with 2 threads clearly only where those are a waste, on digits_cnn: 0.43 to 0.45 of their
seconds, where 1 thread needs 0.38 to 0.40. And it equals the sequential run up to rounding only, not bit for bit.

The five take turns, so that whatever else the machine does hits all; medians over the rounds. ``wall`` is what one has
to wait; ``work``, the processor's seconds, depends less on what else runs: of the two cores other work had about one
(torch 2.14.1), so that most of ``wall`` in the table says no more than ``work``, and two processes gain little.

Before anything is timed, gradients and running statistics of the stacked network are compared with those of the single
ones: in float64, where more than 1e-4 is an error (found: 3e-15), and in float32, where they are only shown: up to 7e-3
of a gradient's norm for ResNet-20, which the agreement in float64 leaves to rounding.

Under ``vmap`` a convolution with weights of its own for each replica becomes a grouped one, of m groups. Batch norm
updates its buffers in place, which ``vmap`` refuses for buffers that replicas share; stacked ones it updates, each by
its own batches. Backward is called outside of ``vmap``, on the sum of the m losses; ``torch.func.grad`` inside of
it took about a tenth more work in a trial.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas
import torch
from runner import write
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.functional import cross_entropy

from schedengine.reports.tables import show_table
from schedengine.zoo.models import build_model

SHAPES = {
    "digits_cnn": (64, 1, 8, 8),
    "simplenet_mnist": (64, 1, 28, 28),
    "simplenet_cifar": (64, 3, 32, 32),
    "resnet8_cifar": (128, 3, 32, 32),
    "resnet20_cifar": (128, 3, 32, 32),
}
SPARSITY = 0.9
TOLERANCE = 1e-4
SLICE = 0.3  # processor seconds of the baseline's turn, as near as whole steps come to it

Seconds = tuple[float, float]
"""Wall, and of the processor."""


def networks(name: str, count: int) -> list[nn.Module]:
    return [build_model(name) for _ in range(count)]


def batches(name: str, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Random images (m, batch, channels, height, width) and labels (m, batch)."""
    shape = (count, *SHAPES[name])
    return torch.randn(shape, dtype=dtype), torch.randint(0, 10, shape[:2])


def masks_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [(torch.rand_like(each) >= SPARSITY).to(each.dtype) for each in parameters]


class Update:
    """What follows backward."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.masks = masks_of(self.parameters)
        self.optimizer = torch.optim.SGD(self.parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)

    @torch.no_grad()
    def step(self) -> None:
        self.optimizer.step()
        torch._foreach_mul_(self.parameters, self.masks)


class OneByOne:
    """m networks in turn."""

    def __init__(self, name: str, models: Sequence[nn.Module], dtype: torch.dtype = torch.float32) -> None:
        self.models, self.data = models, batches(name, len(models), dtype)
        self.updates = [Update(list(model.parameters())) for model in models]

    def backward(self, which: int) -> None:
        images, labels = self.data[0][which], self.data[1][which]
        self.updates[which].optimizer.zero_grad(set_to_none=True)
        cross_entropy(self.models[which](images), labels).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        for which, update in enumerate(self.updates):
            self.backward(which)
            update.step()


class Stacked:
    """The same networks as one."""

    def __init__(self, name: str, models: Sequence[nn.Module], data: tuple[Tensor, Tensor]) -> None:
        self.parameters, self.buffers = stack_module_state(list(models))
        self.data, self.update = data, Update(list(self.parameters.values()))
        base = build_model(name, meta=True)

        def loss(parameters: Any, buffers: Any, images: Tensor, labels: Tensor) -> Tensor:
            return cross_entropy(functional_call(base, (parameters, buffers), (images,)), labels)

        self.losses = torch.vmap(loss)

    def backward(self) -> None:
        self.update.optimizer.zero_grad(set_to_none=True)
        self.losses(self.parameters, self.buffers, *self.data).sum().backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        self.backward()
        self.update.step()


def disagreement(name: str, count: int, dtype: torch.dtype) -> float:
    """The largest relative L2 distance of a parameter's gradients, or of a buffer's values, after one pass of both."""
    single = OneByOne(name, [model.to(dtype) for model in networks(name, count)], dtype)
    stacked = Stacked(name, single.models, single.data)
    stacked.backward()
    worst = 0.0
    for which, model in enumerate(single.models):
        single.backward(which)
        pairs = [(named.grad, stacked.parameters[key].grad) for key, named in model.named_parameters()]
        pairs += [(named, stacked.buffers[key]) for key, named in model.named_buffers()]
        for own, other in pairs:
            assert own is not None and other is not None
            worst = max(worst, float((own - other[which]).double().norm() / own.double().norm().clamp_min(1e-12)))
    return worst


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def timed(step: Callable[[], None], steps: int, cores: int) -> Seconds:
    """Of that many steps."""
    with threads(cores):
        wall, work = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step()
        return time.perf_counter() - wall, time.process_time() - work


def serve(connection: Connection) -> None:
    """In a process: train ``count`` networks for so many steps whenever told, and say what they took."""
    known: tuple[str, int] | None = None
    while told := connection.recv():
        *asked, steps = told
        if known != tuple(asked):
            name, count = known = tuple(asked)
            ours = OneByOne(name, networks(name, count))
        connection.send(timed(ours.step, steps, 1))


class TwoProcesses:
    """m networks dealt out between two processes, which stay."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connections, self.processes = [], []
        for _ in range(2):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(there,), daemon=True)
            process.start()
            self.connections.append(here)
            self.processes.append(process)

    def timed(self, name: str, count: int, steps: int) -> Seconds:
        """As ``timed``: wall until both are done, and the work of both."""
        start = time.perf_counter()
        for connection, share in zip(self.connections, (count - count // 2, count // 2), strict=True):
            connection.send((name, share, steps))
        work = sum(connection.recv()[1] for connection in self.connections)
        return time.perf_counter() - start, work

    def __enter__(self) -> TwoProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for connection, process in zip(self.connections, self.processes, strict=True):
            connection.send(None)
            process.join()


@dataclass(frozen=True)
class Way:
    """One of the ways to train; ``timed`` takes the number of steps."""

    name: str
    timed: Callable[[int], Seconds]


def measured(ways: Sequence[Way], rounds: int, seconds: float) -> list[list[Seconds]]:
    """What a step takes in each way, round by round: as many rounds as the time allows, but one at least."""
    for way in ways:
        way.timed(1)
    steps = max(1, round(SLICE / ways[0].timed(1)[1]))
    taken: list[list[Seconds]] = [[] for _ in ways]
    start = time.perf_counter()
    for turn in range(rounds):
        for place in range(len(ways)):
            which = (place + turn) % len(ways)
            wall, work = ways[which].timed(steps)
            taken[which].append((wall / steps, work / steps))
        if time.perf_counter() - start > seconds * (turn + 1) / (turn + 2):
            break
    return taken


def rows_of(name: str, count: int, two: TwoProcesses, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a way.

    Raises:
        SystemExit: the stacked network computes something else.
    """
    torch.manual_seed(0)
    exact, rounded = (disagreement(name, count, dtype) for dtype in (torch.float64, torch.float32))
    if not exact <= TOLERANCE:
        raise SystemExit(f"{name}: gradients of stacked and single networks differ by {exact:.1e} of their norm")
    single = OneByOne(name, networks(name, count))
    stacked = Stacked(name, single.models, single.data)
    ways = [
        Way("one by one", lambda steps: timed(single.step, steps, 2)),
        Way("one by one, 1", lambda steps: timed(single.step, steps, 1)),
        Way("stacked", lambda steps: timed(stacked.step, steps, 2)),
        Way("stacked, 1", lambda steps: timed(stacked.step, steps, 1)),
        Way("two processes", lambda steps: two.timed(name, count, steps)),
    ]
    taken = measured(ways, options.rounds, options.seconds)
    says = {"model": name, "batch": SHAPES[name][0], "replicas": count}
    last = {"rounds": len(taken[0]), "differ in float64": f"{exact:.0e}", "in float32": f"{rounded:.0e}"}
    return [
        {**says, "way": way.name, **against(own, taken[0], count), **last} for way, own in zip(ways, taken, strict=True)
    ]


def against(own: Sequence[Seconds], base: Sequence[Seconds], count: int) -> dict[str, str]:
    """Milliseconds a step of one replica, and the ratios to the baseline's of the same round: medians."""
    row = {}
    for kind, name in enumerate(("wall", "work")):
        mine, theirs = [one[kind] for one in own], [one[kind] for one in base]
        row[f"{name} ms"] = f"{1000 * statistics.median(mine) / count:.2f}"
        row[f"{name} ratio"] = f"{statistics.median(a / b for a, b in zip(mine, theirs, strict=True)):.3f}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(SHAPES)}; default: all")
    parser.add_argument("--replicas", nargs="+", type=int, default=[3, 5])
    parser.add_argument("--rounds", type=int, default=5, help="at most, of each model and number of replicas")
    parser.add_argument("--seconds", type=float, default=60, help="after which a model's rounds end, about")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if unknown := set(options.models) - set(SHAPES):
        parser.error(f"no shapes known for {', '.join(sorted(unknown))}; there are {', '.join(SHAPES)}")
    if min(options.replicas) < 2:
        parser.error("--replicas: two at least")
    rows: list[dict[str, Any]] = []
    with TwoProcesses() as two:
        for name, count in itertools.product(options.models or SHAPES, options.replicas):
            rows += rows_of(name, count, two, options)
            if options.out:
                write(pandas.DataFrame(rows), options.out)
    note = (
        "a step of one replica; wall: waited; work: of the processor, all threads; ratio: to one by one, same round\n"
    )
    note += "differ: the largest L2 distance of a parameter's gradients, or a buffer, to the single network's, relative"
    cells = [[str(cell) for cell in row.values()] for row in rows]
    show_table("Replicas side by side", list(rows[0]), cells, note, text=["way"])


if __name__ == "__main__":
    main()
