"""What each pruning method costs a training step, against plain training.

    python benchmarks/methods_cost.py [SCHEDULE ...] [--model resnet20_cifar] [--batch-size 128] [--steps 16]
        [--rounds 8] [--steps-per-epoch 391] [--epochs 20] [--threads N] [--out CSV]

Identical networks train side by side on random images in one run, one of them plainly and one for each schedule
(default: all of ``schedules/methods``), a step of each in turn, so that whatever else the machine does hits all. Each
is measured from the middle of its schedule on; on the way there only the first and the last step of an epoch are made,
on a few images. What happens between epochs is not in the times. A schedule whose pruners act at single instants only
costs a step no more than its masks (``step.py``): it is left out, with a note.

``ms per step`` and ``ratio`` (to plain training) are medians over the rounds; ``ratio of means`` counts all steps, with
what happens more seldom than once a round, and with all noise.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas
import torch
from runner import write
from torch import Tensor, nn

from schedengine import PruningScheduler, load_schedule
from schedengine.errors import SchedEngineError
from schedengine.policies.lr import LRPolicy
from schedengine.policies.pruning import PruningPolicy
from schedengine.reports.tables import show_table
from schedengine.zoo.models import build_model

METHODS = Path(__file__).parents[1] / "schedules" / "methods"
FEW = 8  # images of a step that is not timed
WARM = 2  # steps before the first round

Batch = tuple[Tensor, Tensor]


class Runner:
    """A network that trains, with a schedule or plainly.

    Args:
        path: of the schedule; None: plain training.
        options: of the command line.
    """

    def __init__(self, path: Path | None, options: argparse.Namespace) -> None:
        self.name = "plain" if path is None else path.stem
        self.epoch = self.step = 0
        self.steps_per_epoch = int(options.steps_per_epoch)
        torch.manual_seed(0)
        self.model = build_model(options.model, classes=10)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.scheduler = None if path is None else self._bound(path, options)

    def _bound(self, path: Path, options: argparse.Namespace) -> PruningScheduler:
        schedule = load_schedule(path)
        return schedule.bind(
            self.model,
            self.optimizer,
            epochs=options.epochs if schedule.epochs is None else None,
            steps_per_epoch=self.steps_per_epoch,
            example_inputs=batch(1)[0],
            data=[batch(FEW) for _ in range(4)],
            loss=nn.functional.cross_entropy,
        )

    @property
    def acts_at_instants_only(self) -> bool:
        assert self.scheduler is not None
        others = [policy for policy in self.scheduler.policies if not isinstance(policy, LRPolicy)]
        return all(type(one) is PruningPolicy and all(at.every is None for at in one.own.windows) for one in others)

    def begin(self) -> None:
        """Go to the middle of the schedule."""
        if self.scheduler is None:
            return
        few = batch(FEW)
        for epoch in range((self.scheduler.total_epochs or 0) // 2):
            self.scheduler.on_epoch_begin(epoch)
            for step in (0, self.steps_per_epoch - 1):
                self.epoch, self.step = epoch, step
                self.train(few)
            self.scheduler.on_epoch_end(epoch)
            self.epoch, self.step = epoch + 1, 0
        self.scheduler.on_epoch_begin(self.epoch)

    def train(self, images_and_labels: Batch) -> None:
        """One step."""
        images, labels = images_and_labels
        here, scheduler = (self.epoch, self.step, self.steps_per_epoch), self.scheduler
        if scheduler is not None:
            scheduler.on_minibatch_begin(*here)
        loss = nn.functional.cross_entropy(self.model(images), labels)
        if scheduler is not None:
            loss = scheduler.before_backward_pass(*here, loss)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if scheduler is not None:
            scheduler.before_parameter_optimization(*here)
        self.optimizer.step()
        if scheduler is not None:
            scheduler.on_minibatch_end(*here)
        self.step += 1

    def seconds(self, images_and_labels: Batch) -> float:
        """What one step takes."""
        start = time.perf_counter()
        self.train(images_and_labels)
        return time.perf_counter() - start


def batch(size: int) -> Batch:
    """Random images and labels."""
    return torch.randn(size, 3, 32, 32), torch.randint(0, 10, (size,))


def runners(options: argparse.Namespace) -> Iterator[Runner]:
    """Those that can be measured; says why another one is not."""
    yield Runner(None, options)
    for path in options.schedules or sorted(METHODS.glob("*.yaml")):
        try:
            runner = Runner(path, options)
            if runner.acts_at_instants_only:
                print(f"{path.stem}: left out: it acts at single instants, and a step costs no more than its masks\n")
                continue
            runner.begin()
            yield runner
        except SchedEngineError as error:
            print(f"{path.stem}: not measured: {error}\n")


def measure(found: Sequence[Runner], options: argparse.Namespace) -> list[list[float]]:
    """Seconds of each runner's step, by rounds of ``steps``; who goes first rotates."""
    data, times = batch(options.batch_size), [[0.0] * options.rounds for _ in found]
    for _ in range(WARM):
        for runner in found:
            runner.train(data)
    for turn in range(options.rounds * options.steps):
        for place in range(len(found)):
            which = (place + turn) % len(found)
            times[which][turn // options.steps] += found[which].seconds(data) / options.steps
    return times


def rows_of(found: Sequence[Runner], times: Sequence[Sequence[float]]) -> list[dict[str, str]]:
    """A row a method."""
    plain = times[0]
    return [
        {
            "method": runner.name,
            "ms per step": f"{1000 * statistics.median(own):.2f}",
            "ratio": f"{statistics.median(mine / base for mine, base in zip(own, plain, strict=True)):.4f}",
            "ratio of means": f"{sum(own) / sum(plain):.4f}",
        }
        for runner, own in zip(found, times, strict=True)
    ]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("schedules", nargs="*", type=Path)
    parser.add_argument("--model", default="resnet20_cifar")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=16, help="of a round")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps-per-epoch", type=int, default=391)
    parser.add_argument("--epochs", type=int, default=20, help="of a schedule without phases")
    parser.add_argument("--threads", type=int, help="default: torch's own")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.rounds * options.steps + WARM > options.steps_per_epoch:
        parser.error(f"--rounds times --steps, and {WARM} before them, must fit into --steps-per-epoch")
    return options


def main() -> None:
    options = parsed()
    if options.threads:
        torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    found = list(runners(options))
    rows = rows_of(found, measure(found, options))
    title = f"{options.model}, batch {options.batch_size}"
    note = f"{torch.get_num_threads()} thread(s); medians over {options.rounds} rounds of {options.steps} steps"
    note += "; ratio: to the plain step of the same round"
    show_table(title, list(rows[0]), [list(row.values()) for row in rows], note)
    if options.out:
        write(pandas.DataFrame(rows), options.out)


if __name__ == "__main__":
    main()
