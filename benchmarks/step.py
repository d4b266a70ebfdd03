"""What the scheduler costs a training step, with masks in place and no policy due.

    python benchmarks/step.py [--steps 60] [--out CSV]

Two identical models train side by side in one run, one with the scheduler and one without, a step of each in turn, so
that whatever else the machine does hits both; the ratio is of the medians. For ResNet-20 at batch 128 it should be
within 1 %. Also counts what the six callbacks dispatch on ResNet-50 (161 parameters, 54 of them masked): at most 4
operations.
"""

from __future__ import annotations

import argparse
import copy
import csv
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import resnet50

from schedengine import PruningScheduler, load_schedule
from schedengine.zoo.models import build_model

SCHEDULE = {
    "version": 2,
    "pruners": {"agp": {"sparsity": 0.9}},
    "lr_schedulers": {"lr": {"class": "linear", "to": 0.01}},
    "policies": [{"pruner": "agp", "at": "start"}, {"lr_scheduler": "lr", "during": "run"}],
}


class Count(TorchDispatchMode):
    """Counts dispatched operations."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **(kwargs or {}))


def optimizer_of(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)


def plain_step(model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor) -> None:
    loss = nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def scheduled_step(
    scheduler: PruningScheduler, step: int, steps: int, model: nn.Module, optimizer: torch.optim.Optimizer,
    images: torch.Tensor, labels: torch.Tensor,
) -> None:  # fmt: skip
    scheduler.on_minibatch_begin(0, step, steps)
    loss = nn.functional.cross_entropy(model(images), labels)
    loss = scheduler.before_backward_pass(0, step, steps, loss)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    scheduler.before_parameter_optimization(0, step, steps)
    optimizer.step()
    scheduler.on_minibatch_end(0, step, steps)


def seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(steps: int) -> tuple[float, float]:
    """Median seconds of a step, plain and scheduled."""
    plain, scheduled = build_model("resnet20_cifar"), build_model("resnet20_cifar")
    scheduled.load_state_dict(copy.deepcopy(plain.state_dict()))
    first, second = optimizer_of(plain), optimizer_of(scheduled)
    scheduler = load_schedule(SCHEDULE).bind(scheduled, second, epochs=1)
    scheduler.on_epoch_begin(0)
    images, labels = torch.randn(128, 3, 32, 32), torch.randint(0, 10, (128,))
    times: tuple[list[float], list[float]] = ([], [])
    for step in range(steps):
        calls = [
            lambda: plain_step(plain, first, images, labels),
            lambda: scheduled_step(scheduler, step, steps, scheduled, second, images, labels),  # noqa: B023
        ]
        for which in (0, 1) if step % 2 else (1, 0):
            times[which].append(seconds(calls[which]))
    return statistics.median(times[0][5:]), statistics.median(times[1][5:])


def callbacks_alone(model: nn.Module) -> tuple[int, float]:
    """Operations, and seconds, of the six callbacks without forward, backward and update."""
    optimizer = optimizer_of(model)
    scheduler = load_schedule(SCHEDULE).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    loss = torch.zeros((), requires_grad=True)

    def callbacks(step: int) -> None:
        scheduler.on_minibatch_begin(0, step, 1000)
        scheduler.before_backward_pass(0, step, 1000, loss)
        scheduler.before_parameter_optimization(0, step, 1000)
        scheduler.on_minibatch_end(0, step, 1000)

    callbacks(0)
    with Count() as count:
        callbacks(1)
    return count.operations, statistics.median(seconds(lambda: callbacks(step)) for step in range(2, 30))  # noqa: B023


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    rows: list[dict[str, Any]] = []
    for name, model in (("resnet20_cifar", build_model("resnet20_cifar")), ("resnet50", resnet50())):
        operations, alone = callbacks_alone(model)
        rows.append({"model": name, "what": "operations of the callbacks", "value": operations})
        rows.append({"model": name, "what": "callbacks alone, ms", "value": round(1000 * alone, 3)})
    plain, scheduled = ratio(options.steps)
    rows.append({"model": "resnet20_cifar", "what": "plain step, ms", "value": round(1000 * plain, 2)})
    rows.append({"model": "resnet20_cifar", "what": "scheduled step, ms", "value": round(1000 * scheduled, 2)})
    rows.append({"model": "resnet20_cifar", "what": "scheduled / plain", "value": round(scheduled / plain, 4)})
    for row in rows:
        print(f"{row['model']:<16}{row['what']:<32}{row['value']}")
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
