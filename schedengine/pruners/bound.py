"""A pruner on a model: which parameters it works on, what it remembers, and its cuts, verified."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from schedengine.errors import EffectError, EffectWarning, SchedEngineError
from schedengine.granularity import GRANULARITIES
from schedengine.masks import Applied, MaskStore
from schedengine.progress import Progress
from schedengine.pruners.cutting import Layer, Verdict, by_level, by_limit, by_total, reachable
from schedengine.pruners.impact import Gauge, Impact
from schedengine.pruners.pruner import Pruner
from schedengine.selection import ParameterTable
from schedengine.sparsity.allocation import Allocation, Shapes
from schedengine.weights import order

logger = logging.getLogger(__name__)
NEGLIGIBLE = 0.01
"""Share of the weights by which protected groups may keep a target from being reached without a word."""


@dataclass(frozen=True)
class Cut:
    """What one cut did: the record of an event, kept for reports.

    Args:
        pruner: its name in the schedule.
        epoch, step: when; step None at the beginning of the epoch.
        number, count: the ``number``-th of ``count`` cuts of this pruner.
        target: fraction of the selected weights that was asked to be gone; None where a limit decides.
        asked: the same as a count of weights; None likewise.
        removed: weights that this pruner's masks remove after the cut.
        weights: all weights that this pruner selected.
        is_end: at the end of the epoch, after its evaluation.
        impact: what it took from the network, in norms.
    """

    pruner: str
    epoch: int
    step: int | None
    number: int
    count: int
    target: float | None
    asked: int | None
    removed: int
    weights: int
    is_end: bool
    impact: Impact

    def at_step(self, steps_per_epoch: int) -> int:
        """The step of the run that it comes before."""
        return (self.epoch + self.is_end) * steps_per_epoch + (self.step or 0)

    @property
    def achieved(self) -> float:
        """Fraction of the selected weights that is gone."""
        return self.removed / self.weights

    def plain(self) -> dict[str, Any]:
        """For a state dict."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Cut:
        """Read what ``plain`` gave."""
        return cls(**{**plain, "impact": Impact(**plain["impact"])})


@dataclass(frozen=True)
class Aim:
    """What one cut asks for, as far as shapes and time tell.

    Args:
        total: fraction of the selected weights that is to be gone.
        levels: the same of each parameter; None where one order over all of them decides.
    """

    total: float
    levels: dict[str, float] | None


