"""Before any training: can the layers that a schedule prunes be thinned? What cannot is refused, with the reason."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from schedengine.errors import EffectError, SchedEngineError
from schedengine.export.apply import compare, shrink_
from schedengine.export.forward import Inputs, private_copy
from schedengine.export.graph import Dimension, dimensions
from schedengine.export.layers import Kind, sides
from schedengine.export.thin import What, assemble, clear_
from schedengine.selection import normalise

_SEED = 43
_KINDS: dict[What, tuple[Kind, ...]] = {
    "filters": ("out", "through"),
    "channels": ("in", "through"),
    "all": ("out", "through", "in"),
}


def check(
    model: nn.Module, example_inputs: Inputs, names: Iterable[str], *, what: What = "filters", passes_ends: bool = False
) -> None:
    """Say whether whole filters or channels of some parameters can be removed later, whatever becomes of the values.

    Two things are looked at: the operations between the layers, and, since a size that stands in a network's code
    leaves no trace in them, a trial: about half the channels in question are zeroed in a copy with random weights and
    removed in another, and both must compute the same.

    Args:
        model: stays as it is, with torch's random numbers; on the meta device only the operations are looked at.
        example_inputs: as for ``plan``.
        names: of parameters, as schedules write them.
        what: ``filters`` are what a layer writes, ``channels`` what it reads; ``all`` both, except the network's inputs
            and outputs, which are passed over.
        passes_ends: pass over these in any case; they stay, whatever becomes zero.

    Raises:
        SchedEngineError: some cannot be thinned; all of them are named, each with the operation or layer in the way.
        ModelError: the network cannot be run on the inputs.
    """
    found = dimensions(model, example_inputs)
    own = {normalise(f"{name}.weight" if name else "weight"): name for name, layer in model.named_modules()}
    problems: list[str] = []
    asked: dict[int, str] = {}
    for name in names:
        layer = own.get(normalise(name))
        places = [n for n, one in enumerate(found) if layer is not None and _holds(one, layer, _KINDS[what])]
        problems += _refusals(
            name, layer, model, [found[n] for n in places], what, passes_ends=passes_ends or what == "all"
        )
        asked.update({n: name for n in places if found[n].blocked is None})
    if problems:
        raise SchedEngineError("cannot be thinned:\n  " + "\n  ".join(problems))
    if asked and not any(parameter.is_meta for parameter in model.parameters()):  # which has no values to try it with
        _try(model, example_inputs, {name: [found[n] for n in asked if asked[n] == name] for name in asked.values()})


def _holds(dimension: Dimension, layer: str, kinds: Sequence[Kind]) -> bool:
    return any(member.layer == layer and member.kind in kinds for member in dimension.members)


def _refusals(
    name: str, layer: str | None, model: nn.Module, found: list[Dimension], what: What, *, passes_ends: bool
) -> list[str]:
    if layer is None:
        return [f"{name}: no layer's weight"]
    if not found:
        module = model.get_submodule(layer)
        groups = getattr(module, "groups", 1)
        unknown = f"of {groups} groups, and not depthwise" if groups > 1 else "its channels are not known"
        reason = "the forward pass does not reach it" if sides(module) else unknown
        return [f"{name}: of a {type(module).__name__}; {reason}"]
    words = {"filters": "filters", "channels": "channels", "all": "filters and channels"}[what]
    blocked = [one for one in found if one.blocked and not (passes_ends and one.is_boundary)]
    return [
        f"{name}: its {words} cannot go: {one.blocked} (channels of {one.layers})"
        + ("; leave it out of the pruner, as in 'parameters: {except: [last]}'" if one.is_boundary else "")
        for one in blocked
    ]


def _try(model: nn.Module, example_inputs: Inputs, asked: dict[str, list[Dimension]]) -> None:
    """All at once; where that fails, parameter by parameter, to say which."""
    network = _with_random_values(private_copy(model))
    try:
        _trial(network, example_inputs, [one for dimensions in asked.values() for one in dimensions])
    except EffectError as problem:
        for name, dimensions in asked.items():
            try:
                _trial(network, example_inputs, dimensions)
            except EffectError as own:
                text = f"cannot be thinned:\n  {name} (channels of {dimensions[0].layers}): in a trial {own}"
                raise SchedEngineError(text) from own
        raise SchedEngineError(f"cannot be thinned together: {', '.join(asked)}: in a trial {problem}") from problem


def _trial(network: nn.Module, example_inputs: Inputs, found: list[Dimension]) -> None:
    generator = torch.Generator().manual_seed(_SEED)
    halves = [sorted(torch.randperm(one.size, generator=generator)[: one.size // 2].tolist()) for one in found]
    masked = copy.deepcopy(network)
    for dimension, coordinates in zip(found, halves):
        clear_(masked, dimension, coordinates, ("out", "through"))
    thinned = copy.deepcopy(masked)
    shrink_(thinned, assemble(thinned, [(one, half, []) for one, half in zip(found, halves)]))
    compare(masked, thinned, example_inputs)


@torch.no_grad()
def _with_random_values(network: nn.Module) -> nn.Module:
    """Values with which every channel matters; those of a network that is pruned, or not trained yet, may not."""
    generator = torch.Generator().manual_seed(_SEED)
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if tensor.dim() > 1:
            values = torch.randn(tensor.shape, generator=generator) * (2 / max(1, tensor[0].numel())) ** 0.5
        elif name.endswith(("weight", "running_var")):
            values = torch.rand(tensor.shape, generator=generator) + 0.5
        else:
            values = torch.randn(tensor.shape, generator=generator) / 10
        tensor.copy_(values)
    return network
