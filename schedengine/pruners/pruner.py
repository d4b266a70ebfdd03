"""A pruner as a file writes it: the axes, each with its default."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field, InstanceOf, model_validator
from pydantic.dataclasses import dataclass

from schedengine.criteria import CRITERIA
from schedengine.criteria.base import Criterion
from schedengine.criteria.magnitude import Magnitude
from schedengine.criteria.obs import Obs
from schedengine.criteria.random import Random
from schedengine.granularity import GRANULARITIES, Channel, Column, Element, Granularity, Keep
from schedengine.masks import Applied
from schedengine.pruners import PRUNED, THRESHOLDS, UPDATES
from schedengine.pruners.gates import Gate
from schedengine.pruners.pruned import Edit, Pruned, Zero
from schedengine.pruners.thresholds import Threshold
from schedengine.pruners.updates import DropGrow, Learned, Reselect, Shrink, Splice, Update
from schedengine.registry import SPEC, Component
from schedengine.selection import Selector, SelectorField
from schedengine.sparsity import ALLOCATIONS, RAMPS
from schedengine.sparsity.allocation import Allocation, Global, Uniform
from schedengine.sparsity.ramps import Constant, Ramp

Level = Annotated[float, Field(ge=0, lt=1, strict=True)]


@dataclass(frozen=True, config=SPEC)
class Pruner:
    """What is removed, how much of it, and what becomes of it.

    One of ``sparsity`` and ``threshold`` is needed, but for N:M patterns, which say themselves how much goes.

    Args:
        parameters: which parameters; default: the weights of Conv and Linear modules, or the names that ``allocation``
            or ``threshold`` list.
        criterion: what makes a group unimportant; low scores go first.
        granularity: what is removed as one: element, row, column, kernel, filter, channel, tensor, {block: [4, 1]},
            {consecutive: 8}, {keep: [2, 4]} (N of every M).
        allocation: how the target is shared: global (one ranking for all parameters), uniform, erk, lamp, uniform_plus,
            or names and globs with a target each (then ``sparsity`` gives the ramp only).
        sparsity: fraction of the selected weights that is removed, over the cuts: a number, or a ramp
            {ramp: cubic, to: 0.9}.
        threshold: instead of a target: groups whose score is at most this go: a number, or {std: 0.5}.
        rounds: at every cut, so many selections one after another, each by scores of the network without what went in
            the one before; every round takes the same share of what is left (synaptic flow has 100).
        draw: exact: as many groups as the target says go, the lowest; bernoulli: each goes with the target's
            probability (with ``criterion: random``).
        together: parameters whose groups belong together lose the same groups: leader: all lose those that the first
            one would lose; mean: all lose the lowest by the mean of their shares; joined: the same, each with those
            whose filters the network adds up with its own, which is found by tracing it.
        update: shrink (what is pruned stays pruned), reselect (each cut chooses among all groups), splice (between
            two limits nothing changes), drop_grow (as many go as come back), or learned (trained thresholds decide).
        pruned: zero, hidden (the value is kept), dense (the kept value trains on), forward (masked in the forward pass
            only); held back only, for another pruner to cut: passive (no gradient), decay; or a learned gate:
            soft_threshold, step_threshold, sigmoid_gate.
        lasts: run: masks hold until the next cut; step: for one step only, after which the kept values show again.
        rescale: the weights that stay are divided by the share that stays, as dropout does; where values are kept.
        mask_gradients: also set the gradients of pruned weights to 0.
        optimizer_state: at a cut, mask the state (momentum) of pruned weights, keep it, or reset the parameter's;
            default: mask, but keep where pruned weights train on (dense).
        min_keep: groups that stay in every parameter, whatever the target.
        rounding: of the number of groups to remove: nearest (halves up), or floor as Distiller does.
        ties: equal scores at the limit go by position until the count is exact, or all go as in Distiller.
        masks: combine with the masks of other pruners of the same parameter, or replace them as Distiller does.
        counted: a sparsity is of the weights before any thinning (original), or of those that are there (current), as
            in Distiller.
        apply: masks take effect at the cut, or with the next step as in Distiller.
        compensate: least_squares: after a cut of channels, what stays of a layer (Conv2d, Linear) is rewritten so that
            its outputs on sampled inputs stay what they were; samples are of the data given to bind, else of the epoch
            before. obs (with ``criterion: obs``): the weights that stay take over, in their block, so that the loss
            grows least.
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
    rounds: Annotated[int, Field(ge=1, strict=True)] = 1
    draw: Literal["exact", "bernoulli"] = "exact"
    together: Literal["leader", "mean", "joined"] | None = None
    update: Annotated[InstanceOf[Update], Component(UPDATES)] = Shrink()
    pruned: Annotated[InstanceOf[Pruned], Component(PRUNED)] = Zero()
    lasts: Literal["run", "step"] = "run"
    rescale: Annotated[bool, Field(strict=True)] = False
    mask_gradients: Annotated[bool, Field(strict=True)] = False
    optimizer_state: Literal["mask", "keep", "reset"] | None = None
    min_keep: Annotated[int, Field(ge=0, strict=True)] = 1
    rounding: Literal["nearest", "floor"] = "nearest"
    ties: Literal["position", "all"] = "position"
    masks: Literal["combine", "replace"] = "combine"
    counted: Literal["original", "current"] = "original"
    apply: Literal["cut", "step"] = "cut"
    compensate: Literal["least_squares", "obs"] | None = None
    optional: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _one_rule(self) -> Pruner:
        if self.is_learned or isinstance(self.update, Learned):
            self._check_learned()
            return self
        self._check_combinations()
        if isinstance(self.granularity, Keep):
            if self.sparsity is not None or self.threshold is not None:
                raise ValueError("{keep: [N, M]} says itself how much goes; remove 'sparsity' or 'threshold'")
            if not isinstance(self.allocation, Global):
                raise ValueError("{keep: [N, M]} takes the same share of every parameter; remove 'allocation'")
            return self
        if (self.sparsity is None) == (self.threshold is None):
            found = "neither" if self.sparsity is None else "both"
            raise ValueError(f"needs one of 'sparsity' (a target) and 'threshold' (a limit); has {found}")
        if self.threshold is not None and not isinstance(self.allocation, Global):
            raise ValueError("'allocation' shares a target among parameters, and a threshold has none; remove one")
        if self.sparsity is not None:
            self._check_target(self.sparsity)
        return self

    def _check_learned(self) -> None:
        """Nothing is selected, so that what says how has no meaning."""
        if not self.is_learned:
            raise ValueError(
                "'update: learned' needs a gate that learns, as in 'pruned: soft_threshold' (or step_threshold, "
                "sigmoid_gate)"
            )
        word = self.treatment
        if not isinstance(self.update, Learned):
            raise ValueError(f"'pruned: {word}' learns what goes; write 'update: learned'")
        for key in _SELECTS:
            if getattr(self, key) != _DEFAULTS[key]:
                raise ValueError(f"'pruned: {word}' learns what goes, and {key!r} is about choosing it; remove {key!r}")
        if self.optimizer_state not in (None, "keep"):
            raise ValueError(f"'pruned: {word}' trains all weights with their momentum; remove 'optimizer_state'")

    def _check_edit(self) -> None:
        word = self.treatment
        if not isinstance(self.update, Reselect):
            raise ValueError(f"'pruned: {word}' removes nothing and chooses anew each time; write 'update: reselect'")
        if not isinstance(self.granularity, Element):
            raise ValueError(f"'pruned: {word}' is of single weights; remove 'granularity'")
        if self.sparsity is None:
            raise ValueError(f"'pruned: {word}' holds back a share of the weights; it needs 'sparsity'")
        masked = ("draw", "together", "lasts", "mask_gradients", "optimizer_state", "min_keep", "masks", "counted")
        for key in ("rounds", *masked):
            if getattr(self, key) != _DEFAULTS[key]:
                raise ValueError(f"'pruned: {word}' has no masks, which {key!r} is about; remove {key!r}")
        if isinstance(self.allocation, Allocation) and not self.allocation.elementwise:
            raise ValueError(f"'pruned: {word}' compares weights as they are; use 'allocation: global', uniform or erk")

    def _check_combinations(self) -> None:
        if self.is_edit:
            self._check_edit()
        if self.pruned.mode == "dense" and self.optimizer_state in ("mask", "reset"):
            raise ValueError(
                f"'optimizer_state: {self.optimizer_state}' takes away the momentum that 'pruned: dense' trains kept "
                "values with; remove it"
            )
        keeps = self.pruned.keeps
        if self.draw == "bernoulli":
            self._check_draw()
        if isinstance(self.update, DropGrow):
            self._check_growth()
        if self.rounds > 1:
            self._check_rounds()
        if self.together is not None and (self.sparsity is None or not isinstance(self.allocation, Uniform)):
            raise ValueError(
                "'together' needs 'sparsity', and 'allocation: uniform': its parameters lose the same share"
            )
        if self.rescale and not keeps:
            raise ValueError("'rescale' needs 'pruned: dense' or 'hidden': values that are kept are not scaled twice")
        if self.compensate == "least_squares" and not isinstance(self.granularity, (Channel, Column)):
            raise ValueError(
                "'compensate' goes with 'granularity: channel' (or column): inputs that a layer loses; or write "
                "'compensate: obs', with 'criterion: obs'"
            )
        if self.compensate == "obs" and not isinstance(self.criterion, Obs):
            raise ValueError("'compensate: obs' goes with 'criterion: obs', which measures what it is made from")
        if self.compensate is not None and (self.lasts == "step" or self.rescale):
            raise ValueError("'compensate' rewrites weights for good; remove 'lasts: step' and 'rescale'")
        if isinstance(self.update, Splice) and self.threshold is None:
            raise ValueError("'update: splice' lies between two limits; it needs a 'threshold'")
        if isinstance(self.update, Splice) and self.lasts == "step":
            raise ValueError("'update: splice' goes on from the last mask, which 'lasts: step' forgets; use 'reselect'")

    def _check_growth(self) -> None:
        """The density of every parameter is kept, and what grows begins at 0."""
        is_level = not isinstance(self.allocation, Allocation) or self.allocation.scope == "parameter"
        rules = [
            (not isinstance(self.granularity, Keep), "knows no patterns; use another granularity"),
            (self.threshold is None, "has no limit on scores; write 'sparsity' instead of 'threshold'"),
            (isinstance(self.sparsity, Constant), "keeps its sparsity; write a number, or {ramp: constant}"),
            (is_level, "keeps the density of every parameter; write 'allocation: erk', uniform, or levels by name"),
            (self.together is None, "chooses in every parameter by itself; remove 'together'"),
            (self.draw == "exact", "keeps its count; remove 'draw: bernoulli'"),
            (self.ties == "position", "keeps its count; remove 'ties: all'"),
            (isinstance(self.pruned, Zero), "grows weights from 0; write 'pruned: zero'"),
            (self.lasts == "run", "goes on from the last mask; remove 'lasts: step'"),
            (self.compensate is None, "grows weights from 0; remove 'compensate'"),
            (self.mask_gradients, "grows weights without momentum; write 'mask_gradients: true'"),
            (self.optimizer_state != "keep", "grows weights without momentum; remove 'optimizer_state: keep'"),
        ]
        for is_met, rule in rules:
            if not is_met:
                raise ValueError(f"'update: drop_grow' {rule}")

    def _check_rounds(self) -> None:
        if self.sparsity is None:
            raise ValueError("'rounds' lead to a target in steps; they need 'sparsity'")
        if isinstance(self.update, DropGrow):
            raise ValueError("'rounds' only remove, and 'update: drop_grow' keeps its density; remove 'rounds'")
        if self.pruned.keeps and "measured" in self.criterion.needs:
            raise ValueError(
                f"'rounds' measure the network that is left, and 'pruned: {self.treatment}' keeps values that it does "
                "not show; write 'pruned: zero'"
            )
        if self.draw == "bernoulli":
            raise ValueError("'rounds' take the lowest scores, and 'draw: bernoulli' takes none in order; remove one")

    def _check_draw(self) -> None:
        if not isinstance(self.criterion, Random):
            raise ValueError("'draw: bernoulli' goes with 'criterion: random', whose scores are the draws")
        if self.sparsity is None or (isinstance(self.allocation, Allocation) and self.allocation.scope == "global"):
            raise ValueError("'draw: bernoulli' needs 'sparsity', and 'allocation: uniform' or one that names levels")
        if isinstance(self.update, Shrink):
            raise ValueError("'draw: bernoulli' draws all groups at every cut; write 'update: reselect'")
        if self.together == "mean":
            raise ValueError("'draw: bernoulli' has one draw for parameters that belong together; use 'leader'")

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
    def treatment(self) -> str:
        """The word for what becomes of pruned weights."""
        return PRUNED.name_of(self.pruned)

    @property
    def is_learned(self) -> bool:
        """Whether trained thresholds decide what goes."""
        return isinstance(self.pruned, Gate)

    @property
    def is_edit(self) -> bool:
        """Whether it holds weights back instead of removing them."""
        return isinstance(self.pruned, Edit)

    @property
    def momentum(self) -> Literal["mask", "keep", "reset"]:
        """What becomes of optimizer state at a cut, with the default filled in."""
        return self.optimizer_state or ("keep" if self.pruned.mode == "dense" else "mask")

    @property
    def applied(self) -> Applied:
        """How its masks are applied."""
        return Applied(self.pruned.mode, self.mask_gradients, self.rescale)

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


_DEFAULTS = {field.name: field.default for field in fields(Pruner)}
_SELECTS = (
    "criterion", "granularity", "allocation", "sparsity", "threshold", "rounds", "draw", "together", "lasts", "rescale",
    "mask_gradients", "min_keep", "rounding", "ties", "masks", "counted", "apply", "compensate",
)  # fmt: skip
"""Fields that say which groups go, and what masks do."""
