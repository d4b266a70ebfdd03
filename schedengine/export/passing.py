"""How channels pass through an operation, from shapes alone.

Every value that a network computes is followed as a ``Flow``: which axis its channels are, and a number for each. An
operation is listed here only if what it does to a channel depends on no other channel. What is not listed, and a listed
operation that is used along the channels (a softmax over them, a view that splits them), raises ``Opaque``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Join = Callable[[Tensor, Tensor], None]
"""Told of two equally long runs of channels that each must go together with the other's."""


@dataclass(frozen=True)
class Flow:
    """A value and its channels.

    Attributes:
        shape: of the value.
        axis: which of its axes the channels are.
        labels: one number a position along that axis, int64.
    """

    shape: tuple[int, ...]
    axis: int
    labels: Tensor


class Opaque(Exception):
    """Channels cannot be followed through an operation; the text says which and why."""


def follow(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> Flow:
    """The channels of an operation's result.

    Args:
        operation: node of the autograd graph.
        shape: of the result.
        flows: of its operands that have channels, in order; constants are left out.
        join: called for channels that the operation ties together (the operands of a sum).

    Raises:
        Opaque: the operation is not known, or mixes channels.
    """
    name = operation_name(operation)
    rule = _RULES.get(name)
    if rule is None:
        raise Opaque(_REASONS.get(name, f"{name}, an operation that is not known to keep channels apart"))
    axis, labels = rule(operation, shape, flows, join)
    return Flow(shape, axis, labels)


def operation_name(operation: Any) -> str:
    """``NativeLayerNormBackward0`` -> ``NativeLayerNorm``."""
    return re.sub(r"Backward\d*$", "", str(operation.name()).rsplit("::", 1)[-1])


Rule = Callable[[Any, tuple[int, ...], Sequence[Flow], Join], tuple[int, Tensor]]


def _apart(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    """Element by element with broadcasting, or window by window: the same channel in and out."""
    axes = {flow.axis + len(shape) - len(flow.shape) for flow in flows}
    if len(axes) > 1:
        raise Opaque(f"{operation_name(operation)} of values whose channels are different axes")
    axis = axes.pop()
    if any(len(flow.labels) != shape[axis] for flow in flows):
        raise Opaque(f"{operation_name(operation)}, which changes the number of channels or repeats one for all")
    for other in flows[1:]:
        join(flows[0].labels, other.labels)
    return axis, flows[0].labels


def _reduced(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    flow = flows[0]
    named = getattr(operation, "_saved_dim", ())  # nothing or nothing in it: everything is reduced
    dims = {_signed(dim) % len(flow.shape) for dim in (named if isinstance(named, tuple) else (named,))}
    if flow.axis in dims or not dims:
        raise Opaque(f"{operation_name(operation)} over the channels")
    return flow.axis - (0 if operation._saved_keepdim else sum(dim < flow.axis for dim in dims)), flow.labels


def _viewed(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    """A view keeps positions in order, so the channels are the axis with as many positions before it.

    Axes behind the channels may be merged with them: ``flatten`` makes k positions of each.
    """
    flow, channels = flows[0], len(flows[0].labels)
    before = math.prod(flow.shape[: flow.axis])
    for axis, length in enumerate(shape):
        if math.prod(shape[:axis]) == before and length % channels == 0:
            return axis, flow.labels.repeat_interleave(length // channels)
    raise Opaque("a view that splits the channels, or merges them with an axis before them")


def _concatenated(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    dim = _signed(operation._saved_dim) % len(shape)
    if any(flow.axis != dim for flow in flows):
        return _apart(operation, shape, flows, join)
    labels = torch.cat([flow.labels for flow in flows])
    if len(labels) != shape[dim]:
        raise Opaque("a concatenation with a constant")
    return dim, labels


def _permuted(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    dims = [_signed(dim) % len(shape) for dim in operation._saved_dims]
    return dims.index(flows[0].axis), flows[0].labels


def _transposed(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    one, other = (_signed(dim) % len(shape) for dim in (operation._saved_dim0, operation._saved_dim1))
    return {one: other, other: one}.get(flows[0].axis, flows[0].axis), flows[0].labels


def _along_another(operation: Any, shape: tuple[int, ...], flows: Sequence[Flow], join: Join) -> tuple[int, Tensor]:
    """What is done along one axis (softmax, slice, select), which must not be the channels'."""
    flow = flows[0]
    dim = _signed(operation._saved_dim) % len(flow.shape)
    if dim == flow.axis:
        raise Opaque(f"{operation_name(operation)} along the channels")
    dropped = len(flow.shape) > len(shape) and dim < flow.axis
    return flow.axis - dropped, flow.labels


def _signed(dim: int) -> int:
    """autograd shows -1 as 2**64 - 1."""
    return dim - 2**64 if dim >= 2**63 else dim


_ELEMENTWISE = """
    Abs Add AddRelu Alias Celu Clamp ClampMax ClampMin Clone Contiguous Copy Cos Div Dropout Elu Erf Exp Expand
    FeatureDropout Gelu Hardshrink Hardsigmoid Hardswish Hardtanh LeakyRelu Log Log1P LogSigmoid Maximum Minimum Mish
    Mul NativeDropout Neg Pow PreluKernel Reciprocal Relu Relu6 Rsqrt Rsub Selu Sigmoid Silu Sin Softplus Softshrink
    Sqrt Sub Tanh Threshold ToCopy Where
"""
_WINDOWS = """
    AdaptiveAvgPool1D AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D AvgPool1D AvgPool2D
    AvgPool3D ConstantPadNd FractionalMaxPool2D FractionalMaxPool3D MaxPool2DWithIndices MaxPool3DWithIndices
    MkldnnAdaptiveAvgPool2D MkldnnMaxPool2D ReflectionPad1D ReflectionPad2D ReflectionPad3D ReplicationPad1D
    ReplicationPad2D ReplicationPad3D UpsampleBicubic2D UpsampleBilinear2D UpsampleBilinear2DAa UpsampleLinear1D
    UpsampleNearest1D UpsampleNearest2D UpsampleNearest3D UpsampleNearestExact1D UpsampleNearestExact2D
    UpsampleTrilinear3D
"""
_RULES: dict[str, Rule] = {
    **dict.fromkeys((_ELEMENTWISE + _WINDOWS).split(), _apart),
    **dict.fromkeys(["Amax", "Amin", "LinalgVectorNorm", "Max", "Mean", "Min", "Sum"], _reduced),
    **dict.fromkeys(["ReshapeAlias", "Squeeze", "UnsafeView", "Unsqueeze", "View"], _viewed),
    **dict.fromkeys(["LogSoftmax", "Select", "Slice", "Softmax"], _along_another),
    "Cat": _concatenated,
    "Permute": _permuted,
    "Transpose": _transposed,
}
_REASONS = {
    **dict.fromkeys(
        ["Baddbmm", "Bmm", "Mm", "Addmm", "ScaledDotProductFlashAttentionForCpu", "ScaledDotProductEfficientAttention"],
        "a matrix product that is no linear layer of its own (attention)",
    ),
    "NativeLayerNorm": "layer normalisation, whose statistics run over the channels",
    "NativeGroupNorm": "group normalisation, whose statistics run over several channels",
    "Convolution": "a convolution that is no layer called once (functional, or a layer called several times)",
    **dict.fromkeys(["Split", "SplitWithSizes", "Unbind", "Chunk"], "a split, whose sizes stand in the code"),
}
