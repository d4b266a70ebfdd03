"""A pruner on a model: which parameters it works on, what it remembers, and its cuts, verified."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from schedengine.criteria.base import NOTHING, Criterion, Facts, Need
from schedengine.criteria.obs import Obs
from schedengine.criteria.samples import check_sampled
from schedengine.errors import EffectError, EffectWarning, Problem, SchedEngineError, ScheduleError
from schedengine.granularity import GRANULARITIES, Granularity
from schedengine.masks import Applied, MaskStore
from schedengine.progress import Progress
from schedengine.pruners.aim import Aim, aim_of, zeros_in_groups
from schedengine.pruners.census import Census
from schedengine.pruners.cut import Cut
from schedengine.pruners.cutting import Layer, Look, Verdict, by_growth, by_limit, in_rounds, reachable
from schedengine.pruners.effects import misses, remnants
from schedengine.pruners.impact import Gauge
from schedengine.pruners.pruner import Pruner
from schedengine.pruners.reconstruction import reconstructed
from schedengine.pruners.surgeon import compensated
from schedengine.pruners.thresholds import AT_ONCE, Pace
from schedengine.pruners.updates import DropGrow
from schedengine.selection import ParameterTable
from schedengine.sparsity.allocation import Allocation, Shapes
from schedengine.weights import order

logger = logging.getLogger(__name__)
NEGLIGIBLE = 0.01
"""Share of the weights by which protected groups may keep a target from being reached without a word."""

_LACKS: dict[Need, str] = {
    "gradient": "has no gradient; cut after the first step, or the first since a thinning, and set gradients to None "
    "or 0 before backward() only",
    "norm": "is followed by no batch normalisation that could be found; leave it out; if one follows it, cut after the "
    "first epoch, or pass example_inputs to bind()",
    "activations": "has no statistics of its outputs; cut after the first epoch, or pass data to bind(); a thinning "
    "drops them, so cut an epoch after it",
    "inputs": "has no samples of its inputs; cut after the first epoch, or pass data to bind()",
    "measured": "takes no part in what the network makes of its inputs, so that the criterion knows nothing of it; "
    "leave it out",
    "movement": "has not moved: no step was made, or none since it was thinned, or the loop leaves "
    "before_parameter_optimization() out; cut after the first step",
}


class BoundPruner:
    """A pruner's parameters and memory.

    Args:
        name: in the schedule.
        spec: the axes.
        names: normalised names of the parameters it works on.
        by_name: level or limit of each parameter, where the spec has a mapping.
        lenient: an effect that misses is a warning (a version 1 file, or ``optional``).
        granularities: of those parameters whose layer stores them otherwise than others do, see ``oriented``.
        joint: parameters that lose the same groups, by name what names them all.
    """

    def __init__(
        self,
        name: str,
        spec: Pruner,
        names: list[str],
        by_name: Mapping[str, float] | None,
        *,
        lenient: bool,
        granularities: Mapping[str, Granularity] | None = None,
        joint: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.spec = spec
        self.names = names
        self.by_name = by_name
        self.lenient = lenient or spec.optional
        self.joint = dict(joint or {})
        self._granularities = dict(granularities or {})
        self.is_released = False
        """Whether its masks were taken away since its last cut."""
        self._told: set[str] = set()
        self._measured: dict[str, tuple[float, ...]] = {}
        self._zeros: dict[str, int] | None = None
        self._census = Census(spec)

    def cut_(
        self,
        masks: MaskStore,
        table: ParameterTable,
        optimizer: torch.optim.Optimizer | None,
        progress: Progress,
        *,
        number: int,
        count: int,
        target_number: int | None = None,
        target_count: int | None = None,
        is_end: bool = False,
        pace: Pace = AT_ONCE,
        look: Look = lambda keep: None,
    ) -> Cut | None:
        """Choose what goes, set the masks, and verify the count.

        Args:
            number, count: of this cut among the pruner's.
            target_number, target_count: where the target moves more slowly than the cuts (a ramp's ``every``).
            is_end: at the end of the epoch.
            pace: where it lies in its window.
            look: gathers what is needed beside values, by parameter: once, or for every round.

        Returns:
            What it did; None where the criterion lacks what it needs, and that is no error (a version 1 file).

        Raises:
            EffectError: the count removed is not what the rule asked.
            SchedEngineError: the weights cannot be ranked (nan), or the target cannot be shared.
        """
        facts = look(None)
        if not self._knows(facts, masks, progress):
            return None
        layers = [self._layer(name, masks, number, progress, facts) for name in self.names]
        self._warn_of_blind(layers, progress)
        shown = {name: table[name].detach().clone() for name in self.names if self.spec.compensate is not None}
        key = f"{number}/{progress.step}" if progress.step else ""
        target, verdict = self._decide(layers, target_number or number, target_count or count, pace, key, look)
        expanded = self._expand(verdict, layers)
        removed = {name: mask.numel() - int(mask.count_nonzero()) for name, mask in expanded.items()}
        groups = {layer.name: removed[layer.name] // layer.counts[1] for layer in layers}
        self._verify(verdict, {layer.name: groups[layer.name] * layer.worth for layer in layers}, progress)
        self._warn_of_least(layers, groups)
        self.is_released = False
        gauge, takes_over = Gauge(table, masks, self.names), self.spec.masks == "replace"
        for name, mask in expanded.items():
            if takes_over and not removed[name] and self.spec.sparsity is not None and masks.owners(name):
                continue  # as in Distiller, a target that rounds to nothing takes no other pruner's mask away
            masks.set_(self.name, name, mask, self.spec.applied, replace=takes_over)
        impact = gauge.impact({name: masks.in_force(name) for name in self.names})
        self._compensate_(masks, shown, facts or {}, progress)
        if self.spec.apply == "cut":
            masks.apply_()
        if optimizer is not None and self.spec.momentum != "keep":
            masks.mask_optimizer_state_(optimizer, self.names, reset=self.spec.momentum == "reset")
        tally = self._census.tally(layers, groups)
        cut = Cut(
            self.name,
            progress.epoch,
            progress.step,
            number,
            count,
            target,
            None if verdict.total is None or self._census.is_of_groups else verdict.total + tally.thinned,
            tally.gone,
            tally.weights,
            is_end,
            impact,
        )
        self._note(cut)
        return cut

    def _warn_of_blind(self, layers: list[Layer], progress: Progress) -> None:
        update = self.spec.update
        if not isinstance(update, DropGrow) or any(one.keep is None for one in layers):
            return
        blind = [one.name for one in layers if update.is_blind(one.facts)]
        if blind:
            warnings.warn(
                f"pruner {self.name!r}, {progress.moment}: the masks stay as they are: the gradient of {blind[0]} at "
                "the step before is not finite; mixed precision skips such updates, else training has diverged",
                EffectWarning,
                stacklevel=2,
            )

    def _warn_of_least(self, layers: list[Layer], removed: Mapping[str, int]) -> None:
        for name, (left, groups) in remnants(self.spec, layers, removed).items():
            if name not in self._told:
                self._told.add(name)
                warnings.warn(
                    f"pruner {self.name!r}: {name} has {left} of its {groups} groups left; "
                    "one ranking over all parameters took the others: raise min_keep, or use 'allocation: uniform'",
                    EffectWarning,
                    stacklevel=2,
                )

    @property
    def needs(self) -> frozenset[Need]:
        """What it has to know of its parameters beside their values."""
        return self._needs(is_first=True) | self._needs(is_first=False)

    def _needs(self, *, is_first: bool) -> frozenset[Need]:
        update = self.spec.update
        samples: frozenset[Need] = frozenset({"inputs"} if self.spec.compensate == "least_squares" else ())
        criterion = update.criterion(self.spec.criterion, is_first=is_first)
        return criterion.needs | samples | (frozenset() if is_first else update.needs)

    @property
    def batches(self) -> int:
        """Of the data, at most, that statistics are made of: as its criteria that look at outputs say."""
        own = self.spec.criterion
        first = self.spec.update.criterion(own, is_first=True)
        return max((one.batches for one in (own, first) if "activations" in one.needs), default=own.batches)

    def criterion(self, masks: MaskStore) -> Criterion:
        """What ranks groups at the next cut: the first may have a criterion of its own."""
        return self.spec.update.criterion(self.spec.criterion, is_first=self._is_first(masks))

    def _is_first(self, masks: MaskStore) -> bool:
        return any(masks.owned(self.name, name) is None for name in self.names)

    def check_layers(self, table: ParameterTable) -> None:
        """Whether criterion and compensation make sense for each of its parameters.

        Raises:
            ScheduleError: one problem for each where they do not.
        """
        problems = []
        for name in self.names:
            layer, shape = table.layer(name), tuple(table[name].shape)
            own = self.spec.criterion
            first = self.spec.update.criterion(own, is_first=True)
            for where, criterion in {"criterion": own, **({} if first is own else {"update": first})}.items():
                try:
                    criterion.check(self.granularity(name), layer, shape)
                except SchedEngineError as error:
                    problems.append(Problem(f"{name}: {error}", where))
            try:
                if self.spec.compensate == "least_squares":
                    check_sampled(layer)
            except SchedEngineError as error:
                problems.append(Problem(f"{name}: {error}", "compensate"))
        if problems:
            raise ScheduleError(problems)

    def check_target(self, table: ParameterTable, count: int) -> None:
        """Whether the last of ``count`` cuts has a target that these parameters can reach.

        Raises:
            SchedEngineError: it has not; says why.
        """
        shapes = self.shapes(table)
        aim = self.aim(shapes, count, count)
        assert aim is not None
        reach = reachable(self.spec, self.counts(shapes), aim.total if aim.levels is None else aim.levels)
        if reach.shortfall > NEGLIGIBLE and not self.lenient:
            raise SchedEngineError(
                f"asks {reach.asked:.4g} of these weights to be gone, and {reach.most:.4g} can go: in every parameter "
                f"{self.spec.min_keep} group(s) of granularity {GRANULARITIES.name_of(self.spec.granularity)} stay "
                "(min_keep); lower the target, choose smaller groups, or write 'optional: true'"
            )

    def granularity(self, name: str) -> Granularity:
        """What a group of a parameter is."""
        return self._granularities.get(name, self.spec.granularity)

    def counts(self, shapes: Shapes) -> dict[str, tuple[int, int]]:
        """Of each parameter, its groups and what each counts for: its weights, or 1 where groups are counted."""
        found = {name: self.granularity(name) for name in shapes}
        sizes = {name: 1 if self._census.is_of_groups else found[name].size(shape) for name, shape in shapes.items()}
        return {name: (found[name].groups(shape), sizes[name]) for name, shape in shapes.items()}

    def shapes(self, table: ParameterTable) -> dict[str, tuple[int, ...]]:
        """The shape of each of its parameters."""
        return {name: tuple(table[name].shape) for name in self.names}

    def aim(
        self, shapes: Shapes, number: int, count: int, zeros: Mapping[str, int] | None = None, key: str = ""
    ) -> Aim | None:
        """What a cut asks for, see ``aim_of``; needs no values. None where a limit on the scores decides."""
        return aim_of(self.spec, self.by_name, shapes, number, count, zeros, key)

    def first_zeros(self, weights: Mapping[str, Tensor]) -> dict[str, int]:
        """Zeros of each parameter before the first cut, which targets of nested masks never go below; remembered."""
        if self._zeros is None:
            nested = self.spec.update.removed(torch.ones(1, dtype=torch.bool)) is not None
            self._zeros = {
                name: zeros_in_groups(weight, self.granularity(name)) if nested else 0
                for name, weight in weights.items()
            }
        return self._zeros

    @property
    def is_global(self) -> bool:
        """Whether one order over all its parameters decides."""
        return (
            self.by_name is None
            and isinstance(self.spec.allocation, Allocation)
            and (self.spec.allocation.scope == "global")
        )

    def release_(self, masks: MaskStore) -> None:
        """Take its masks away; what it remembers of its first cut too, so that a later one begins anew.

        Raises:
            EffectError: it has none.
        """
        if not any(masks.owned(self.name, name) is not None for name in self.names):
            raise EffectError(f"release of pruner {self.name!r}: it has no masks to take away; were they, before?")
        masks.drop_(self.name)
        self._zeros = None
        self._measured = {}
        self.is_released = True

    def shuffle_(self, masks: MaskStore, key: str) -> None:
        """Put the groups of each of its masks into a random order: as many stay in every parameter, but others.

        Args:
            key: what the order is drawn from, with the parameter's name.
        """
        for name in self.names:
            keep = masks.owned(self.name, name)
            if keep is None:
                continue
            groups = self.granularity(name).group(keep).any(dim=1)
            chosen = groups[order(len(groups), f"{key}/{name}").to(groups.device)]
            mask = self.granularity(name).expand(chosen, tuple(keep.shape)).contiguous()
            masks.set_(self.name, name, mask, self.spec.applied)

    def keep_(self, masks: MaskStore) -> None:
        """Make the last masks hold for good: pruned weights are 0 from now on, kept values are dropped."""
        for name in self.names:
            if masks.owned(self.name, name) is not None:
                masks.treat_(name, Applied())
        masks.apply_()

    def _knows(self, facts: Mapping[str, Facts] | None, masks: MaskStore, progress: Progress) -> bool:
        """Whether every parameter has what the criterion, or the update, needs at this cut.

        Raises:
            EffectError: one has not.
        """
        criterion = self.criterion(masks)
        for need in sorted(self._needs(is_first=self._is_first(masks))):
            lacking = [name for name in self.names if facts is None or getattr(facts[name], need) is None]
            is_of_some = need in criterion.needs and not criterion.needs_of_all and need != "inputs"
            is_enough = is_of_some and need not in self.spec.update.needs and len(lacking) < len(self.names)
            if lacking and not is_enough:
                self._miss(f"pruner {self.name!r}, {progress.moment}: no cut: {lacking[0]} {_LACKS[need]}")
                return False
        return True

    def _compensate_(
        self, masks: MaskStore, shown: Mapping[str, Tensor], facts: Mapping[str, Facts], progress: Progress
    ) -> None:
        """Rewrite what stays of the layers that lost something, so that outputs, or the loss, stay what they were."""
        for name, old in shown.items():
            mask = masks.in_force(name)
            if not bool((~mask & (old != 0)).any()):
                continue
            try:
                weight, effect = self._rewritten(old, masks.weight(name), mask, facts[name])
            except SchedEngineError as error:
                raise SchedEngineError(f"pruner {self.name!r}, {progress.moment}: {name}: {error}") from error
            masks.fill_(name, weight)
            masks.is_pending = True
            logger.info("pruner %r, %s: %s: the cut %s", self.name, progress.moment, name, effect)

    def _rewritten(self, old: Tensor, kept: Tensor, mask: Tensor, facts: Facts) -> tuple[Tensor, str]:
        """A layer's new values, and what they do, in words."""
        if isinstance(self.spec.criterion, Obs) and self.spec.compensate == "obs":
            assert facts.measured is not None
            made = compensated(old, kept, mask, facts.measured, self.spec.criterion.damp)
            return made.weight, f"raises the loss by {made.before:.3g}, after OBS by {made.after:.3g} (to second order)"
        assert facts.inputs is not None
        found = reconstructed(old, kept, mask, facts.inputs)
        return found.weight, (
            f"changes its outputs by {100 * found.before:.3g} %, after least squares by {100 * found.after:.3g} % "
            f"({found.samples} samples, {found.unknowns} unknowns)"
        )

    def _layer(
        self, name: str, masks: MaskStore, number: int, progress: Progress, facts: Mapping[str, Facts] | None
    ) -> Layer:
        if masks.weight(name).is_meta:
            raise SchedEngineError(
                f"pruner {self.name!r}: {name} has no values yet (meta device); load the weights first"
            )
        keep, granularity = masks.owned(self.name, name), self.granularity(name)
        # One kept weight keeps its group: the mask is made of whole groups, so the maximum says it exactly.
        groups = None if keep is None else granularity.group(keep).any(dim=1)
        return Layer(
            name,
            masks.weight(name),
            granularity,
            self.spec.update.removed(groups),
            f"{name}/{number}/{progress.epoch}/{progress.step}",
            groups,
            NOTHING if facts is None else facts[name],
            self.joint.get(name),
            self._census.unit(name, tuple(masks.weight(name).shape), granularity),
        )

    def _decide(
        self, layers: list[Layer], number: int, count: int, pace: Pace, key: str, look: Look
    ) -> tuple[float | None, Verdict]:
        if self.spec.threshold is not None:
            return None, by_limit(self.spec, layers, self._limits(layers, pace))
        zeros = self._census.zeros(layers, self.first_zeros({layer.name: layer.weight for layer in layers}))
        aim = self.aim(self._census.shapes(layers), number, count, zeros, key)
        assert aim is not None
        if aim.levels is None:
            total = self._census.total(layers, aim.total)
            return aim.total, in_rounds(self.spec, layers, total, zeros, look)
        levels = {layer.name: self._census.level(layer, aim.levels[layer.name]) for layer in layers}
        if isinstance(self.spec.update, DropGrow):
            return aim.total, by_growth(self.spec, self.spec.update, layers, levels, pace.share)
        return aim.total, in_rounds(self.spec, layers, levels, zeros, look)

    def _limits(self, layers: list[Layer], pace: Pace) -> dict[str, float]:
        threshold = self.spec.threshold
        assert threshold is not None
        for layer in layers:
            if layer.name not in self._measured:
                self._measured[layer.name] = threshold.measure(layer.weight)
        every = threshold.by_name
        values = self.by_name or {name: every for name in self.names if not isinstance(every, dict)}
        return {name: threshold.limit(value, self._measured[name], pace) for name, value in values.items()}

    def _expand(self, verdict: Verdict, layers: list[Layer]) -> dict[str, Tensor]:
        return {layer.name: layer.expanded(verdict.keep[layer.name]) for layer in layers}

    def _verify(self, verdict: Verdict, removed: Mapping[str, int], progress: Progress) -> None:
        wrong = misses(self.spec, verdict, removed)
        if wrong:
            self._miss(f"pruner {self.name!r}, {progress.moment}: " + "; ".join(wrong[:5]))

    def _note(self, cut: Cut) -> None:
        if cut.target and not cut.asked:
            logger.info(
                "pruner %r, epoch %d: the target %.4g of %d weights rounds to none",
                self.name, cut.epoch, cut.target, cut.weights,
            )  # fmt: skip
        logger.debug("cut %s", cut)

    def _miss(self, message: str) -> None:
        if not self.lenient:
            raise EffectError(message)
        warnings.warn(message, EffectWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        """What it remembers from its first cut: plain numbers."""
        zeros = None if self._zeros is None else dict(self._zeros)
        measured = {name: list(numbers) for name, numbers in self._measured.items()}
        return {
            "measured": measured,
            "zeros": zeros,
            "counts": self._census.state_dict(),
            "is_released": self.is_released,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._measured = {name: tuple(numbers) for name, numbers in state["measured"].items()}
        self._census.load_state_dict(state["counts"])
        self._zeros = None if state["zeros"] is None else dict(state["zeros"])
        self.is_released = bool(state["is_released"])
