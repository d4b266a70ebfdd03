"""One epoch of training with the scheduler's callbacks in place. Read this to port a loop of your own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from schedengine.errors import SchedEngineError
from schedengine.scheduler import PruningScheduler
from schedengine.training.compute import Compute
from schedengine.zoo.loader import Loader

T = TypeVar("T")


def train_epoch(
    model: nn.Module,
    loader: Loader,
    optimizer: torch.optim.Optimizer,
    scheduler: PruningScheduler,
    epoch: int,
    compute: Compute,
    *,
    accumulate: int = 1,
    begun: Callable[[], None] = lambda: None,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Train for one epoch, up to but not including the scheduler's ``on_epoch_end``, which wants an evaluation first.

    Args:
        epoch: from 0.
        accumulate: batches in an update; each counts by its number of images.
        begun: called when the first step's masks are in place, before its forward pass.
        after_step: called after every update.

    Returns:
        The mean loss of an image, and what regularizers added to it.

    Raises:
        SchedEngineError: a loss was not finite; says in which step.
    """
    updates = updates_per_epoch(loader, accumulate)
    losses = EpochLosses()
    model.train()
    loader.set_epoch(epoch)
    scheduler.on_epoch_begin(epoch)
    for step, batches in enumerate(grouped(compute.batches(loader), accumulate)):
        scheduler.on_minibatch_begin(epoch, step, updates)
        if step == 0:
            begun()
        optimizer.zero_grad(set_to_none=True)
        count = sum(len(labels) for _, labels in batches)
        for images, labels in batches:
            with compute.autocast():
                data_loss = cross_entropy(model(images), labels)
            loss = scheduler.before_backward_pass(epoch, step, updates, data_loss)
            compute.scaler.scale(loss * (len(labels) / count)).backward()  # type: ignore[no-untyped-call]
            losses.add(step, len(labels), data_loss, loss)
        compute.scaler.unscale_(optimizer)
        scheduler.before_parameter_optimization(epoch, step, updates)
        compute.scaler.step(optimizer)
        compute.scaler.update()
        scheduler.on_minibatch_end(epoch, step, updates)
        after_step()
    return losses.read(epoch)


def updates_per_epoch(loader: Loader, accumulate: int = 1) -> int:
    """Optimizer steps in an epoch; what is left over at the end makes one more."""
    return -(-len(loader) // accumulate)


def grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items; the last one may be shorter.

    Example:
        >>> list(grouped("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    iterator = iter(items)
    while group := list(itertools.islice(iterator, size)):
        yield group


class EpochLosses:
    """Losses of an epoch, left on the device until its end: reading them at every step would wait for the device."""

    def __init__(self) -> None:
        self._where: list[tuple[int, int]] = []
        self._values: list[Tensor] = []

    def add(self, step: int, images: int, data_loss: Tensor, loss: Tensor) -> None:
        """Note one batch: without and with what regularizers add."""
        self._where.append((step, images))
        self._values.append(torch.stack([data_loss.detach().float(), loss.detach().float()]))

    def read(self, epoch: int) -> tuple[float, float]:
        """Means over the images: of the loss, and of what regularizers added.

        Raises:
            SchedEngineError: a loss was not finite.
        """
        values = torch.stack(self._values).cpu().double()
        bad = (~values.isfinite()).any(dim=1).nonzero().flatten()
        if len(bad):
            first = int(bad[0])
            raise SchedEngineError(
                f"epoch {epoch}, step {self._where[first][0]}: the training loss is {float(values[first, 1])}; "
                "training has diverged: lower the learning rate, or look at the data"
            )
        weights = torch.tensor([images for _, images in self._where], dtype=torch.float64)
        data_loss, loss = ((weights[:, None] * values).sum(0) / weights.sum()).tolist()
        return data_loss, loss - data_loss
