"""How the selection of a cut meets the mask of the cut before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.registry import SPEC


class Update(ABC):
    """The axis: may a pruned group come back?"""

    @abstractmethod
    def removed(self, keep: Tensor | None) -> Tensor | None:
        """The groups that are gone whatever their score now is.

        Args:
            keep: bool (groups,), of the last cut; None at the first.

        Returns:
            bool (groups,), True where gone for good; None if every group is free.
        """

    def stays(self, scores: Tensor, limit: float, keep: Tensor | None) -> Tensor:
        """The groups that a limit keeps.

        Args:
            scores: (groups,).
            limit: a score that is no higher goes.
            keep: bool (groups,), of the last cut; None at the first.

        Returns:
            bool (groups,).
        """
        del keep
        return scores > limit


@dataclass(frozen=True, config=SPEC)
class Shrink(Update):
    """Masks are nested: what is pruned stays pruned, and counts toward the next target."""

    def removed(self, keep: Tensor | None) -> Tensor | None:
        return None if keep is None else ~keep


@dataclass(frozen=True, config=SPEC)
class Reselect(Update):
    """Every cut chooses among all groups by their values now.

    With `pruned: zero` the pruned ones are 0 and are chosen again, with `hidden` or `dense` they may come back.
    """

    def removed(self, keep: Tensor | None) -> Tensor | None:
        del keep
        return None


@dataclass(frozen=True, config=SPEC)
class Splice(Update):
    """Between two limits nothing changes: groups below ``low`` times the threshold go, those from ``high`` times on
    come back, the others stay as they are; so that a group at the limit does not flicker. Needs a threshold; with
    ``pruned: zero`` nothing can come back, so use hidden, dense or forward.

    Guo, Yao, Chen 2016, Dynamic Network Surgery for Efficient DNNs, arXiv:1608.04493.

    Args:
        low: factor of the threshold, >= 0.
        high: likewise, at least ``low``.
    """

    low: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = 0.9
    high: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = 1.1

    @model_validator(mode="after")
    def _ordered(self) -> Splice:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self

    def removed(self, keep: Tensor | None) -> Tensor | None:
        del keep
        return None

    def stays(self, scores: Tensor, limit: float, keep: Tensor | None) -> Tensor:
        between = scores >= limit * self.low
        return (between if keep is None else between & keep) | (scores >= limit * self.high)
