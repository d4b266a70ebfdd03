"""A pruner as a file writes it: the axes, each with its default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, InstanceOf, model_validator
from pydantic.dataclasses import dataclass

from schedengine.criteria import CRITERIA
from schedengine.criteria.base import Criterion
from schedengine.criteria.magnitude import Magnitude
from schedengine.granularity import GRANULARITIES, Element, Granularity
from schedengine.masks import Applied, Mode
from schedengine.pruners import THRESHOLDS, UPDATES
from schedengine.pruners.thresholds import Threshold
from schedengine.pruners.updates import Shrink, Update
from schedengine.registry import SPEC, Component
from schedengine.selection import Selector, SelectorField
from schedengine.sparsity import ALLOCATIONS, RAMPS
from schedengine.sparsity.allocation import Allocation, Global
from schedengine.sparsity.ramps import Ramp

Level = Annotated[float, Field(ge=0, lt=1, strict=True)]


@dataclass(frozen=True, config=SPEC)
class Pruner:
    """What is removed, how much of it, and what becomes of it. One of ``sparsity`` and ``threshold`` is needed.

    Args:
        parameters: which parameters; default: the weights of Conv and Linear modules, or the names that ``allocation``
            or ``threshold`` list.
        criterion: what makes a group unimportant; low scores go first.
        granularity: what is removed as one: element, row, column, kernel, filter, channel, {block: [4, 1]}, tensor.
        allocation: how the target is shared: global (one ranking for all parameters), uniform, erk, lamp, uniform_plus,
            or names and globs with a target each (then ``sparsity`` gives the ramp only).
        sparsity: fraction of the selected weights that is removed, over the cuts: a number, or a ramp
            {ramp: cubic, to: 0.9}.
        threshold: instead of a target: groups whose score is at most this go: a number, or {std: 0.5}.
        update: shrink (what is pruned stays pruned) or reselect (each cut chooses among all groups).
        pruned: zero, hidden (the value is kept), dense (the kept value trains on), forward (masked in the forward pass
            only).
        mask_gradients: also set the gradients of pruned weights to 0.
        optimizer_state: at a cut, mask the state (momentum) of pruned weights, keep it, or reset the parameter's;
            default: mask, but keep where pruned weights train on (dense).
        min_keep: groups that stay in every parameter, whatever the target.
        rounding: of the number of groups to remove: nearest (halves up), or floor as Distiller does.
        ties: equal scores at the limit go by position until the count is exact, or all go as in Distiller.
        masks: combine with the masks of other pruners of the same parameter, or replace them as Distiller does.
        apply: masks take effect at the cut, or with the next step as in Distiller.
        optional: an effect that misses the target is a warning, not an error.
    """

    parameters: SelectorField | None = None
    criterion: Annotated[InstanceOf[Criterion], Component(CRITERIA)] = Magnitude()
    granularity: Annotated[InstanceOf[Granularity], Component(GRANULARITIES)] = Element()
    allocation: Annotated[
        InstanceOf[Allocation] | dict[str, Level], Component(ALLOCATIONS, mapping=dict[str, Level])
    ] = Global()
    sparsity: Annotated[InstanceOf[Ramp] | None, Component(RAMPS, tag="ramp", shorthand="constant")] = None
    threshold: Annotated[InstanceOf[Threshold] | None, Component(THRESHOLDS, shorthand="absolute")] = None
    update: Annotated[InstanceOf[Update], Component(UPDATES)] = Shrink()
    pruned: Mode = "zero"
    mask_gradients: Annotated[bool, Field(strict=True)] = False
    optimizer_state: Literal["mask", "keep", "reset"] | None = None
    min_keep: Annotated[int, Field(ge=0, strict=True)] = 1
    rounding: Literal["nearest", "floor"] = "nearest"
    ties: Literal["position", "all"] = "position"
    masks: Literal["combine", "replace"] = "combine"
    apply: Literal["cut", "step"] = "cut"
    optional: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _one_rule(self) -> Pruner:
        if (self.sparsity is None) == (self.threshold is None):
            found = "neither" if self.sparsity is None else "both"
            raise ValueError(f"needs one of 'sparsity' (a target) and 'threshold' (a limit); has {found}")
        if self.threshold is not None and self.allocation != Global():
            raise ValueError("'allocation' shares a target among parameters, and a threshold has none; remove one")
        if self.sparsity is not None:
            self._check_target(self.sparsity)
        return self

    def _check_target(self, ramp: Ramp) -> None:
        values = list(getattr(ramp, "values", ()))
        if isinstance(self.update, Shrink) and values != sorted(values):
            raise ValueError(
                f"the list falls ({values}), and masks that shrink give nothing back; use 'update: reselect'"
            )
        takes_target, target = hasattr(ramp, "to"), getattr(ramp, "to", None)
        if not isinstance(self.allocation, dict):
            if takes_target and target is None:
                raise ValueError("'sparsity' needs 'to', the sparsity to reach, in [0, 1)")
        elif not self.allocation:
            raise ValueError("'allocation' is an empty mapping; name the parameters and their sparsity")
        elif not takes_target:
            raise ValueError("'allocation' gives each parameter its sparsity; use a ramp that has 'to'")
        elif target is not None:
            raise ValueError("'allocation' gives each parameter its sparsity; remove 'to' from 'sparsity'")

    @property
    def momentum(self) -> Literal["mask", "keep", "reset"]:
        """What becomes of optimizer state at a cut, with the default filled in."""
        return self.optimizer_state or ("keep" if self.pruned == "dense" else "mask")

    @property
    def applied(self) -> Applied:
        """How its masks are applied."""
        return Applied(self.pruned, self.mask_gradients)

    @property
    def by_name(self) -> dict[str, Any] | None:
        """The mapping of names and globs that its allocation or threshold is, if it is one."""
        if isinstance(self.allocation, dict):
            return self.allocation
        if self.threshold is not None and isinstance(self.threshold.by_name, dict):
            return self.threshold.by_name
        return None

    @property
    def selector(self) -> Selector:
        """Which parameters, with the default filled in."""
        if self.parameters is not None:
            return self.parameters
        return Selector(names=tuple(self.by_name)) if self.by_name else Selector()
