"""What the nodes of a traced network do, each able to compute with other values of its parameters.

The network's own modules are called, never changed: a pruned weight is handed in for one call. A convolution takes the
batch normalisation that follows it into its weight, after pruning: folding first would change what is ranked.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights

Pruned = Mapping[str, Tensor]
"""Values that take the place of parameters, by name; the others are the network's own."""

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Operation(ABC):
    """What a node computes.

    Attributes:
        parameters: names of those that it reads itself.
    """

    parameters: frozenset[str] = frozenset()

    @abstractmethod
    def __call__(self, pruned: Pruned, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The node's value."""


class Function(Operation):
    """A function, or a method of its first argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, pruned: Pruned, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        del pruned
        return self._function(*args, **kwargs)


class Layer(Operation):
    """A module that tracing does not look into.

    Args:
        module: the network's.
        names: what its own names of its parameters (``out_proj.weight``) stand for in the network.
    """

    def __init__(self, module: nn.Module, names: Mapping[str, str]) -> None:
        self.module = module
        self._names = names
        self.parameters = frozenset(names.values())

    def __call__(self, pruned: Pruned, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        own = {own: pruned[name] for own, name in self._names.items() if name in pruned}
        return functional_call(self.module, own, args, kwargs) if own else self.module(*args, **kwargs)

    def value(self, own: str, pruned: Pruned) -> Tensor | None:
        """One of its parameters, as this cell has it; None where the module has none."""
        found = pruned.get(self._names.get(own, ""))
        return self.module._parameters[own] if found is None else found


class Folded(Operation):
    """A convolution with the batch normalisation that follows it, in evaluation mode.

    Args:
        convolution: its weight is pruned first, then scaled.
        norm: with running statistics.
        layout: of the weight; that of the images is fastest.
    """

    def __init__(self, convolution: Layer, norm: Layer, layout: torch.memory_format) -> None:
        self._convolution = convolution
        self._norm = norm
        self._layout = layout
        self.parameters = convolution.parameters | norm.parameters
        self._dense = self._fold({})

    def __call__(self, pruned: Pruned, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = not self.parameters.isdisjoint(pruned)
        module: Any = self._convolution.module
        return module._conv_forward(*args, *(self._fold(pruned) if changed else self._dense), **kwargs)

    def _fold(self, pruned: Pruned) -> tuple[Tensor, Tensor]:
        norm: Any = self._norm.module
        weight = self._convolution.value("weight", pruned)
        bias = self._convolution.value("bias", pruned)
        scale, shift = self._norm.value("weight", pruned), self._norm.value("bias", pruned)
        assert weight is not None
        with torch.no_grad():
            folded, added = fuse_conv_bn_weights(
                weight, bias, norm.running_mean, norm.running_var, norm.eps, scale, shift
            )
            layout = self._layout if folded.dim() == 4 else torch.preserve_format
            return folded.detach().to(memory_format=layout), added.detach()


def same(value: Any) -> Any:
    """What becomes of a normalisation that is folded."""
    return value


def is_plain(module: nn.Module) -> bool:
    """Whether a call of the module is its forward and nothing else."""
    return not (module._forward_hooks or module._forward_pre_hooks)


def is_foldable(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether these two, one after the other, are a ``Folded``."""
    kinds = type(convolution) in _CONVOLUTIONS and type(norm) in _NORMS
    return kinds and is_plain(convolution) and is_plain(norm) and getattr(norm, "running_var", None) is not None


_IN_PLACE: dict[object, Callable[..., Tensor]] = {
    nn.ReLU: torch.relu_,
    torch.relu: torch.relu_,
    functional.relu: torch.relu_,
    "relu": torch.relu_,
    nn.ReLU6: lambda value: functional.hardtanh_(value, 0.0, 6.0),
    nn.SiLU: lambda value: functional.silu(value, inplace=True),
    nn.Hardswish: lambda value: functional.hardswish(value, inplace=True),
    operator.add: operator.iadd,
    torch.add: operator.iadd,
    "add": operator.iadd,
}
"""What overwrites its first argument with the same result, bit for bit, and without the time to fetch new memory."""


def in_place(node: fx.Node, modules: Mapping[str, nn.Module]) -> Callable[..., Tensor] | None:
    """The function that computes a node in the memory of its first argument; None if there is none.

    Args:
        node: of the graph.
        modules: by the names that nodes call them.
    """
    if node.op == "call_module":
        module = modules[str(node.target)]
        return _IN_PLACE.get(type(module)) if is_plain(module) and len(node.args) == 1 and not node.kwargs else None
    if len(node.args) > 2 or any(key != "inplace" for key in node.kwargs):
        return None
    return _IN_PLACE.get(node.target)
