"""Multiply-accumulates of a forward pass, by parameter, counted from the shapes that really occur.

``numel(weight) x output positions`` for a convolution (so that grouped ones come out right), ``x input positions`` for
a transposed one, ``x rows`` for a linear layer, ``x time steps`` for a recurrent one. Biases, normalisation and
activations are free, and so is what activations do among themselves (attention scores): no weight can be pruned there.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.overrides import TorchFunctionMode

from schedengine.errors import ModelError
from schedengine.selection import ParameterTable
from schedengine.training.evaluate import evaluating

Work = Sequence[tuple[Tensor, int]]
_MISFITS = (RuntimeError, ValueError, TypeError, IndexError, AssertionError)
"""What networks raise for an input of another shape; torchvision's transformers assert it."""


def multiply_accumulates(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, int]:
    """Multiply-accumulates of one forward pass, by parameter; a layer that is called twice counts twice.

    Layers are seen by the functions they call, so a network that calls ``functional.conv2d`` with weights of its own is
    counted like one that is made of modules. Evaluation mode, without gradients; modes, buffers and torch's random
    numbers are afterwards as before. On the meta device nothing is computed.

    Args:
        model: wrapped or not, on one device.
        inputs: of the forward pass, by position; with a leading dimension of 1 the counts are for one example. They
            are taken to the model's device and precision.

    Returns:
        Normalised parameter name -> count, in the model's order. A parameter whose use was not seen (in a scripted
        module, in a kernel of the user's, in no layer that multiplies) is absent: unknown, which is not 0.

    Raises:
        ModelError: the model does not take these inputs.

    Example:
        >>> multiply_accumulates(nn.Conv2d(3, 16, 3, padding=1), [torch.zeros(1, 3, 8, 8)])
        {'weight': 27648}

    Reference:
        The measure behind the theoretical speed-up of Zimmer, Spiegel, Pokutta (2023), How I Learned to Stop Worrying
        and Love Retraining, arXiv:2111.00843; they assume padded convolutions without groups, here shapes are real.
    """
    if isinstance(inputs, Tensor) or not all(isinstance(one, Tensor) for one in inputs):
        raise ModelError(
            "inputs: a sequence of tensors with a leading dimension of 1, as in [torch.zeros(1, 3, 32, 32)]"
        )
    try:
        return _counted(model, inputs)
    except _MISFITS as error:
        if "meta" in str(error) and any(parameter.is_meta for parameter in model.parameters()):
            return multiply_accumulates(_with_zeros(model), inputs)
        shapes = ", ".join("x".join(map(str, one.shape[1:])) for one in inputs)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"the model does not take an input of {shapes}: {reason}; give the shape of one example, "
            "--input CxHxW (128:int for whole numbers)"
        ) from error


def _counted(model: nn.Module, inputs: Sequence[Tensor]) -> dict[str, int]:
    table = ParameterTable(model)
    counter = _Counter(table)
    network = getattr(model, "_orig_mod", model)  # compiled code is not looked into
    with torch.no_grad(), evaluating(network), _untouched(network), counter.watching(network), counter:
        network(*_placed(inputs, table))
    return {name: counter.counts[name] for name in table.names if name in counter.counts}


def _with_zeros(model: nn.Module) -> nn.Module:
    """A copy on the CPU, for a forward pass that looks at values (``.item()``), which the meta device has not."""
    copied = copy.deepcopy(model).to_empty(device="cpu")
    with torch.no_grad():
        for tensor in [*copied.parameters(), *copied.buffers()]:
            tensor.zero_()
    return copied


