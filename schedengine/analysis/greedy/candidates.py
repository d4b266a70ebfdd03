"""Which filters go together, and which of them go first: what one cut of a schedule on these weights would choose."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from torch import nn

from schedengine.analysis.sensitivity.asked import Asked
from schedengine.errors import SchedEngineError
from schedengine.export.graph import Dimension, Member
from schedengine.granularity import oriented
from schedengine.pruners.cutting import Layer, by_level
from schedengine.pruners.pruner import Pruner
from schedengine.selection import ParameterTable, Selector, normalise
from schedengine.sparsity.selection import removal_count

_SHOWN = 3


@dataclass(frozen=True)
class Candidate:
    """Filters of one layer, or of several whose outputs are added up: coordinate i is filter i of each.

    Args:
        names: of the weights, normalised, in the model's order.
        place: of its channels among the network's ``dimensions``.
        size: filters of each layer in the dense network.
    """

    names: tuple[str, ...]
    place: int
    size: int

    @property
    def layers(self) -> str:
        """The weights as a table writes them."""
        return " ".join(self.names)

    def most(self, least: float) -> int:
        """How many filters may go where a share of them, and one at any rate, stays."""
        return self.size - max(1, math.ceil(round(least * self.size, 9)))

    def stride(self, step: float) -> int:
        """How many filters a step is; one at least."""
        return max(1, removal_count(step, self.size))


def short(layers: str) -> str:
    """The weights of a table's row for the eye.

    Example:
        >>> short("conv1.weight layer1.0.conv2.weight layer1.1.conv2.weight layer1.2.conv2.weight")
        'conv1, layer1.0.conv2, layer1.1.conv2 and 1 more'
    """
    names = [name.removesuffix(".weight") for name in layers.split(" ")]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def candidates_of(
    model: nn.Module, found: Sequence[Dimension], parameters: Sequence[str] | None = None
) -> tuple[list[Candidate], dict[str, str]]:
    """What may lose filters.

    Args:
        found: ``dimensions`` of the model.
        parameters: names or globs: only sets of which all weights are picked; None for all Conv and Linear weights.

    Returns:
        In the model's order; and what else writes channels -> why it stays as it is.

    Raises:
        ScheduleError: a name that picks nothing.
        SchedEngineError: nothing may lose filters.
    """
    table = ParameterTable(model)
    picked = set((Selector() if parameters is None else Selector(names=tuple(parameters))).pick(table))
    chosen, others = list[Candidate](), dict[str, str]()
    for place, dimension in enumerate(found):
        names = tuple(normalise(f"{one.layer}.weight" if one.layer else "weight") for one in _writers(dimension))
        reason = _reason(dimension, names, picked)
        if reason is None:
            chosen.append(Candidate(names, place, dimension.size))
        elif names and not dimension.is_boundary:
            others[" ".join(names)] = reason
    if not chosen:
        said = "".join(f"\n  {short(layers)}: {reason}" for layers, reason in others.items())
        raise SchedEngineError(f"nothing to prune: no Conv or Linear layer whose filters can be removed{said}")
    return chosen, others


def _writers(dimension: Dimension) -> list[Member]:
    return [one for one in dimension.members if one.kind == "out"]


def _reason(dimension: Dimension, names: Sequence[str], picked: Set[str]) -> str | None:
    """Why these filters stay; None where they may go."""
    if dimension.blocked or not names:
        return dimension.blocked or "no layer writes them"
    if not picked >= set(names):
        return "not among the parameters that were asked for"
    if any(one.positions != tuple((position,) for position in range(dimension.size)) for one in _writers(dimension)):
        return "a layer's filters are not all alike here: some go with other layers, or several go as one"
    return None


class Ranking:
    """Which filters of a candidate a level removes, by the weights of the dense network.

    Args:
        table: of the dense network.
        criterion: as a schedule writes it.

    Raises:
        SchedEngineError: no such criterion, or one that needs more than weights.
    """

    def __init__(self, table: ParameterTable, criterion: str | Mapping[str, object]) -> None:
        pruner = Asked(granularity="filter", criterion=criterion, allocation="uniform").pruner()
        if pruner.criterion.needs:
            needed = " and ".join(sorted(pruner.criterion.needs))
            raise SchedEngineError(f"criterion {criterion}: needs more than weights ({needed}), which a search has not")
        self.pruner: Pruner = replace(pruner, together="joined")
        self._table = table

    def first(self, candidate: Candidate, count: int) -> list[int]:
        """Those of its filters that a cut which removes so many would choose, ascending."""
        layers = [self._layer(name, candidate) for name in candidate.names]
        keep = by_level(self.pruner, layers, dict.fromkeys(candidate.names, count / candidate.size)).keep
        return [int(one) for one in (~keep[candidate.names[0]]).nonzero().flatten()]

    def _layer(self, name: str, candidate: Candidate) -> Layer:
        # The key of the first cut at the start of a run, so that random scores are those of a schedule too.
        granularity = oriented(self.pruner.granularity, self._table.layer(name))
        joint = candidate.names[0] if len(candidate.names) > 1 else None
        return Layer(name, self._table[name].detach(), granularity, None, f"{name}/1/0/None", joint=joint)


def remaining(found: Sequence[Dimension], gone: Mapping[int, Collection[int]]) -> list[Dimension]:
    """The dimensions of a network that has lost channels: fewer coordinates, positions as they are now.

    Args:
        found: of the dense network.
        gone: place of a dimension -> its coordinates that are gone.
    """
    removed: dict[tuple[str, str], set[int]] = defaultdict(set)
    for place, coordinates in gone.items():
        for member in found[place].members:
            removed[member.layer, member.kind].update(member.at(sorted(coordinates)))
    return [_remaining(one, gone.get(place, ()), removed) for place, one in enumerate(found)]


def _remaining(
    dimension: Dimension, gone: Collection[int], removed: Mapping[tuple[str, str], Collection[int]]
) -> Dimension:
    stays = [one for one in range(dimension.size) if one not in gone]
    members = tuple(_moved(one, stays, removed.get((one.layer, one.kind), ())) for one in dimension.members)
    return replace(dimension, size=len(stays), members=members)


def _moved(member: Member, stays: Sequence[int], removed: Collection[int]) -> Member:
    """Each position with as many taken off as are gone before it."""
    places = dict(_numbered(member, removed))
    return replace(member, positions=tuple(tuple(places[one] for one in member.positions[n]) for n in stays))


def _numbered(member: Member, removed: Collection[int]) -> Iterator[tuple[int, int]]:
    last = max((one for own in member.positions for one in own), default=-1)
    left = (one for one in range(last + 1) if one not in removed)
    return ((position, number) for number, position in enumerate(left))
