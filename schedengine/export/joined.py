"""Which layers write channels that the network adds up: a filter of one can go only with those of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn
from torch.nn.modules.conv import _ConvNd

from schedengine.export.forward import Inputs
from schedengine.export.graph import dimensions
from schedengine.selection import normalise

Channels = tuple[int, tuple[tuple[int, ...], ...]]
"""A dimension, and where its coordinates are in a layer."""


def joined(model: nn.Module, example_inputs: Inputs, names: Iterable[str]) -> dict[str, str]:
    """Parameters whose filters belong together.

    Args:
        model: stays as it is.
        example_inputs: what it is called with.
        names: of weights, as schedules write them.

    Returns:
        Name -> the first of ``names`` whose filters go with its own, for those that are not alone: layers that are
        added up, and depthwise convolutions with the layers before them. Filters that are put side by side
        (concatenated) are different channels, and do not belong together.

    Raises:
        ModelError: the network cannot be run on the inputs.
    """
    wanted = {normalise(name): name for name in names}
    order = list(wanted.values())
    found: dict[str, str] = {}
    for writers in _writers(model, example_inputs).values():
        members = [wanted[one] for one in writers if one in wanted]
        if len(members) > 1:
            first = min(members, key=order.index)
            found.update(dict.fromkeys(members, first))
    return found


def stranded(
    model: nn.Module, example_inputs: Inputs, names: Iterable[str], joint: Mapping[str, str]
) -> list[tuple[str, str, bool]]:
    """Pairs of layers that write the same channels, of which only one loses filters, or each loses others.

    Args:
        names: of the weights that lose filters.
        joint: those among them that lose the same ones, by what names them all.

    Returns:
        (loses filters, writes the same channels, whether it loses filters too), one for each set of channels. Filters
        of the first that the second keeps become zero and cannot be removed.
    """
    wanted = {normalise(name): name for name in names}
    found = []
    for writers in _writers(model, example_inputs).values():
        pruned = [wanted[one] for one in writers if one in wanted]
        kept = [one for one in writers if one not in wanted]
        if pruned and kept:
            found.append((pruned[0], kept[0], False))
        elif len({joint.get(one, one) for one in pruned}) > 1:
            other = next(one for one in pruned[1:] if joint.get(one, one) != joint.get(pruned[0], pruned[0]))
            found.append((pruned[0], other, True))
    return found


def _writers(model: nn.Module, example_inputs: Inputs) -> dict[Channels, list[str]]:
    """The weights, by normalised name, whose filters are these channels: depthwise convolutions hand them on."""
    found: dict[Channels, list[str]] = {}
    for number, dimension in enumerate(dimensions(model, example_inputs)):
        for member in dimension.members:
            is_filter = member.kind == "out" or isinstance(model.get_submodule(member.layer), _ConvNd)
            if member.kind != "in" and is_filter:
                name = normalise(f"{member.layer}.weight" if member.layer else "weight")
                found.setdefault((number, member.positions), []).append(name)
    return found
