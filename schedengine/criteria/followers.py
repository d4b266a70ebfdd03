"""What takes a layer's outputs: found by watching tensors while the model runs.

A tensor that a layer has made carries a mark with the layer's name; the normalisation that is given the tensor itself,
unchanged, follows the layer. Names, attributes and the order of modules say nothing, so that shared, functional and
in-place activations do not matter.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.utils.hooks import RemovableHandle

from schedengine.criteria.base import outputs_dim
from schedengine.criteria.passes import IS_ASIDE, bare, run, undisturbed
from schedengine.errors import SchedEngineError
from schedengine.selection import ParameterTable

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class Listener(Protocol):
    """Who is told what layers and normalisations give. Must not wait for the device."""

    def layer_ran(self, name: str, layer: nn.Module, given: Tensor, made: Tensor) -> None:
        """A layer made ``made`` of ``given``."""

    def norm_ran(self, name: str, is_training: bool, made: Tensor) -> None:
        """A normalisation made ``made`` of what this layer had made, in training or in evaluation mode."""


class _Mark(NamedTuple):
    name: str
    version: int | None  # unknown of tensors made in inference mode
    is_training: bool


class _Hook:
    """Tells a watch what a module made. Copied or pickled with the model, it tells nobody."""

    def __init__(self, watch: weakref.ref[Watch] | None = None, name: str = "", is_norm: bool = False) -> None:
        self._watch = watch
        self._name = name
        self._is_norm = is_norm

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()

    def __call__(self, module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        watch = None if self._watch is None else self._watch()
        if watch is None or watch.is_aside != IS_ASIDE.get() or not given or not isinstance(made, Tensor):
            return
        with torch.no_grad():
            tell = watch.norm_ran if self._is_norm else watch.layer_ran
            tell(self._name, module, given[0], made)


class Watch:
    """Hooks on layers and on all normalisations of a model. They go with ``remove_``, or when it is forgotten.

    Args:
        model: wrapped or not.
        layers: by parameter name.
        listeners: who is told.
        followers: filled with the names of the modules that took each layer's outputs, by parameter name; of layers
            that ran.
        is_aside: watch passes on the side instead of those of the run.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, nn.Module],
        listeners: Sequence[Listener],
        followers: dict[str, list[str]],
        *,
        is_aside: bool = False,
    ) -> None:
        self.is_aside = is_aside
        self._followers = followers
        self._listeners = listeners
        self._names = frozenset(layers)
        own = weakref.ref(self)
        handles = [layer.register_forward_hook(_Hook(own, name)) for name, layer in layers.items()]
        handles += [
            module.register_forward_hook(_Hook(own, name, True))
            for name, module in bare(model).named_modules()
            if isinstance(module, _NORMS)
        ]
        self.remove_ = weakref.finalize(self, _remove, handles)

    def layer_ran(self, name: str, layer: nn.Module, given: Tensor, made: Tensor) -> None:
        """Mark what a layer made, and tell."""
        version = None if made.is_inference() else made._version
        made._schedengine_mark = _Mark(name, version, layer.training)  # type: ignore[attr-defined]
        if version is not None:  # what nobody took, where that can be told
            self._followers.setdefault(name, [])
        for listener in self._listeners:
            listener.layer_ran(name, layer, given.detach(), made.detach())

    def norm_ran(self, name: str, norm: nn.Module, given: Tensor, made: Tensor) -> None:
        """Note whose outputs a normalisation took, and tell."""
        del norm
        mark = getattr(given, "_schedengine_mark", None)
        if mark is None or mark.name not in self._names or not self._is_unchanged(mark, given, name):
            return  # another watch's layer, perhaps
        known = self._followers.setdefault(mark.name, [])
        if name not in known:
            known.append(name)
        for listener in self._listeners:
            listener.norm_ran(mark.name, mark.is_training, made.detach())

    def _is_unchanged(self, mark: _Mark, given: Tensor, norm: str) -> bool:
        """Whether nothing, such as an in-place activation, wrote to a layer's outputs in between."""
        if mark.version is not None and not given.is_inference():
            return bool(mark.version == given._version)
        return norm in self._followers.get(mark.name, [norm])


def _remove(handles: list[RemovableHandle]) -> None:
    for handle in handles:
        handle.remove()


def layers_of(table: ParameterTable, names: Sequence[str]) -> dict[str, nn.Module]:
    """Of these parameters, those that are the weights of convolutions and linear layers, and their layers."""
    layers = {name: table.layer(name) for name in names if table[name].dim() >= 2}
    return {name: layer for name, layer in layers.items() if outputs_dim(layer) is not None}


def following_norms(model: nn.Module, example_inputs: Any) -> dict[str, nn.Module]:
    """The batch normalisation that takes the outputs of each convolution and linear layer, where exactly one does.

    Found in one forward pass in evaluation mode; the model is left as it was.

    Args:
        model: wrapped or not.
        example_inputs: a batch that the model takes; a tuple (inputs, ...) for (inputs, targets).

    Returns:
        By normalised name of the layer's weight.
    """
    table = ParameterTable(model)
    followers: dict[str, list[str]] = {}
    look(model, layers_of(table, table.names), (), followers, [example_inputs])
    return batch_norms(model, followers)


def look(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    listeners: Sequence[Listener],
    followers: dict[str, list[str]],
    data: Iterable[Any],
    *,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Watch a model in passes on the side; it is left as it was, and so are the generators of the data.

    Args:
        data: batches, (inputs, targets) or inputs alone.
        enough: asked after every batch.
    """
    watch = Watch(model, layers, listeners, followers, is_aside=True)
    try:
        with undisturbed(model, data):
            for batch in data:
                run(model, batch)
                if enough():
                    break
    finally:
        watch.remove_()


def batch_norms(model: nn.Module, followers: Mapping[str, Sequence[str]]) -> dict[str, nn.Module]:
    """The modules behind the names, where there is exactly one and it is a batch normalisation."""
    modules = dict(bare(model).named_modules())
    single = {name: modules.get(norms[0]) for name, norms in followers.items() if len(norms) == 1}
    return {name: norm for name, norm in single.items() if isinstance(norm, _BatchNorm)}


def folding(norm: nn.Module, shape: tuple[int, ...], outputs: int, *, key: str) -> Tensor:
    """What a batch normalisation multiplies each output of the layer before it by, in evaluation mode.

    Args:
        norm: gamma / sqrt(running_var + eps); gamma is 1 where it has none.
        shape: of the layer's weight.
        outputs: its dimension of outputs.
        key: names the event.

    Returns:
        (1, ..., outputs, ..., 1): as many dimensions as the weight.

    Raises:
        SchedEngineError: no running variance, or another number of channels (a transposed convolution with groups).
    """
    assert isinstance(norm, _BatchNorm)
    if norm.running_var is None:
        raise SchedEngineError(
            f"{key}: its batch normalisation keeps no running variance to fold with; leave 'folded' out"
        )
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach()
    if scale.numel() != shape[outputs]:
        raise SchedEngineError(
            f"{key}: {shape[outputs]} outputs in dimension {outputs}, and a batch normalisation of {scale.numel()}"
        )
    return scale.view([-1 if at == outputs else 1 for at in range(len(shape))])
