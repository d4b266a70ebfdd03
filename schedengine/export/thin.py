"""What can be removed of a network without changing what it computes, and the plan of removing it.

A channel goes if every layer that reads it either receives 0 on it whatever the inputs are (its filters are dead), or
multiplies it by zeros (its readers ignore it). Nothing is changed here: ``apply.py`` carries a plan out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from schedengine.errors import EffectError
from schedengine.export.forward import Inputs, private_copy
from schedengine.export.graph import Dimension, Member, dimensions
from schedengine.export.layers import KINDS, SHIFTS, Kind, sides, tensors
from schedengine.export.probe import received
from schedengine.selection import normalise

What = Literal["all", "filters", "channels"]
Keep = tuple[tuple[int, Tensor], ...]
"""Dimensions of a tensor, each with the positions (int64, ascending) that stay."""
Used = Mapping[tuple[str, Kind], Tensor]


@dataclass(frozen=True)
class Slice:
    """What stays of one parameter or buffer.

    Attributes:
        layer, tensor: where it is: ``getattr(model.get_submodule(layer), tensor)``.
        keep: see ``Keep``.
        before, after: its shapes.
        settle: positions along its dimension 0 that must be 0 for the network to compute without these channels what
            it computes with them: shifts of channels that nothing drives.
    """

    layer: str
    tensor: str
    keep: Keep
    before: tuple[int, ...]
    after: tuple[int, ...]
    settle: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """As schedules and masks name it."""
        return normalise(f"{self.layer}.{self.tensor}" if self.layer else self.tensor)


@dataclass(frozen=True)
class Refusal:
    """Channels that are dead or ignored and stay all the same.

    Attributes:
        layers: that write them, or read them where no layer does.
        channels: how many.
        reason: what is in the way.
    """

    layers: str
    channels: int
    reason: str


@dataclass(frozen=True)
class Thinning:
    """A plan: everything that changes when dead channels are removed.

    Attributes:
        slices: of every tensor that gets smaller, in the model's order.
        attributes: layer -> attribute -> value (``out_channels``, ``num_features``, ...).
        refused: what stays though it could go by its values.
        parameters: their number before and after, of the whole model; tied ones count once.
    """

    slices: tuple[Slice, ...]
    attributes: Mapping[str, Mapping[str, int]]
    refused: tuple[Refusal, ...]
    parameters: tuple[int, int]

    @property
    def keep(self) -> dict[str, Keep]:
        """Normalised tensor name -> what stays of it, for masks and whatever else has the tensor's shape."""
        return {one.name: one.keep for one in self.slices}

    def __bool__(self) -> bool:
        return bool(self.slices)


def plan(
    model: nn.Module, example_inputs: Inputs, *, what: What = "all", known: list[Dimension] | None = None
) -> Thinning:
    """Find what can go.

    Channels go until no more can: a filter that goes can leave another without inputs, or without readers.

    Args:
        model: with exact zeros where it is pruned; any device; stays as it is, with torch's random numbers.
        example_inputs: one tensor, positional arguments or keyword arguments, in sizes that the network takes.
        what: ``filters`` removes channels that are dead because nothing reaches them through weights that are not 0;
            ``channels`` those that all their readers ignore; ``all`` also those dead for some and ignored by others.
        known: the model's ``dimensions``, where they are; they stay what they are until something is removed.

    Returns:
        The plan; without slices if there is nothing to remove. The inputs and the outputs of the network stay.

    Raises:
        EffectError: all channels of a layer would go.
        ModelError: the network cannot be run on the inputs.
    """
    found = dimensions(model, example_inputs) if known is None else known
    working = private_copy(model)
    gone: list[set[int]] = [set() for _ in found]
    settled: list[set[int]] = [set() for _ in found]
    refused: tuple[Refusal, ...] | None = None
    while True:
        used = _used(working, found)
        idle = _idle(working, example_inputs, found, used, [set(range(one.size)) for one in found], what)
        if refused is None:
            refused = _refused(found, idle)
        candidates = _consistent(working, example_inputs, found, used, idle, gone, what)
        if all(new <= old for new, old in zip(candidates, gone)):
            break
        ignored = [_is_zero(used, one, "in") for one in found]
        for number, (dimension, new) in enumerate(zip(found, candidates)):
            settled[number] |= {one for one in new - gone[number] if not ignored[number][one]}
            gone[number] |= new
            clear_(working, dimension, new, KINDS)
    _check_collapse(found, gone)
    going = list(zip(found, map(sorted, gone), map(sorted, settled)))
    return assemble(model, going, refused)


