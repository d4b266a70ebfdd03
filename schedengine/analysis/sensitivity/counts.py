"""What is counted of a cell: sums over images, so that batches and shards add up exactly, in any order."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

_UNIT = 2.0**-32


@dataclass(frozen=True)
class Counts:
    """Sums over the images that a cell was shown. ``+`` adds those of other images.

    Args:
        samples: images.
        top1: images whose class scored highest.
        top5: images whose class is among the five that scored highest.
        lost: images whose class scored highest in the dense network and not here; ``top1 - dense.top1 + lost`` are won.
        nonfinite: images whose loss is not a finite number (nan or inf in the scores); in none of the other sums.
        loss_units: summed cross-entropy in units of 2**-32: whole numbers, so that the order of a sum does not matter.
    """

    samples: int = 0
    top1: int = 0
    top5: int = 0
    lost: int = 0
    won: int = 0
    nonfinite: int = 0
    loss_units: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def accuracy(self) -> float:
        """Top-1 in per cent, [0, 100]; nan where an image has none, because a score of its is not finite."""
        return self._mean(100.0 * self.top1)

    @property
    def accuracy5(self) -> float:
        """Top-5 in per cent; nan likewise."""
        return self._mean(100.0 * self.top5)

    @property
    def loss(self) -> float:
        """Mean cross-entropy of an image; nan likewise."""
        return self._mean(self.loss_units * _UNIT)

    def _mean(self, total: float) -> float:
        return math.nan if self.nonfinite or not self.samples else total / self.samples


@dataclass
class Verdicts:
    """What became of each image of a batch.

    Args:
        top1, top5: (B,) bool.
        loss: (B,) float64.
    """

    top1: Tensor
    top5: Tensor
    loss: Tensor

    @staticmethod
    def joined(parts: list[Verdicts]) -> Verdicts:
        """Those of several batches, one after the other."""
        return Verdicts(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Verdicts)))

    def count(self, dense: Verdicts) -> Counts:
        """Sum up.

        Args:
            dense: of the dense network, on the same images.
        """
        good = self.loss.isfinite()
        units = (self.loss[good] / _UNIT).round().long()
        here, there = self.top1 & good, dense.top1 & good
        sums = [here, self.top5 & good, there & ~here, here & ~there]
        top1, top5, lost, won = torch.stack(sums).sum(1).tolist()
        return Counts(len(good), top1, top5, lost, won, int((~good).sum()), int(units.sum()))


def judge(scores: Tensor, labels: Tensor) -> Verdicts:
    """Compare scores with labels, as ``training.evaluate`` does; the loss is taken in double precision.

    Args:
        scores: (B, classes).
        labels: (B,) int64.
    """
    is_right = scores.float().topk(min(5, scores.shape[1])).indices == labels[:, None]
    loss = cross_entropy(scores.double(), labels, reduction="none")
    return Verdicts(is_right[:, 0], is_right.any(1), loss)


def has_doubt(scores: Tensor, labels: Tensor, tolerance: float) -> bool:
    """Whether noise in the scores could change a count: the label's score is as good as level with the best of the
    others, or with the fifth of them. An image that is wrong either way is in no doubt, however close the others are.

    Args:
        scores: (B, classes).
        labels: (B,) int64.
        tolerance: of the difference of two scores of an image, as a fraction of its largest absolute score.
    """
    own = scores.gather(1, labels[:, None])
    others = scores.scatter(1, labels[:, None], -torch.inf)
    ranked = others.topk(min(5, scores.shape[1])).values
    margin = (own - ranked[:, [0, -1]] if scores.shape[1] > 5 else own - ranked[:, :1]).abs().amin(1)
    # `not above` instead of `below`: a score that is not a number leaves doubt too.
    return not bool((margin > tolerance * scores.abs().amax(1)).all())
