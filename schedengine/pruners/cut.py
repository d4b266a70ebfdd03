"""The record of a cut: what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from schedengine.pruners.impact import Impact


@dataclass(frozen=True)
class Cut:
    """What one cut did: the record of an event, kept for reports.

    Args:
        pruner: its name in the schedule.
        epoch, step: when; step None at the beginning of the epoch.
        number, count: the ``number``-th of ``count`` cuts of this pruner.
        target: fraction of the selected weights that was asked to be gone; None where a limit decides.
        asked: the same as a count of weights; None likewise.
        removed: weights that this pruner's masks remove after the cut.
        weights: all weights that this pruner selected, before any thinning (with ``counted: current``, those there).
        is_end: at the end of the epoch, after its evaluation.
        impact: what it took from the network, in norms.
    """

    pruner: str
    epoch: int
    step: int | None
    number: int
    count: int
    target: float | None
    asked: int | None
    removed: int
    weights: int
    is_end: bool
    impact: Impact

    def at_step(self, steps_per_epoch: int) -> int:
        """The step of the run that it comes before."""
        return (self.epoch + self.is_end) * steps_per_epoch + (self.step or 0)

    @property
    def achieved(self) -> float:
        """Fraction of the selected weights that is gone."""
        return self.removed / self.weights

    def plain(self) -> dict[str, Any]:
        """For a state dict."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Cut:
        """Read what ``plain`` gave."""
        return cls(**{**plain, "impact": Impact(**plain["impact"])})
