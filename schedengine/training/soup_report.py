"""What an average of replicas scores, beside what it was made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from schedengine.training.scores import Scores, from_plain, to_plain


@dataclass(frozen=True)
class SoupScores:
    """One average, and its candidates.

    Args:
        title: the phase, and which of its repeats in the run, from 1; the name of its folder in soups/.
        phase: its name.
        epoch: the last one of the phase, from 0.
        chosen: the candidates that were averaged, from 0.
        sparsity: of the average: fraction of the weights selected by pruners that is 0.
        candidates: what each replica scores; one at least. Its batch-norm statistics are estimated as the average's
            are, unless the phase says ``recalibrate: none``.
        soup: what the average scores.
        is_repruned: whether each replica cut by itself, and the average was cut back (``masks: reprune``).
    """

    title: str
    phase: str
    epoch: int
    chosen: tuple[int, ...]
    sparsity: float
    candidates: tuple[Scores, ...]
    soup: Scores
    is_repruned: bool = False

    def mean(self, split: str) -> float | None:
        """The candidates' mean top-1 (per cent) on a split, those that were not chosen too; None where not measured."""
        found = [self._top1(one, split) for one in self.candidates]
        known = [top1 for top1 in found if top1 is not None]
        return fmean(known) if len(known) == len(found) else None

    def best(self, split: str) -> float | None:
        """Top-1 (per cent) on a split of the candidate that is best on **validation**; of equal ones the first.

        None where validation or this split was not measured. It is the one that a user would have taken instead: the
        best on test is nobody's to choose.
        """
        found = [self._top1(one, "validation") for one in self.candidates]
        known = [top1 for top1 in found if top1 is not None]
        if len(known) < len(found):
            return None
        return self._top1(self.candidates[found.index(max(known))], split)

    def plain(self) -> dict[str, Any]:
        """For a file; ``from_plain`` reads it back."""
        return {
            "title": self.title,
            "phase": self.phase,
            "epoch": self.epoch,
            "chosen": list(self.chosen),
            "sparsity": self.sparsity,
            "candidates": [to_plain(one) for one in self.candidates],
            "soup": to_plain(self.soup),
            "is_repruned": self.is_repruned,
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> SoupScores:
        """Read what ``plain`` gave."""
        candidates = tuple(from_plain(one) or {} for one in plain["candidates"])
        read = {"chosen": tuple(plain["chosen"]), "candidates": candidates, "soup": from_plain(plain["soup"]) or {}}
        return cls(**{**plain, **read})

    @staticmethod
    def _top1(scores: Scores, split: str) -> float | None:
        found = scores.get(split)
        return None if found is None else found.top1
