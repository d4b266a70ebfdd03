"""What a group's score must exceed to stay, for pruners that threshold instead of ranking to a target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass as plain_dataclass
from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.registry import SPEC

Limit = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Limits = Limit | Annotated[dict[str, Limit], Field(min_length=1)]


@plain_dataclass(frozen=True)
class Pace:
    """Where a cut lies in its window, in epochs; for what changes with time.

    Args:
        passed: since the window began; a part of an epoch counts as none, as in Distiller.
        length: of the window; an instant lasts for its epoch.
        every: from cut to cut.
        share: of the window that has passed, in [0, 1], by steps.
    """

    passed: float = 0.0
    length: float = 1.0
    every: float = 1.0
    share: float = 0.0


AT_ONCE = Pace()


class Threshold(ABC):
    """The axis: groups whose score is at most the limit go.

    Attributes:
        by_name: one number, or a mapping of names and globs to numbers (the first that fits counts).
    """

    by_name: float | dict[str, float]
    shorthand_is_mapping: ClassVar[bool] = True

    def measure(self, weight: Tensor) -> tuple[float, ...]:
        """What is measured on a parameter at its first cut and kept for the run; nothing by default."""
        del weight
        return ()

    def check(self, pace: Pace) -> None:
        """Refuse a window that the limit cannot follow.

        Raises:
            ValueError: it does not fit; says why.
        """
        del pace

    def rescaled(self, ratio: float) -> Threshold:
        """The same rule in a run that is so many times as long."""
        del ratio
        return self

    @abstractmethod
    def limit(self, value: float, measured: tuple[float, ...], pace: Pace) -> float:
        """The limit for a parameter.

        Args:
            value: of this parameter, from ``by_name``.
            measured: what ``measure`` gave at the first cut.
            pace: where the cut lies in its window.
        """


@dataclass(frozen=True, config=SPEC)
class Absolute(Threshold):
    """Groups whose score is at most this number go.

    Args:
        by_name: >= 0; a number, or names and globs with a number each.
    """

    by_name: Limits

    def limit(self, value: float, measured: tuple[float, ...], pace: Pace) -> float:
        del measured, pace
        return value


@dataclass(frozen=True, config=SPEC)
class Std(Threshold):
    """Groups whose score is at most s standard deviations of the parameter's weights go.

    The deviation (signed values, unbiased) is measured at the first cut and kept, so that pruning does not move its own
    limit. Han et al. 2015, Learning both Weights and Connections, arXiv:1506.02626, as Distiller's sensitivity pruner.

    Args:
        by_name: s >= 0; a number, or names and globs with a number each.
    """

    by_name: Limits

    def measure(self, weight: Tensor) -> tuple[float, ...]:
        return (float(weight.float().std()) if weight.numel() > 1 else 0.0,)

    def limit(self, value: float, measured: tuple[float, ...], pace: Pace) -> float:
        del pace
        return value * measured[0]


@dataclass(frozen=True, config=SPEC)
class Spread(Threshold):
    """The mean of ``|w|`` and c of its standard deviations: ``mean + c (1 + growth * epochs) std``.

    Both are measured at the first cut and kept. Goes with ``update: splice``: Guo, Yao, Chen 2016, Dynamic Network
    Surgery for Efficient DNNs, arXiv:1608.04493; the growth is Distiller's.

    Args:
        by_name: c >= 0; a number, or names and globs with a number each.
        growth: by which c grows with every epoch since the window began, >= 0.
    """

    by_name: Limits
    growth: Limit = 0.0

    def measure(self, weight: Tensor) -> tuple[float, ...]:
        sizes = weight.float().abs()
        return float(sizes.mean()), float(sizes.std()) if sizes.numel() > 1 else 0.0

    def rescaled(self, ratio: float) -> Threshold:
        return replace(self, growth=self.growth / ratio)

    def limit(self, value: float, measured: tuple[float, ...], pace: Pace) -> float:
        return measured[0] + measured[1] * value * (self.growth * pace.passed + 1)


@dataclass(frozen=True, config=SPEC)
class Rising(Threshold):
    """A limit that rises from cut to cut, and faster after a while; for recurrent networks.

    With q the size of a weight that should just go (the 90th percentile of ``|w|``, they advise), f epochs from cut to
    cut, R epochs until the limit rises faster, T the window's epochs: the limit rises by
    ``2 q f / (2 R + 3 (T - R))`` a cut, after R epochs by ``steeper`` times as much.

    Narang, Diamos, Sengupta, Elsen 2017, Exploring Sparsity in Recurrent Neural Networks, arXiv:1704.05119; in epochs,
    as in Distiller, where the paper counts updates.

    Args:
        by_name: q >= 0; a number, or names and globs with a number each.
        after: R, epochs, >= 0.
        steeper: >= 0; 1.5 to 2 in the paper.
    """

    by_name: Limits
    after: Limit
    steeper: Limit = 2.0

    def rescaled(self, ratio: float) -> Threshold:
        return replace(self, after=self.after * ratio)

    def check(self, pace: Pace) -> None:
        if 2 * self.after + 3 * (pace.length - self.after) <= 0:
            raise ValueError(
                f"rises faster after {self.after:g} epochs, in a window of {pace.length:g}; make it longer"
            )

    def limit(self, value: float, measured: tuple[float, ...], pace: Pace) -> float:
        del measured
        self.check(pace)
        slope = 2 * value * pace.every / (2 * self.after + 3 * (pace.length - self.after))
        if pace.passed < self.after:
            return slope * (pace.passed + 1) / pace.every
        rest = self.steeper * slope * (pace.passed - self.after + 1)
        return (slope * (self.after + 1) + rest) / pace.every
