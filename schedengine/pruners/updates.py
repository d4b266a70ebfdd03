"""How the selection of a cut meets the mask of the cut before."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field, InstanceOf, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.criteria import CRITERIA
from schedengine.criteria.base import NOTHING, Criterion, Facts, Need
from schedengine.criteria.magnitude import Magnitude
from schedengine.criteria.random import Random
from schedengine.errors import SchedEngineError
from schedengine.granularity import Granularity
from schedengine.registry import SPEC, Component


class Update(ABC):
    """The axis: may a pruned group come back?"""

    @property
    def needs(self) -> frozenset[Need]:
        """Which facts it needs at every cut but the first, beside those that the criterion does."""
        return frozenset()

    def criterion(self, own: Criterion, *, is_first: bool) -> Criterion:
        """What ranks the groups at a cut.

        Args:
            own: the pruner's.
            is_first: there is no mask yet.
        """
        del is_first
        return own

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
class Learned(Update):
    """Thresholds that are trained with the weights decide, at every step; goes with ``pruned: {soft_threshold: ...}``,
    ``step_threshold`` or ``sigmoid_gate``. No target can be set."""

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


@dataclass(frozen=True, config=SPEC)
class DropGrow(Update):
    """Every cut after the first drops a fraction of the groups that are left, those of the lowest score, and grows as
    many among all others: sparse training that goes on looking for its mask.

    The first cut chooses what goes by a criterion of its own. Later, in every parameter, ``round(f * left)`` groups are
    dropped; what grows is chosen among all that are not left then, so that a group just dropped may stay: it keeps its
    values and its optimizer state, while those that were pruned start at 0, both. The density of every parameter is
    kept exactly. With t the share of the window that has passed, ``f = fraction / 2 (1 + cos(pi t))``. With fraction 0
    the first mask holds: static sparse training. Where a gradient is not finite (mixed precision skips such an update),
    the masks stay as they are, with a warning.

    Args:
        grow: gradient: the groups with the largest mean of ``|dL/dw|``, of pruned weights too, at the step before the
            cut; random.
        fraction: of the groups that are left, dropped at the start of the window; in [0, 1].
        anneal: cosine: the fraction falls to 0 at the end of the window; constant.
        first: the criterion of the first cut.
        seed: of random growth, any whole number; every rank draws the same.

    Reference:
        Mocanu, Mocanu, Stone, Nguyen, Gibescu, Liotta (2018), Scalable Training of Artificial Neural Networks with
        Adaptive Sparse Connectivity inspired by Network Science (SET, random growth), arXiv:1707.04780; Evci, Gale,
        Menick, Castro, Elsen (2020), Rigging the Lottery (RigL, growth by gradient), arXiv:1911.11134. There, a step
        that moves the mask does not update the weights; here it does, and the gradient is that of the step before.

    Example:
        >>> [round(DropGrow(fraction=0.3).dropped(share), 2) for share in (0, 0.5, 1)]
        [0.3, 0.15, 0.0]
    """

    grow: Literal["gradient", "random"] = "gradient"
    fraction: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.3
    anneal: Literal["cosine", "constant"] = "cosine"
    first: Annotated[InstanceOf[Criterion], Component(CRITERIA)] = Random()
    seed: Annotated[int, Field(strict=True)] = 0

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"gradient"} if self.grow == "gradient" and self.fraction else ())

    def criterion(self, own: Criterion, *, is_first: bool) -> Criterion:
        return self.first if is_first else own

    def removed(self, keep: Tensor | None) -> Tensor | None:
        del keep
        return None

    def dropped(self, share: float) -> float:
        """The fraction of the groups left that a cut drops.

        Args:
            share: of the window that has passed, in [0, 1].
        """
        return self.fraction if self.anneal == "constant" else self.fraction / 2 * (1 + math.cos(math.pi * share))

    def is_blind(self, facts: Facts) -> bool:
        """Whether the gradient that growth needs tells nothing: it is not finite. Then the mask stays as it is."""
        gradient = facts.gradient
        return bool(self.needs) and gradient is not None and not bool(gradient.isfinite().all())

    def growth(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        """What decides which groups grow; see ``Criterion.scores``. The highest do.

        Raises:
            SchedEngineError: there is no gradient.
        """
        if not self.needs:
            return Random(self.seed).scores(weight, granularity, key=f"{key}/grow")
        if facts.gradient is None:
            raise SchedEngineError(f"{key}: growth by gradient needs that of the step before, and there is none")
        return Magnitude().scores(facts.gradient.to(weight.device), granularity, key=f"{key}/grow")
