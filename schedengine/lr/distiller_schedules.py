"""The two learning-rate schedules that Distiller adds to torch's, as closed forms in the number of ticks (epochs)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.registry import SPEC

Factor = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, config=SPEC)
class MultiStepMultiGammaLR(LearningRate):
    """Each milestone multiplies the rate by a gamma of its own.

    Args:
        milestones: epochs, in increasing order.
        gammas: as many factors, >= 0.

    Raises:
        ValueError: the milestones are not in order, or there is not a gamma for each.

    Reference: ``MultiStepMultiGammaLR`` of Distiller (Zmora et al., 2019, arXiv 1910.12232).
    """

    unit: ClassVar[Literal["ep", "st"]] = "ep"

    milestones: tuple[Annotated[int, Field(ge=0, strict=True)], ...]
    gammas: tuple[Factor, ...]

    @model_validator(mode="after")
    def _check(self) -> MultiStepMultiGammaLR:
        if list(self.milestones) != sorted(self.milestones):
            raise ValueError(f"the milestones {list(self.milestones)} are not in increasing order")
        if len(self.milestones) != len(self.gammas):
            raise ValueError(
                f"{len(self.milestones)} milestones and {len(self.gammas)} gammas; give one gamma a milestone"
            )
        return self

    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        factor = math.prod(self.gammas[: bisect_right(self.milestones, clock.elapsed)])
        return [{"lr": group.lr * factor} for group in groups]


@dataclass(frozen=True, config=SPEC)
class DistillerPolynomialLR(LearningRate):
    """``initial rate * (1 - epoch / T_max)^power``.

    Unlike torch's ``PolynomialLR`` it is not held after its end: what the formula gives there is followed where it is a
    rate at all, and refused where it is negative or complex.

    Args:
        T_max: epochs until the rate is 0, > 0.
        power: > 0.

    Reference: ``PolynomialLR`` of Distiller (Zmora et al., 2019, arXiv 1910.12232).
    """

    unit: ClassVar[Literal["ep", "st"]] = "ep"

    T_max: Annotated[int, Field(gt=0, strict=True)]
    power: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]

    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        factor = (1 - clock.elapsed / self.T_max) ** self.power
        if isinstance(factor, complex) or factor < 0:
            raise SchedEngineError(
                f"PolynomialLR (Distiller's) has no rate at epoch {clock.elapsed}, after T_max {self.T_max}; "
                "end its policy there, or raise T_max"
            )
        return [{"lr": group.lr * factor} for group in groups]
