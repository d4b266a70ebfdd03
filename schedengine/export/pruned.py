"""Thinned networks in files: weights in safetensors, and in the header of the same file, as JSON, the sizes they have.

    {"modules": {"conv1": {"groups": 1, "in_channels": 3, "out_channels": 11}, ...},
     "shapes": {"conv1.weight": [11, 3, 3, 3], ...}}

A network that is thinned several times has one manifest, that of what it is now.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from schedengine.errors import ModelError
from schedengine.export.apply import resize_
from schedengine.export.layers import sides
from schedengine.masks import laid_out
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import load_weights, plain_name, read_notes, save_weights

HEADER = "schedengine.sizes"
"""The key of the manifest in the file's header."""
_SHOWN = 5


def manifest(model: nn.Module) -> dict[str, Any]:
    """The sizes of a network: channels of every layer that can be thinned, shapes of all its tensors.

    Returns:
        Plain values for JSON: ``modules``, layer -> attribute -> number, and ``shapes``, tensor -> list; names without
        what wrappers add.
    """
    modules = {
        plain_name(name): {one: int(getattr(layer, one)) for one in sorted(_attributes(layer))}
        for name, layer in model.named_modules()
        if sides(layer)
    }
    return {"modules": modules, "shapes": {plain_name(name): list(one.shape) for name, one in _stored(model).items()}}


def reshape_(model: nn.Module, sizes: Mapping[str, Any]) -> None:
    """Give a freshly built network the sizes of a manifest; tensors that change have no values yet.

    Raises:
        ModelError: the manifest is of another architecture, or damaged; the model is as it was.
    """
    layers = {plain_name(name): layer for name, layer in model.named_modules()}
    stored = {plain_name(name): one for name, one in _stored(model).items()}
    modules, shapes = _read(sizes)
    unknown = [name for name in modules if name not in layers or not modules[name].keys() <= _attributes(layers[name])]
    unknown += [name for name in shapes if name not in stored or len(shapes[name]) != stored[name].dim()]
    unknown += [name for name in stored if name not in shapes]
    if unknown:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        listed = ", ".join(unknown[:_SHOWN]) + more
        raise ModelError(
            f"the sizes are of another architecture: {listed} not on both sides; give the factory it was made of"
        )
    for name, attributes in modules.items():
        for attribute, number in attributes.items():
            setattr(layers[name], attribute, number)
    for name, shape in shapes.items():
        if tuple(stored[name].shape) != shape:
            value = laid_out(stored[name].new_zeros(shape), stored[name])
            _resize_(layers[name.rpartition(".")[0]], name.rpartition(".")[2], value)


def save_pruned(model: nn.Module, path: str | os.PathLike[str], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write weights and sizes into one safetensors file; nothing in it is code.

    Args:
        model: thinned or not.
        path: see ``save_weights``.
        metadata: notes for the header, besides.
    """
    save_weights(model, path, {**(metadata or {}), HEADER: json.dumps(manifest(model))})


def load_pruned(factory: str | Callable[[], nn.Module], path: str | os.PathLike[str]) -> nn.Module:
    """The network of a file that ``save_pruned`` wrote.

    Args:
        factory: makes the network as it was before it was thinned: a function without arguments, or a model's name as
            for ``build_model``, which gets the number of classes that it has by itself.
        path: the file.

    Returns:
        On the CPU, in training mode, as a factory makes it.

    Raises:
        ModelError: the file is damaged, has no sizes (then it is ``load_weights`` that reads it), or is of another
            architecture.
    """
    model = build_model(factory) if isinstance(factory, str) else factory()
    if os.path.isfile(path) and HEADER not in read_notes(path):
        raise ModelError(f"{path}: no sizes of a thinned network in its header; read it with load_weights")
    load_(model, path)
    return model


def load_(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Give a freshly built network the weights of a file, and before them the sizes that its header notes, if it does.

    Raises:
        ModelError: see ``load_weights`` and ``load_pruned``.
    """
    noted = read_notes(path).get(HEADER) if os.path.isfile(path) else None
    if noted is not None:
        try:
            reshape_(model, json.loads(noted))
        except json.JSONDecodeError as problem:
            raise ModelError(f"{path}: the sizes in its header are no JSON: {problem}") from problem
        except ModelError as problem:
            raise ModelError(f"{path}: {problem}") from problem
    load_weights(model, path)


def _stored(model: nn.Module) -> dict[str, Tensor]:
    return {name: one for name, one in model.state_dict(keep_vars=True).items() if isinstance(one, Tensor)}


def _attributes(layer: nn.Module) -> set[str]:
    own = {attribute for side in sides(layer).values() for attribute in side.attributes}
    # A depthwise convolution that has one channel left looks like any other, and must not be loaded with more groups.
    return own | {"groups"} if own and isinstance(layer, _ConvNd) else own


def _read(sizes: Mapping[str, Any]) -> tuple[dict[str, dict[str, int]], dict[str, tuple[int, ...]]]:
    try:
        modules = {name: {key: int(number) for key, number in own.items()} for name, own in sizes["modules"].items()}
        shapes = {name: tuple(int(one) for one in shape) for name, shape in sizes["shapes"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise ModelError("the sizes are damaged: expected `modules` and `shapes`, with whole numbers") from problem
    if any(one < 1 for own in modules.values() for one in own.values()):
        raise ModelError("the sizes are damaged: a layer with no channels")
    return modules, shapes


@torch.no_grad()
def _resize_(layer: nn.Module, name: str, value: Tensor) -> None:
    stored = getattr(layer, name)
    if isinstance(stored, nn.Parameter):
        resize_(stored, value)
    else:
        layer._buffers[name] = value