@torch.no_grad()
def settle_(model: nn.Module, thinning: Thinning) -> None:
    """Set to 0 what dead channels still say of themselves: biases, shifts of normalisation, running means.

    Afterwards the masked network computes what the thinned one will.
    """
    for one in thinning.slices:
        getattr(model.get_submodule(one.layer), one.tensor)[list(one.settle)] = 0


def assemble(
    model: nn.Module,
    going: Sequence[tuple[Dimension, list[int], list[int]]],
    refused: tuple[Refusal, ...] = (),
) -> Thinning:
    """The plan of removing given coordinates.

    Args:
        going: dimension, coordinates that go, and those of them whose shifts must be settled.
    """
    removed: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    settle: dict[tuple[str, str], set[int]] = defaultdict(set)
    attributes: dict[str, dict[str, int]] = defaultdict(dict)
    for dimension, coordinates, shifts in going:
        for member in dimension.members if coordinates else ():
            layer = model.get_submodule(member.layer)
            side = sides(layer)[member.kind]
            for name, (_, dim) in tensors(layer, side).items():
                removed[member.layer, name, dim].update(member.at(coordinates))
                if name in SHIFTS:
                    settle[member.layer, name].update(member.at(shifts))
            for attribute in side.attributes:
                own = attributes[member.layer]
                own[attribute] = own.get(attribute, getattr(layer, attribute)) - len(member.at(coordinates))
    slices = tuple(_slices(model, removed, settle))
    before = sum(parameter.numel() for parameter in model.parameters())
    parameters = {one.name: one for one in slices if one.tensor in model.get_submodule(one.layer)._parameters}
    after = before - sum(_numel(one.before) - _numel(one.after) for one in parameters.values())
    return Thinning(slices, dict(attributes), refused, (before, after))


def _slices(
    model: nn.Module, removed: Mapping[tuple[str, str, int], set[int]], settle: Mapping[tuple[str, str], set[int]]
) -> Iterable[Slice]:
    for layer_name, layer in model.named_modules():
        for name in [*layer._parameters, *layer._buffers]:
            dims = [dim for one, tensor, dim in removed if (one, tensor) == (layer_name, name)]
            value = getattr(layer, name)
            if dims:
                keep = tuple((dim, _others(value.shape[dim], removed[layer_name, name, dim])) for dim in sorted(dims))
                kept = dict(keep)
                after = tuple(len(kept[dim]) if dim in kept else size for dim, size in enumerate(value.shape))
                settled = tuple(sorted(settle.get((layer_name, name), ())))
                yield Slice(layer_name, name, keep, tuple(value.shape), after, settled)


def _others(size: int, positions: set[int]) -> Tensor:
    return torch.tensor([one for one in range(size) if one not in positions], dtype=torch.int64)


