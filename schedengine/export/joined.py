"""Which layers write channels that the network adds up: a filter of one can go only with those of the others."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from schedengine.export.forward import Inputs
from schedengine.export.graph import dimensions
from schedengine.selection import normalise


def joined(model: nn.Module, example_inputs: Inputs, names: Iterable[str]) -> dict[str, str]:
    """Parameters whose filters belong together.

    Args:
        model: stays as it is.
        example_inputs: what it is called with.
        names: of weights, as schedules write them.

    Returns:
        Name -> the first of ``names`` whose filters go with its own, for those that are not alone. Filters that are put
        side by side (concatenated) are different channels, and do not belong together.

    Raises:
        ModelError: the network cannot be run on the inputs.
    """
    wanted = {normalise(name): name for name in names}
    groups: dict[tuple[int, tuple[tuple[int, ...], ...]], list[str]] = {}
    for number, dimension in enumerate(dimensions(model, example_inputs)):
        for member in dimension.members:
            name = wanted.get(normalise(f"{member.layer}.weight"))
            if member.kind == "out" and name is not None:
                groups.setdefault((number, member.positions), []).append(name)
    order = list(wanted.values())
    found: dict[str, str] = {}
    for members in groups.values():
        if len(members) > 1:
            first = min(members, key=order.index)
            found.update(dict.fromkeys(members, first))
    return found
