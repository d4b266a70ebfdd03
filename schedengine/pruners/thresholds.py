"""What a group's score must exceed to stay, for pruners that threshold instead of ranking to a target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.registry import SPEC

Limit = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Limits = Limit | Annotated[dict[str, Limit], Field(min_length=1)]


class Threshold(ABC):
    """The axis: groups whose score is at most the limit go.

    Attributes:
        by_name: one number, or a mapping of names and globs to numbers (the first that fits counts).
    """

    by_name: float | dict[str, float]
    shorthand_is_mapping: ClassVar[bool] = True

    def measure(self, weight: Tensor) -> float:
        """What is measured on a parameter at its first cut and kept for the run; 1 where nothing is."""
        del weight
        return 1.0

    @abstractmethod
    def limit(self, value: float, measured: float) -> float:
        """The limit for a parameter.

        Args:
            value: of this parameter, from ``by_name``.
            measured: what ``measure`` gave at the first cut.
        """


@dataclass(frozen=True, config=SPEC)
class Absolute(Threshold):
    """Groups whose score is at most this number go.

    Args:
        by_name: >= 0; a number, or names and globs with a number each.
    """

    by_name: Limits

    def limit(self, value: float, measured: float) -> float:
        del measured
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

    def measure(self, weight: Tensor) -> float:
        return float(weight.float().std()) if weight.numel() > 1 else 0.0

    def limit(self, value: float, measured: float) -> float:
        return value * measured
