"""Loss and accuracy of a model on one split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from schedengine.training.compute import Compute
from schedengine.zoo.loader import Loader


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        loss: mean cross-entropy of an image.
        top1: per cent of the images whose class scored highest, in [0, 100].
        top5: per cent of the images whose class is among the five that scored highest.
        samples: images.
    """

    loss: float
    top1: float
    top5: float
    samples: int

    def plain(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    def metrics(self) -> dict[str, float]:
        """For the scheduler's ``on_epoch_end``."""
        return {"loss": self.loss, "top1": self.top1, "top5": self.top5}


@torch.no_grad()
def evaluate(model: nn.Module, loader: Loader, compute: Compute) -> Evaluation:
    """Measure a model in evaluation mode; every module is left in the mode that it was in.

    Counts stay on the device until the end, which reads them once.

    Args:
        model: images (B, ...) -> scores (B, classes).
        loader: of the split; unshuffled, without augmentation.
        compute: where, and in which precision.
    """
    counts, samples = [], 0
    with evaluating(model):
        for images, labels in compute.batches(loader):
            with compute.autocast():
                scores = model(images)
            counts.append(_count(scores.float(), labels))
            samples += len(labels)
    loss, top1, top5 = torch.stack(counts).cpu().double().sum(0).tolist()
    return Evaluation(loss / samples, 100 * top1 / samples, 100 * top5 / samples, samples)


def _count(scores: Tensor, labels: Tensor) -> Tensor:
    """(3,): summed loss, images right at first, images right within five."""
    is_right = scores.topk(min(5, scores.shape[1])).indices == labels[:, None]
    loss = cross_entropy(scores, labels, reduction="sum")
    return torch.stack([loss, is_right[:, 0].sum().float(), is_right.sum().float()])


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within the block; a module that was in it before stays in it after."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
