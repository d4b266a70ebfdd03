"""Tiny models and the plain loop that the engine's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from schedengine import PruningScheduler, load_schedule
from schedengine.schedule.document import Schedule


def small_model(seed: int = 0) -> nn.Sequential:
    """A convolution, a normalisation and a linear layer: 54 + 160 weights."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 5)
    )


def sgd(model: nn.Module, lr: float | Tensor = 0.1, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=options.pop("momentum", 0.9), **options)


def batch(epoch: int, step: int) -> tuple[Tensor, Tensor]:
    """The same images at the same place of every run."""
    generator = torch.Generator().manual_seed(1000 * epoch + step)
    return torch.randn(4, 2, 6, 6, generator=generator), torch.randint(0, 5, (4,), generator=generator)


def step_once(
    scheduler: PruningScheduler, model: nn.Module, optimizer: torch.optim.Optimizer, epoch: int, step: int, steps: int
) -> float:
    """One step of the loop in ``PruningScheduler``'s docstring; returns the loss."""
    scheduler.on_minibatch_begin(epoch, step, steps)
    images, labels = batch(epoch, step)
    loss = nn.functional.cross_entropy(model(images), labels)
    total = scheduler.before_backward_pass(epoch, step, steps, loss)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    scheduler.before_parameter_optimization(epoch, step, steps)
    optimizer.step()
    scheduler.on_minibatch_end(epoch, step, steps)
    return float(total.detach())


def train(
    scheduler: PruningScheduler,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: Iterator[int] | range | None = None,
    steps: int = 4,
    after_step: Callable[[int, int], None] = lambda epoch, step: None,
) -> None:
    """The plain loop."""
    for epoch in scheduler.epochs() if epochs is None else epochs:
        scheduler.on_epoch_begin(epoch)
        for step in range(steps):
            step_once(scheduler, model, optimizer, epoch, step, steps)
            after_step(epoch, step)
        scheduler.on_epoch_end(epoch, metrics={"loss": 1.0 / (epoch + 1), "top1": float(epoch)})


def one_pruner(axes: dict[str, Any], policy: dict[str, Any], **sections: Any) -> Schedule:
    """A version 2 schedule with one pruner ``p`` and one policy for it."""
    return load_schedule({"version": 2, "pruners": {"p": axes}, "policies": [{"pruner": "p", **policy}], **sections})
