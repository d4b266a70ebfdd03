"""Forward passes of private copies: nothing of the user's model, generators or modes is touched."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from schedengine.errors import ModelError

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
"""What a network is called with: one tensor, positional arguments, or keyword arguments."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def private_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode, without the hooks of the original and without gradients.

    Raises:
        ModelError: it cannot be copied.
    """
    try:
        copied = copy.deepcopy(model).eval()
    except RuntimeError as problem:
        raise ModelError(f"the network cannot be copied, so thinning cannot be tried: {problem}") from problem
    for module in copied.modules():
        for hooks in _HOOKS:
            getattr(module, hooks).clear()
    for parameter in copied.parameters():
        parameter.grad = None
    return copied


@contextmanager
def kept_generators(model: nn.Module) -> Iterator[None]:
    """torch's random numbers afterwards are as before."""
    devices = {tensor.device for tensor in model.parameters() if tensor.is_cuda}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        yield


def run(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The tensors that a forward pass returns, in the order in which they are nested."""
    if isinstance(inputs, Tensor):
        return list(leaves(model(inputs)))
    if isinstance(inputs, Mapping):
        return list(leaves(model(**inputs)))
    return list(leaves(model(*inputs)))


def leaves(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested sequences and mappings."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from leaves(one)


def changed(value: Any, change: Any) -> Any:
    """The same nest with every tensor replaced by ``change(tensor)``."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: changed(one, change) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [changed(one, change) for one in value]
    return value


def random_inputs(inputs: Inputs, model: nn.Module, *, seed: int, positive: bool = False) -> Inputs:
    """Inputs of the same shapes with random values; whole numbers stay as they are, for they are indices.

    Args:
        inputs: an example.
        model: whose device and precision they get.
        positive: in [0.5, 1.5) in place of a normal distribution.
    """
    generator = torch.Generator().manual_seed(seed)
    like = next((one for one in model.parameters() if one.is_floating_point()), torch.empty(()))

    def drawn(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.to(like.device)
        draw = torch.rand if positive else torch.randn
        values = draw(tensor.shape, generator=generator) + (0.5 if positive else 0.0)
        return values.to(like.device, like.dtype)

    found: Inputs = changed(inputs, drawn)
    return found
