"""Which of the candidates go into the average: all of them, or as many as help.

Reference: Wortsman et al., 2022, Model soups, arXiv 2203.05482; Zimmer, Spiegel and Pokutta, 2024, Sparse Model Soups,
    arXiv 2306.16788 (candidates that share a mask).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

Score = Callable[[Sequence[int]], Mapping[str, float]]
"""Metrics on the validation images of the average of some candidates, given by their numbers from 0."""


class Recipe(ABC):
    """How candidates are chosen.

    Attributes:
        is_scored: whether it asks for metrics.
    """

    is_scored: ClassVar[bool] = False

    def check(self, metrics: object) -> None:
        """Whether it can choose by metrics of this kind.

        Raises:
            SchedEngineError: they lack what it goes by.
        """
        del metrics

    @abstractmethod
    def choose(self, count: int, score: Score) -> list[int]:
        """The candidates that are averaged, in their own order.

        Args:
            count: of candidates.
            score: asked as often as the recipe needs.
        """


@dataclass(frozen=True, config=SPEC)
class Uniform(Recipe):
    """Average all candidates."""

    def choose(self, count: int, score: Score) -> list[int]:
        del score
        return list(range(count))


@dataclass(frozen=True, config=SPEC)
class Greedy(Recipe):
    """Begin with the best candidate and add the others, best first, each for as long as the average is no worse.

    Ties are accepted, as in the authors' code; Wortsman et al. ask for more.

    Args:
        metric: on the validation images: top1, top5 (more is better) or loss (less is).
    """

    is_scored: ClassVar[bool] = True
    metric: Literal["top1", "top5", "loss"] = "top1"

    def choose(self, count: int, score: Score) -> list[int]:
        alone = [self._worth(score([number])) for number in range(count)]
        order = sorted(range(count), key=lambda number: -alone[number])  # stable: of equals the first
        chosen, best = order[:1], alone[order[0]]
        for number in order[1:]:
            worth = self._worth(score(sorted([*chosen, number])))
            if worth >= best:
                chosen, best = [*chosen, number], worth
        return sorted(chosen)

    def check(self, metrics: object) -> None:
        if not isinstance(metrics, Mapping) or self.metric not in metrics:
            found = (", ".join(map(str, metrics)) or "none") if isinstance(metrics, Mapping) else repr(metrics)
            wanted = f"a mapping such as {{{self.metric!r}: 0.5}}"
            raise SchedEngineError(f"a greedy soup goes by {self.metric!r} of the evaluation, {wanted}; got {found}")

    def _worth(self, metrics: Mapping[str, float]) -> float:
        self.check(metrics)
        worth = -metrics[self.metric] if self.metric == "loss" else metrics[self.metric]
        return worth if worth == worth else -math.inf  # a network that diverged
