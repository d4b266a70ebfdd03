"""What a criterion is. How many groups go, and which at equal scores, is decided in ``sparsity``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from schedengine.errors import SchedEngineError

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.granularity import Granularity


class Criterion(ABC):
    """Scores the groups of a weight; low goes first. Only the order of scores matters."""

    elementwise: ClassVar[bool] = False
    """Whether the score of an element depends on that element alone, so that ``slice_scores`` works."""

    @abstractmethod
    def scores(self, weight: Tensor, granularity: Granularity, *, key: str) -> Tensor:
        """One score for each group.

        Args:
            weight: any shape that ``granularity`` accepts, any floating dtype and device.
            granularity: what a group is.
            key: names the event (``conv1.weight/3``); the same key gives the same random scores.

        Returns:
            (groups,) floating, finite, on the weight's device.

        Raises:
            SchedEngineError: a score is not finite.
        """

    def slice_scores(self, flat: Tensor) -> Tensor:
        """Scores of a slice of the flattened weight, for selection by chunks; only where ``elementwise``.

        The reader of the chunks checks that they are finite.

        Args:
            flat: (n,) weights.

        Returns:
            (n,) scores.
        """
        raise NotImplementedError(f"{type(self).__name__} is not elementwise")


def finite(scores: Tensor, *, key: str) -> Tensor:
    """The scores as they are.

    Raises:
        SchedEngineError: some are nan or infinite, which has no place in an order.
    """
    good = scores.isfinite()
    if not bool(good.all()):
        bad = int((~good).sum())
        raise SchedEngineError(
            f"{key}: {bad} of {scores.numel()} scores are not finite; look for nan or inf in the weights"
        )
    return scores
