"""How the selection of a cut meets the mask of the cut before."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
