"""The cells of a sweep: one parameter, or the whole network, pruned to one level.

What goes is decided by the pruners' own axes, so whatever criterion, granularity and allocation they know can be
swept. A cell is the first cut of a run: a schedule that starts with this pruner at this level removes the same weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy
import torch
from torch import Tensor

from schedengine.errors import Problem, SchedEngineError, ScheduleError
from schedengine.granularity import Granularity, oriented
from schedengine.pruners.cutting import Layer, Verdict, by_level, by_total
from schedengine.pruners.pruner import Pruner
from schedengine.selection import ParameterTable
from schedengine.sparsity.allocation import Allocation
from schedengine.sparsity.ramps import Constant
from schedengine.sparsity.selection import removal_count

MAGNITUDE = Pruner(sparsity=Constant(0.5))
"""Single weights by magnitude; the target is each level's in turn."""

DENSE = b""
"""The key of the cells that remove nothing."""


class Mask:
    """Which groups of a parameter stay, at one bit a group: a sweep has a mask for every level.

    Args:
        keep: (groups,) bool.
        granularity: what a group is.
        shape: of the parameter.
    """

    def __init__(self, keep: Tensor, granularity: Granularity, shape: tuple[int, ...]) -> None:
        self._bits = numpy.packbits(keep.cpu().numpy())
        self._granularity = granularity
        self._shape = shape

    def apply(self, weight: Tensor) -> Tensor:
        """A copy of the weight with 0 where a group is gone."""
        groups = numpy.unpackbits(self._bits, count=self._granularity.groups(self._shape))
        keep = torch.from_numpy(groups).view(torch.bool)
        return weight * self._granularity.expand(keep, self._shape).to(weight.device)


@dataclass(frozen=True, eq=False)
class Cell:
    """One parameter, or the whole network, pruned to one level.

    Args:
        parameter: normalised name; None for the whole network.
        level: fraction of the groups (of the whole network: weights) that is asked to go, [0, 1).
        weights: how many weights are swept here.
        zeros: how many of them are 0 in the cell, counted; those that were 0 before included.
        note: why the level is not what was asked; empty where it is.
        masks: by parameter, those that change it.
        key: cells with the same key have the same weights, and are evaluated once; ``DENSE`` changes none.
    """

    parameter: str | None
    level: float
    weights: int
    zeros: int
    note: str = ""
    masks: Mapping[str, Mask] = field(default_factory=dict)
    key: bytes = DENSE

    @property
    def sparsity(self) -> float:
        """Fraction of the weights that is 0."""
        return self.zeros / self.weights

    def pruned(self, table: ParameterTable) -> dict[str, Tensor]:
        """The parameters that the cell changes, as it has them; the table's are left alone."""
        return {name: mask.apply(table[name].detach()) for name, mask in self.masks.items()}


def layer_cells(
    table: ParameterTable, levels: Sequence[float], pruner: Pruner = MAGNITUDE, names: Iterable[str] | None = None
) -> list[Cell]:
    """Every parameter at every level, each pruned alone: parameter by parameter, levels in the order given.

    Args:
        table: of the model.
        levels: fractions removed, [0, 1).
        pruner: its criterion, granularity, ``min_keep``, ``rounding`` and ``ties``; its target is each level's.
        names: normalised; by default what the pruner selects.

    Raises:
        ScheduleError: a name that the model has not, or a parameter that cannot be grouped so.
        SchedEngineError: scores that are not finite.
    """
    chosen = _checked(table, pruner, names)
    return [_layer_cell(table, name, level, pruner) for name in chosen for level in levels]