class BoundPruner:
    """A pruner's parameters and memory.

    Args:
        name: in the schedule.
        spec: the axes.
        names: normalised names of the parameters it works on.
        by_name: level or limit of each parameter, where the spec has a mapping.
        lenient: an effect that misses is a warning (a version 1 file, or ``optional``).
    """

    def __init__(
        self, name: str, spec: Pruner, names: list[str], by_name: Mapping[str, float] | None, *, lenient: bool
    ) -> None:
        self.name = name
        self.spec = spec
        self.names = names
        self.by_name = by_name
        self.lenient = lenient or spec.optional
        self.is_released = False
        """Whether its masks were taken away since its last cut."""
        self._measured: dict[str, float] = {}
        self._zeros: dict[str, int] | None = None

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
    ) -> Cut:
        """Choose what goes, set the masks, and verify the count.

        Args:
            number, count: of this cut among the pruner's.
            target_number, target_count: where the target moves more slowly than the cuts (a ramp's ``every``).
            is_end: at the end of the epoch.

        Raises:
            EffectError: the count removed is not what the rule asked.
            SchedEngineError: the weights cannot be ranked (nan), or the target cannot be shared.
        """
        layers = [self._layer(name, masks, number, progress) for name in self.names]
        target, verdict = self._decide(layers, target_number or number, target_count or count)
        expanded = self._expand(verdict, layers)
        removed = {name: mask.numel() - int(mask.count_nonzero()) for name, mask in expanded.items()}
        self._verify(verdict, removed, progress)
        self.is_released = False
        gauge = Gauge(table, masks, self.names)
        for name, mask in expanded.items():
            masks.set_(self.name, name, mask, self.spec.applied, replace=self.spec.masks == "replace")
        impact = gauge.impact({name: masks.in_force(name) for name in self.names})
        if self.spec.apply == "cut":
            masks.apply_()
        if optimizer is not None and self.spec.momentum != "keep":
            masks.mask_optimizer_state_(optimizer, self.names, reset=self.spec.momentum == "reset")
        weights = sum(layer.weight.numel() for layer in layers)
        cut = Cut(
            self.name,
            progress.epoch,
            progress.step,
            number,
            count,
            target,
            verdict.total,
            sum(removed.values()),
            weights,
            is_end,
            impact,
        )
        self._note(cut)
        return cut

    def check_target(self, table: ParameterTable, count: int) -> None:
        """Whether the last of ``count`` cuts has a target that these parameters can reach.

        Raises:
            SchedEngineError: it has not; says why.
        """
        shapes = self.shapes(table)
        aim = self.aim(shapes, count, count)
        assert aim is not None
        reach = reachable(self.spec, shapes, aim.total if aim.levels is None else aim.levels)
        if reach.shortfall > NEGLIGIBLE and not self.lenient:
            raise SchedEngineError(
                f"asks {reach.asked:.4g} of these weights to be gone, and {reach.most:.4g} can go: in every parameter "
                f"{self.spec.min_keep} group(s) of granularity {GRANULARITIES.name_of(self.spec.granularity)} stay "
                "(min_keep); lower the target, choose smaller groups, or write 'optional: true'"
            )

    def shapes(self, table: ParameterTable) -> dict[str, tuple[int, ...]]:
        """The shape of each of its parameters."""
        return {name: tuple(table[name].shape) for name in self.names}

    def aim(self, shapes: Shapes, number: int, count: int, zeros: Mapping[str, int] | None = None) -> Aim | None:
        """What a cut asks for; needs no values. None where a limit on the scores decides.

        Args:
            shapes: of its parameters.
            number, count: the ``number``-th of ``count`` cuts, or moves of the target.
            zeros: of each parameter before the first cut, which targets never go below; None for a dense start.

        Raises:
            SchedEngineError: the ramp does not fit this many cuts, or the allocation cannot share the target.
        """
        ramp, allocation = self.spec.sparsity, self.spec.allocation
        if ramp is None:
            return None
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        gone = dict.fromkeys(shapes, 0) if zeros is None else zeros
        if self.by_name is not None:
            levels = {
                name: ramp.at(number, count, to=level, start=gone[name] / sizes[name])
                for name, level in self.by_name.items()
            }
            return Aim(sum(levels[name] * sizes[name] for name in sizes) / sum(sizes.values()), levels)
        assert isinstance(allocation, Allocation)
        total = ramp.at(number, count, start=sum(gone.values()) / sum(sizes.values()))
        return Aim(total, None if allocation.scope == "global" else allocation.levels(shapes, total))

    def first_zeros(self, weights: Mapping[str, Tensor]) -> dict[str, int]:
        """Zeros of each parameter before the first cut, which targets of nested masks never go below; remembered."""
        if self._zeros is None:
            nested = self.spec.update.removed(torch.ones(1, dtype=torch.bool)) is not None
            self._zeros = {name: _zeros(weight) if nested else 0 for name, weight in weights.items()}
        return self._zeros

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
            groups = self.spec.granularity.group(keep).any(dim=1)
            chosen = groups[order(len(groups), f"{key}/{name}").to(groups.device)]
            mask = self.spec.granularity.expand(chosen, tuple(keep.shape)).contiguous()
            masks.set_(self.name, name, mask, self.spec.applied)

    def keep_(self, masks: MaskStore) -> None:
        """Make the last masks hold for good: pruned weights are 0 from now on, kept values are dropped."""
        for name in self.names:
            if masks.owned(self.name, name) is not None:
                masks.treat_(name, Applied())
        masks.apply_()

    def _layer(self, name: str, masks: MaskStore, number: int, progress: Progress) -> Layer:
        if masks.weight(name).is_meta:
            raise SchedEngineError(
                f"pruner {self.name!r}: {name} has no values yet (meta device); load the weights first"
            )
        keep = masks.owned(self.name, name)
        # One kept weight keeps its group: the mask is made of whole groups, so the maximum says it exactly.
        groups = None if keep is None else self.spec.granularity.group(keep).any(dim=1)
        return Layer(
            name,
            masks.weight(name),
            self.spec.update.removed(groups),
            f"{name}/{number}/{progress.epoch}/{progress.step}",
        )

    def _decide(self, layers: list[Layer], number: int, count: int) -> tuple[float | None, Verdict]:
        if self.spec.threshold is not None:
            return None, by_limit(self.spec, layers, self._limits(layers))
        shapes = {layer.name: tuple(layer.weight.shape) for layer in layers}
        aim = self.aim(shapes, number, count, self.first_zeros({layer.name: layer.weight for layer in layers}))
        assert aim is not None
        if aim.levels is None:
            return aim.total, by_total(self.spec, layers, aim.total)
        return aim.total, by_level(self.spec, layers, aim.levels)

    def _limits(self, layers: list[Layer]) -> dict[str, float]:
        threshold = self.spec.threshold
        assert threshold is not None
        for layer in layers:
            if layer.name not in self._measured:
                self._measured[layer.name] = threshold.measure(layer.weight)
        every = threshold.by_name
        values = self.by_name or {name: every for name in self.names if not isinstance(every, dict)}
        return {name: threshold.limit(value, self._measured[name]) for name, value in values.items()}

    def _expand(self, verdict: Verdict, layers: list[Layer]) -> dict[str, Tensor]:
        return {
            layer.name: self.spec.granularity.expand(verdict.keep[layer.name], tuple(layer.weight.shape))
            .to(layer.weight.device)
            .contiguous()
            for layer in layers
        }

    def _verify(self, verdict: Verdict, removed: Mapping[str, int], progress: Progress) -> None:
        """The count removed against the count that the rule asked. With ``ties: all``, more may go."""
        wrong = []
        for name, asked in (verdict.asked or {}).items():
            if removed[name] != asked and not (self.spec.ties == "all" and removed[name] > asked > 0):
                wrong.append(f"{name}: {removed[name]:,} of {asked:,} weights are gone")
        if verdict.asked is None and verdict.total is not None:
            total, exceeds = sum(removed.values()), self.spec.ties == "all"
            if total < verdict.total - verdict.slack or (total > verdict.total and not exceeds):
                wrong.append(f"{total:,} of {verdict.total:,} weights are gone")
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
        return {"measured": dict(self._measured), "zeros": zeros, "is_released": self.is_released}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._measured = dict(state["measured"])
        self._zeros = None if state["zeros"] is None else dict(state["zeros"])
        self.is_released = bool(state["is_released"])


def _zeros(weight: Tensor) -> int:
    """How many weights are 0. A parameter of zeros only was initialised so, and is not sparse."""
    zeros = weight.numel() - int(weight.count_nonzero())
    return zeros if zeros < weight.numel() else 0
