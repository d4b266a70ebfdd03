"""Where a layer keeps its channels: which dimension of which tensor, and which attribute counts them.

What stands here is all that can be thinned: convolutions (transposed too) without groups or depthwise, linear layers,
embeddings, batch normalisation, PReLU with a slope a channel. Everything else keeps its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

Kind = Literal["out", "through", "in"]
"""A layer writes channels (``out``), reads them (``in``), or hands each on as it is (``through``)."""
KINDS: tuple[Kind, ...] = ("out", "through", "in")
SHIFTS = ("bias", "running_mean")
"""What a layer says of a channel that nothing drives: set to 0, a zero channel stays zero through the layer."""


@dataclass(frozen=True)
class Side:
    """One set of channels of a layer.

    Attributes:
        tensors: name in the layer -> the dimension that these channels are.
        attributes: of the layer, all equal to their number.
    """

    tensors: Mapping[str, int]
    attributes: tuple[str, ...]


def sides(layer: nn.Module) -> dict[Kind, Side]:
    """The channels of a layer that can be thinned; empty for what is not known here.

    Example:
        >>> sides(nn.Linear(4, 2))["in"]
        Side(tensors={'weight': 1}, attributes=('in_features',))
    """
    if isinstance(layer, _ConvNd):
        return _convolution(layer)
    if isinstance(layer, nn.Linear):
        return {
            "out": Side({"weight": 0, "bias": 0}, ("out_features",)),
            "in": Side({"weight": 1}, ("in_features",)),
        }
    if isinstance(layer, nn.Embedding):
        return {"out": Side({"weight": 1}, ("embedding_dim",))}
    if isinstance(layer, _BatchNorm):
        tensors = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), 0)
        return {"through": Side(tensors, ("num_features",))}
    if isinstance(layer, nn.PReLU) and layer.num_parameters > 1:
        return {"through": Side({"weight": 0}, ("num_parameters",))}
    return {}


def size(layer: nn.Module, side: Side) -> int:
    """How many channels there are."""
    return int(getattr(layer, side.attributes[0]))


def tensors(layer: nn.Module, side: Side) -> dict[str, tuple[Tensor, int]]:
    """The side's tensors that the layer has, each with its dimension."""
    own = {name: getattr(layer, name, None) for name in side.tensors}
    return {name: (value, side.tensors[name]) for name, value in own.items() if isinstance(value, Tensor)}


def channel_axis(layer: nn.Module, ndim: int) -> int:
    """The axis of an activation of ``ndim`` axes along which the layer has its channels."""
    if isinstance(layer, (nn.Linear, nn.Embedding)):
        return ndim - 1
    if isinstance(layer, _ConvNd):
        return ndim - 1 - len(layer.kernel_size)
    return 1


def _convolution(layer: _ConvNd) -> dict[Kind, Side]:
    if layer.groups == 1:
        out, read = (1, 0) if isinstance(layer, _ConvTransposeNd) else (0, 1)
        return {
            "out": Side({"weight": out, "bias": 0}, ("out_channels",)),
            "in": Side({"weight": read}, ("in_channels",)),
        }
    if layer.groups == layer.in_channels == layer.out_channels:
        return {"through": Side({"weight": 0, "bias": 0}, ("in_channels", "out_channels", "groups"))}
    return {}