def network_cells(
    table: ParameterTable, levels: Sequence[float], pruner: Pruner = MAGNITUDE, names: Iterable[str] | None = None
) -> list[Cell]:
    """The whole network at every level, shared among its parameters by the pruner's allocation.

    Args:
        table, levels, names: as in ``layer_cells``.
        pruner: as there, and its allocation.

    Raises:
        ScheduleError: as in ``layer_cells``.
        SchedEngineError: scores that are not finite, an allocation that cannot share a level, or that shares none.
    """
    chosen, allocation = _checked(table, pruner, names), pruner.allocation
    if not isinstance(allocation, Allocation):
        raise SchedEngineError(
            "sensitivity: the pruner's allocation gives each parameter a level; a sweep of the whole network needs one "
            "that shares a total: global, uniform, erk, ..."
        )
    layers = [_layer(table, name, pruner) for name in chosen]
    cells = []
    for level in levels:
        if allocation.scope == "global":
            verdict = by_total(pruner, layers, level)
            asked = removal_count(level, sum(layer.weight.numel() for layer in layers), pruner.rounding)
        else:
            shares = allocation.levels({layer.name: tuple(layer.weight.shape) for layer in layers}, level)
            verdict = by_level(pruner, layers, shares)
            asked = sum(_asked(layer, shares[layer.name], pruner) for layer in layers)
        cells.append(_cell(None, level, layers, verdict, asked, pruner))
    return cells


def _layer_cell(table: ParameterTable, name: str, level: float, pruner: Pruner) -> Cell:
    layer = _layer(table, name, pruner)
    verdict = by_level(pruner, [layer], {name: level})
    return _cell(name, level, [layer], verdict, _asked(layer, level, pruner), pruner)


def _layer(table: ParameterTable, name: str, pruner: Pruner) -> Layer:
    # The key of the first cut at the start of a run, so that random scores are those of a schedule too.
    granularity = oriented(pruner.granularity, table.layer(name))
    return Layer(name, table[name].detach(), granularity, None, f"{name}/1/0/None")


def _asked(layer: Layer, level: float, pruner: Pruner) -> int:
    """Weights that a level asks to go, whatever must stay."""
    groups, size = layer.counts
    return removal_count(level, groups, pruner.rounding) * size


def _cell(
    parameter: str | None, level: float, layers: Sequence[Layer], verdict: Verdict, asked: int, pruner: Pruner
) -> Cell:
    masks, zeros, gone, digest = {}, 0, 0, hashlib.blake2b()
    for layer in layers:
        shape, is_zero = tuple(layer.weight.shape), layer.weight == 0
        removed = ~layer.granularity.expand(verdict.keep[layer.name], shape)
        gone += int(removed.count_nonzero())
        zeros += int((removed | is_zero).count_nonzero())
        changed = removed & ~is_zero
        if bool(changed.any()):
            masks[layer.name] = Mask(verdict.keep[layer.name], layer.granularity, shape)
            digest.update(layer.name.encode() + numpy.packbits(changed.cpu().numpy()).tobytes())
    weights = sum(layer.weight.numel() for layer in layers)
    note = _note(level, asked, gone, verdict.slack, pruner.min_keep, changes=bool(masks))
    return Cell(parameter, level, weights, zeros, note, masks, digest.digest() if masks else DENSE)


def _note(level: float, asked: int, gone: int, slack: int, min_keep: int, *, changes: bool) -> str:
    if level > 0 and asked == 0:
        return f"{level:g} of its groups rounds to none: nothing is removed"
    if gone < asked - slack:
        return f"{gone:,} of {asked:,} weights removed: {min_keep} group(s) of a parameter stay (min_keep)"
    if gone and not changes:
        return "removes only weights that are 0 already"
    return ""


def _checked(table: ParameterTable, pruner: Pruner, names: Iterable[str] | None) -> list[str]:
    if pruner.sparsity is None:
        raise SchedEngineError("sensitivity: the pruner has a threshold; a sweep needs one with a target ('sparsity')")
    if pruner.criterion.needs:
        needed = " and ".join(sorted(pruner.criterion.needs))
        raise SchedEngineError(f"sensitivity: the criterion needs more than weights ({needed}), which a sweep has not")
    chosen = pruner.selector.pick(table) if names is None else list(names)
    problems = []
    for name in chosen:
        try:
            oriented(pruner.granularity, table.layer(name)).check(tuple(table[name].shape))
        except KeyError:
            problems.append(Problem("no parameter of the model", name))
        except SchedEngineError as error:
            problems.append(Problem(str(error), name))
    if problems:
        raise ScheduleError(problems)
    return chosen