def _numel(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def _consistent(
    working: nn.Module,
    inputs: Inputs,
    found: list[Dimension],
    used: Used,
    idle: list[set[int]],
    gone: list[set[int]],
    what: What,
) -> list[set[int]]:
    """The coordinates that are idle even if nothing but their own shifts is settled.

    ``idle`` was found with all shifts at 0. Those of coordinates that stay are not, so they are counted again, until
    what is taken as settled is what goes.
    """
    going = [set() if one.blocked else coordinates for one, coordinates in zip(found, idle)]
    while any(new - old for new, old in zip(going, gone)):
        still = _idle(working, inputs, found, used, going, what)
        if still == going:
            break
        going = still
    return going


def _idle(
    working: nn.Module, inputs: Inputs, found: list[Dimension], used: Used, settled: list[set[int]], what: What
) -> list[set[int]]:
    """Those of some coordinates that nobody would miss, if the shifts of them all are settled."""
    positions: dict[str, list[int]] = defaultdict(list)
    for dimension, coordinates in zip(found, settled):
        for member in dimension.members:
            if member.kind != "in":
                positions[member.layer] += member.at(sorted(coordinates))
    alive = received(working, inputs, positions)
    return [
        {one for one in coordinates if idle[one]}
        for coordinates, idle in ((settled[n], _unmissed(one, alive, used, what)) for n, one in enumerate(found))
    ]


def _unmissed(dimension: Dimension, alive: Mapping[str, Tensor], used: Used, what: What) -> list[bool]:
    """By the members that read; of channels that no known layer reads, by those that write."""
    readers = [one for one in dimension.members if one.kind == "in"]
    if not readers:
        return [what != "channels" and is_dead for is_dead in _is_zero(used, dimension, "out")]
    silent = torch.stack([~_anywhere(alive.get(one.layer), one) for one in readers])
    ignored = torch.stack([~_anywhere(used[one.layer, "in"], one) for one in readers])
    idle = {"filters": silent, "channels": ignored, "all": silent | ignored}[what].all(0)
    return list(map(bool, idle.tolist()))


def _is_zero(used: Used, dimension: Dimension, kind: Kind) -> list[bool]:
    """Per coordinate, whether all weights of the members of a kind are 0; False where there are none."""
    flags = [_anywhere(used[one.layer, kind], one) for one in dimension.members if one.kind == kind]
    return [not one for one in torch.stack(flags).any(0).tolist()] if flags else [False] * dimension.size


def _used(working: nn.Module, found: list[Dimension]) -> Used:
    """Per layer and kind, for each position of its channels, whether any weight there is not 0."""
    return {
        (name, kind): _any_along(*tensors(layer, sides(layer)[kind])["weight"])
        for name, kind in {(one.layer, one.kind) for dimension in found for one in dimension.members}
        if kind != "through"
        for layer in [working.get_submodule(name)]
    }


def _any_along(weight: Tensor, dim: int) -> Tensor:
    others = [one for one in range(weight.dim()) if one != dim]
    return (weight.detach() != 0).any(others).cpu()


def _anywhere(flags: Tensor | None, member: Member) -> Tensor:
    """Per coordinate, whether any of its positions is flagged; all are, of a layer that the pass does not reach."""
    positions = torch.tensor(member.positions)
    return torch.ones(len(positions), dtype=torch.bool) if flags is None else flags[positions].any(1)


@torch.no_grad()
def clear_(model: nn.Module, dimension: Dimension, coordinates: Iterable[int], kinds: Iterable[Kind]) -> None:
    """Zero everything that the members of these kinds hold of some coordinates."""
    chosen = sorted(coordinates)
    for member in dimension.members:
        layer = model.get_submodule(member.layer)
        for name, (tensor, dim) in tensors(layer, sides(layer)[member.kind]).items():
            if member.kind in kinds and name != "running_var":
                tensor.index_fill_(dim, torch.tensor(member.at(chosen), device=tensor.device, dtype=torch.int64), 0)


def _refused(found: list[Dimension], idle: list[set[int]]) -> tuple[Refusal, ...]:
    return tuple(
        Refusal(one.layers, len(coordinates), one.blocked)
        for one, coordinates in zip(found, idle)
        if one.blocked and coordinates
    )


def _check_collapse(found: list[Dimension], gone: list[set[int]]) -> None:
    for dimension, coordinates in zip(found, gone):
        if len(coordinates) == dimension.size:
            count = f"all {dimension.size} channels" if dimension.size > 1 else "the only channel"
            raise EffectError(
                f"{dimension.layers}: {count} would be removed, and the network cut through; prune less there, or keep "
                "one group a parameter (min_keep)"
            )
