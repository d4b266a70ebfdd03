"""Which channels can ever be other than zero, found with one forward pass.

The pass is that of a surrogate: every weight that is not 0 becomes 1, every weight that is 0 stays 0, normalisation
only scales, and inputs and what layers return become random numbers in [0.5, 1.5) where they are not 0. Nothing cancels
then, so an activation is 0 if and only if no path of non-zero weights leads to it. What a layer says of a channel that
nothing drives (its bias, the shift of a normalisation) is taken as 0 where it is settled, and counts everywhere else.
An operation that makes 0 of whatever is positive, ``relu(-x)``, would mislead it; a thinning is verified before it is
done, and refused then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from schedengine.export.forward import Inputs, kept_generators, private_copy, random_inputs, run
from schedengine.export.layers import channel_axis, sides

_SEED = 20
Settled = Mapping[str, list[int]]
"""Layer -> positions of the channels whose shifts are 0."""


def received(model: nn.Module, example_inputs: Inputs, settled: Settled) -> dict[str, Tensor]:
    """Which of its channels each layer can receive anything on.

    Args:
        model: is copied; its values matter only for being 0 or not.
        example_inputs: their sizes matter, and whole numbers.
        settled: channels of which a layer says nothing of its own.

    Returns:
        Name of a layer that the pass reaches -> bool, one a channel that it reads: False where what arrives is 0
        whatever the network's inputs are.
    """
    found: dict[str, Tensor] = {}
    surrogate = private_copy(model)
    generator = torch.Generator().manual_seed(_SEED)
    with kept_generators(model), torch.no_grad():
        for parameter in surrogate.parameters():
            parameter.copy_(parameter != 0)
        for name, layer in surrogate.named_modules():
            if sides(layer):
                _settle_(layer, settled.get(name, []))
                layer.register_forward_pre_hook(_recorder(name, found))
                layer.register_forward_hook(_leveller(generator))
        run(surrogate, random_inputs(example_inputs, surrogate, seed=_SEED, positive=True))
    return found


def _lively(alive: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """Random numbers in [0.5, 1.5) where something is alive, 0 elsewhere."""
    values = torch.rand(alive.shape, generator=generator).add_(0.5).to(like.device, like.dtype)
    return values * alive


def _settle_(layer: nn.Module, positions: list[int]) -> None:
    """Shifts that are there count, but not those of settled channels."""
    shifted = torch.zeros(0)
    bias = getattr(layer, "bias", None)
    if isinstance(layer, _NormBase) and layer.running_mean is not None and layer.running_var is not None:
        shifted = layer.running_mean != 0
        layer.running_mean.zero_()
        layer.running_var.fill_(1)
        if not isinstance(bias, Tensor):  # a mean alone shifts as well
            layer.running_mean.copy_(-1.0 * shifted)
            layer.running_mean[positions] = 0
    if isinstance(bias, Tensor):
        if len(shifted):
            bias.masked_fill_(shifted, 1)
        bias[positions] = 0


def _recorder(name: str, found: dict[str, Tensor]) -> Any:
    def record(layer: nn.Module, given: tuple[Any, ...]) -> None:
        value = given[0] if given and isinstance(given[0], Tensor) else None
        if value is not None and value.is_floating_point():
            axis = channel_axis(layer, value.dim())
            alive = (value != 0).transpose(0, axis).flatten(1).any(1) if value.dim() > 1 else value != 0
            found[name] = alive.cpu() | found.get(name, torch.zeros(len(alive), dtype=torch.bool))

    return record


def _leveller(generator: torch.Generator) -> Any:
    """What a layer returns brought to order 1, whatever the depth, so that nothing underflows."""

    def level(layer: nn.Module, given: tuple[Any, ...], returned: Tensor) -> Tensor:
        del given
        alive = returned != 0
        if isinstance(layer, nn.Embedding):  # of all tokens, not only of those in the example
            alive = (layer.weight != 0).any(0).expand_as(returned)
        return _lively(alive, returned, generator)

    return level
