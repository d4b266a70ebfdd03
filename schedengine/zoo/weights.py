"""Weights in files: reading any of the usual kinds without running what is in them, and writing safetensors.

A name is compared without its ``module`` and ``_orig_mod`` components, on both sides, wherever they stand
(``features.module.0.weight``): they are left by DataParallel and torch.compile, and no architecture differs by them.
"""

from __future__ import annotations

import difflib
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from schedengine.errors import ModelError
from schedengine.zoo import inert_pickle
from schedengine.zoo.atomic import replacing

Value = TypeVar("Value")
CHECKPOINT_MARK = "schedengine training checkpoint"
"""What stands under ``mark`` in the file that a run goes on from, which is no file of weights."""
_WRAPPERS = {"module", "_orig_mod"}
_NESTED = ("state_dict", "model_state_dict", "model")
_SHOWN = 5


def plain_name(name: str) -> str:
    """A parameter's name without what wrappers add.

    Example:
        >>> plain_name("module.features.module.0.weight"), plain_name("_orig_mod.fc.bias")
        ('features.0.weight', 'fc.bias')
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Fill a model with the weights of a file: all of them, or none.

    Args:
        model: parameters and buffers are overwritten in place, and keep their dtype and device.
        path: see ``read_state``. A tied weight may stand there under any of its names. Counters of batches seen
            (``num_batches_tracked``) may be absent: old files have none, and nothing reads them.

    Raises:
        ModelError: the file cannot be read, or names or shapes differ; the message has the nearest names.
    """
    state = read_state(path)
    own = _own(model)
    if state.keys() != own.keys():
        state, own = _by_plain_name(state, f"{path}"), _by_plain_name(own, "the model")
    problems = _differences(own, state)
    if problems:
        raise ModelError(f"{path} does not fit the model:\n" + "\n".join(problems))
    with torch.no_grad():
        for name, value in own.items():
            if name in state:
                value.copy_(state[name])


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. Nothing in the file is executed.

    Args:
        path: safetensors, a state dict saved by torch, or a training checkpoint with one under ``state_dict``,
            ``model_state_dict`` or ``model`` (Distiller's, of any age). What kind it is, its content tells.

    Raises:
        ModelError: no such file, damaged, or without a state dict.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{file}: {_absent(file)}; expected safetensors or a state dict saved by torch")
    try:
        if _is_safetensors(file):
            return load_file(file)
        with file.open("rb") as opened:
            content = _read_torch(opened)
    except SafetensorError as problem:
        raise ModelError(f"{file}: damaged safetensors file: {problem}") from problem
    except Exception as problem:  # damage shows as almost any exception while unpickling
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise ModelError(f"{file}: neither safetensors nor a state dict saved by torch: {reason}") from problem
    return _state_in(content, str(file))


def read_notes(path: str | os.PathLike[str]) -> dict[str, str]:
    """What a safetensors file says in its header beside its tensors; nothing for other kinds of file.

    Raises:
        ModelError: damaged.
    """
    file = Path(path)
    if not _is_safetensors(file):
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except SafetensorError as problem:
        raise ModelError(f"damaged safetensors file: {problem}") from problem


def _absent(file: Path) -> str:
    if not file.is_dir():
        return "no such file"
    inside = ", ".join(sorted(one.name for one in file.glob("*.safetensors"))[:_SHOWN])
    return f"is a folder; in it: {inside}" if inside else "is a folder"


def save_weights(model: nn.Module, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
    """Write parameters and buffers as safetensors, under their plain names; the file is whole or not there.

    Args:
        model: of tied weights the first name is written.
        path: the folder is made if need be.
        metadata: what to note in the file's header (architecture, top-1, command).
    """
    own = _by_plain_name(_own(model), "the model")
    first = {id(value): name for name, value in reversed(own.items())}
    # A copy each, since safetensors refuses tensors that share memory.
    tensors = {name: own[name].detach().cpu().contiguous().clone() for name in own if first[id(own[name])] == name}
    with replacing(path) as temporary:
        # Not by save_file, whose files nobody but their owner may read, whatever the umask.
        temporary.write_bytes(save(tensors, {"format": "pt", **metadata}))


def _is_safetensors(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(9)
    return head[8:] == b"{" and not head.startswith(b"PK")


def _read_torch(opened: IO[bytes]) -> object:
    try:
        return torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # there is more in it than tensors; read round it
        opened.seek(0)
        return torch.load(opened, map_location="cpu", weights_only=False, pickle_module=inert_pickle)


def _state_in(content: object, where: str) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise ModelError(f"{where}: holds a whole object, not a state dict; save model.state_dict() instead")
    if content.get("mark") == CHECKPOINT_MARK:
        right = "give model.safetensors beside it, or, while the run goes on, one of best-*.safetensors"
        raise ModelError(f"{where}: is what `schedengine train --resume` goes on from, not weights; {right}")
    for key in _NESTED:
        if isinstance(content.get(key), Mapping):
            return _state_in(content[key], f"{where}: {key}")
    others = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if others or not content:
        found = f"entries that are not tensors: {', '.join(others[:_SHOWN])}" if others else "nothing"
        raise ModelError(f"{where}: holds {found}; expected a state dict, or one under {', '.join(_NESTED)}")
    return {str(name): value.detach() for name, value in content.items()}


def _by_plain_name(state: Mapping[str, Value], where: str) -> dict[str, Value]:
    plain: dict[str, Value] = {}
    for name, value in state.items():
        if plain_name(name) in plain:
            raise ModelError(f"{where}: two names read as {plain_name(name)!r} without their wrappers; rename one")
        plain[plain_name(name)] = value
    return plain


def _own(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers themselves, not copies; a tied weight under each of its names."""
    return {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}


_THINNED = "  a network that was thinned is saved with schedengine.save_pruned, which notes its sizes"


def _differences(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    filled = {id(own[name]) for name in own if name in state}
    missing = [name for name in own if id(own[name]) not in filled and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in own]
    misshapen = [name for name in own if name in state and own[name].shape != state[name].shape]
    return [
        *_listed("missing in the file", missing, lambda name: _nearest(name, unexpected)),
        *_listed("not in the model", unexpected, lambda name: _nearest(name, missing)),
        *_listed("misshapen", misshapen, lambda name: f": {_shape(state[name])} in the file, {_shape(own[name])} here"),
        *([_THINNED] if misshapen else []),
    ]


def _listed(kind: str, names: list[str], note: Callable[[str], str]) -> list[str]:
    more = [f"    and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [f"  {kind}:", *(f"    {name}{note(name)}" for name in names[:_SHOWN]), *more] if names else []


def _nearest(name: str, others: list[str]) -> str:
    near = difflib.get_close_matches(name, others, n=1)
    return f" (nearest on the other side: {near[0]})" if near else ""


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