class _Counter(TorchFunctionMode):
    """Sees every call of a torch function, and knows which parameter a weight is."""

    def __init__(self, table: ParameterTable) -> None:
        super().__init__()
        self.counts: dict[str, int] = {}
        self._table = table
        self._names = {id(table[name]): name for name in table.names}
        self._running: list[nn.Module] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name, given = getattr(func, "__name__", ""), dict(kwargs or {})
        result = func(*args, **given)
        if name in _LAYERS:
            self._add(_LAYERS[name](args, given, result), is_layer=True)
        elif name in _PRODUCTS:
            self._add(_product(args, given, result), is_layer=False)
        return result

    def _add(self, work: Work, *, is_layer: bool) -> None:
        for weight, count in work:
            name = self._name(weight, is_layer=is_layer)
            if name is not None:
                self.counts[name] = self.counts.get(name, 0) + count

    def _name(self, weight: Tensor, *, is_layer: bool) -> str | None:
        """By identity, or as a view; where the running layer computed it (a parametrization), by the shape."""
        known = self._names.get(id(weight)) or self._names.get(id(weight._base))
        if known or not is_layer or not self._running or not _is_computed(weight, self._running[-1]):
            return known
        layer, table = self._running[-1], self._table
        own = [name for name in table.names if table.layer(name) is layer and table[name].shape == weight.shape]
        return own[0] if len(own) == 1 else None

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Know the innermost module that runs."""
        with ExitStack() as stack:
            for module in network.modules():
                if isinstance(module, torch.jit.ScriptModule):
                    continue
                begin = module.register_forward_pre_hook(lambda module, _inputs: self._running.append(module))
                end = module.register_forward_hook(lambda *_call: self._running.pop() and None, always_call=True)
                stack.callback(begin.remove)
                stack.callback(end.remove)
            yield


def _is_computed(weight: Tensor, layer: nn.Module) -> bool:
    """Whether a layer makes its weight from its parameters: a parametrization, or an attribute that a hook sets."""
    return is_parametrized(layer) or any(value is weight for value in vars(layer).values())


def _weight(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    weight: Tensor = args[1] if len(args) > 1 else kwargs["weight"]
    return weight


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    weight = _weight(args, kwargs)
    return [(weight, result.numel() * math.prod(weight.shape[1:]))]


def _transposed(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    weight, given = _weight(args, kwargs), args[0] if args else kwargs["input"]
    return [(weight, given.numel() * math.prod(weight.shape[1:]))]


def _linear(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    weight = _weight(args, kwargs)
    return [(weight, result.numel() * weight.shape[-1])]


def _bilinear(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    weight: Tensor = args[2] if len(args) > 2 else kwargs["weight"]
    return [(weight, result.numel() * math.prod(weight.shape[1:]))]


def _recurrent(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    """The weights are the last list: (input, state, weights, ...), or (packed, sizes, state, weights, ...)."""
    return _steps(args[0], next(entry for entry in reversed(args) if isinstance(entry, (list, tuple))))


def _cell(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    return _steps(args[0], args[2:])


def _steps(given: Tensor, weights: Sequence[Tensor | None]) -> Work:
    """Every matrix, at every time step of every sequence; packed sequences are (steps in all, features)."""
    rows = given.numel() // given.shape[-1]
    return [(one, rows * one.numel()) for one in weights if one is not None and one.dim() == 2]


def _attention(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    """The four projections. The function hides its linear layers from a mode that looks on."""
    given = _ATTENTION.bind(*args, **kwargs).arguments
    rows = {key: given[key].numel() // given[key].shape[-1] for key in ("query", "key", "value")}
    output = (given["out_proj_weight"], rows["query"] * given["out_proj_weight"].numel())
    if given.get("use_separate_proj_weight"):
        weights = {key: given[f"{key[0]}_proj_weight"] for key in rows}
        return [output, *((weights[key], rows[key] * weights[key].numel()) for key in rows)]
    joint = given["in_proj_weight"]  # three matrices of one size
    return [output, (joint, sum(rows.values()) * joint.numel() // 3)]


def _product(args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Work:
    """A product with a parameter that is no layer's. Between activations there is none, and nothing is counted."""
    factors = [*args, *kwargs.values()][:2]
    return [(one, result.numel() * factors[0].shape[-1]) for one in factors if isinstance(one, Tensor)]


_LAYERS: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Any], Work]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed),
    "linear": _linear,
    "bilinear": _bilinear,
    "multi_head_attention_forward": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
}
_ATTENTION = inspect.signature(nn.functional.multi_head_attention_forward)
_PRODUCTS = frozenset({"matmul", "__matmul__", "__rmatmul__", "mm", "bmm"})


def _placed(inputs: Sequence[Tensor], table: ParameterTable) -> list[Tensor]:
    """On the model's device and in its precision; from the meta device there are no values to take along."""
    first = table[table.names[0]] if table.names else torch.zeros(())
    placed = [torch.zeros_like(one, device=first.device) if one.is_meta else one.to(first.device) for one in inputs]
    return [one.to(first.dtype) if one.is_floating_point() and first.is_floating_point() else one for one in placed]


@contextmanager
def _untouched(network: nn.Module) -> Iterator[None]:
    """Buffers and torch's random numbers are afterwards what they were."""
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        with torch.random.fork_rng(devices=()):
            yield
    finally:
        for name, buffer in network.named_buffers():
            if name in kept and kept[name].shape == buffer.shape:
                buffer.copy_(kept[name])
