"""A regularizer as a file writes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import InstanceOf
from pydantic.dataclasses import dataclass

from schedengine.granularity import GRANULARITIES, Element, Granularity
from schedengine.registry import SPEC, Component
from schedengine.regularizers import PENALTIES, STRENGTHS, THRESHOLDS
from schedengine.regularizers.penalties import Penalty
from schedengine.regularizers.strengths import Factor, Strength
from schedengine.regularizers.thresholds import Threshold
from schedengine.selection import Selector, SelectorField


@dataclass(frozen=True, config=SPEC)
class Regularizer:
    """A penalty on weights, added to the loss; and, with a threshold, what it has made small set to 0.

    Args:
        penalty: l1, l2, group_lasso or group_variance.
        strength: its factor, >= 0: a number, or {ramp: linear, from: 0, to: 1e-4} over the window, or names and globs
            with a number each.
        parameters: which parameters; default: the weights of Conv and Linear modules, or the names that ``strength``
            lists.
        granularity: what a group is, for group_lasso, group_variance and the threshold.
        threshold: after every update, groups of which the mean of ``|w|`` (mean_abs) or the largest ``|w|`` (max) is at
            most the parameter's strength are set to 0; {mean_abs: 0.01} for a limit of its own. They may grow again
            while the penalty acts, and after it unless the policy has keep_mask.
    """

    penalty: Annotated[InstanceOf[Penalty], Component(PENALTIES)]
    strength: Annotated[
        InstanceOf[Strength] | dict[str, Factor],
        Component(STRENGTHS, tag="ramp", shorthand="constant", mapping=dict[str, Factor]),
    ]
    parameters: SelectorField | None = None
    granularity: Annotated[InstanceOf[Granularity], Component(GRANULARITIES)] = Element()
    threshold: Annotated[InstanceOf[Threshold] | None, Component(THRESHOLDS)] = None

    @property
    def by_name(self) -> dict[str, Any] | None:
        """The mapping of names and globs that its strength is, if it is one."""
        return self.strength if isinstance(self.strength, dict) else None

    @property
    def selector(self) -> Selector:
        """Which parameters, with the default filled in."""
        if self.parameters is not None:
            return self.parameters
        return Selector(names=tuple(self.by_name)) if self.by_name else Selector()
