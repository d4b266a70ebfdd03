"""Files that a killed run goes on from: written whole or not at all, verified before they are believed.

A checkpoint is a zip file as ``torch.save`` writes it, with our mark inside. Reading checks the sums of the archive,
which ``torch.load`` does not, and never runs what a pickle may hold.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from schedengine.errors import CheckpointError
from schedengine.zoo.atomic import replacing
from schedengine.zoo.weights import CHECKPOINT_MARK

VERSION = 2


def save_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint; the one it replaces is kept beside it, see ``previous``.

    Whenever the process or the machine dies, one of the two is whole.

    Args:
        state: tensors and plain values only.
    """
    with replacing(path) as temporary:
        with temporary.open("wb") as file:
            torch.save({"mark": CHECKPOINT_MARK, "version": VERSION, "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous(path))


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one is kept.

    Example:
        >>> previous(Path("run/checkpoint.pt")).name
        'checkpoint.previous.pt'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: not there, damaged, not one of ours, of another release, or with code in it.
    """
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an archive of something else shows as almost any exception
        raise CheckpointError(
            f"{path}: not a checkpoint of schedengine: holds more than tensors and numbers"
        ) from error
    if not isinstance(content, dict) or content.get("mark") != CHECKPOINT_MARK:
        raise CheckpointError(f"{path}: not a checkpoint of schedengine; expected one that `schedengine train` wrote")
    if content.get("version") != VERSION:
        raise CheckpointError(f"{path}: has version {content.get('version')!r}; this release reads {VERSION}")
    state: dict[str, Any] = content["state"]
    return state


def _check_archive(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; expected a checkpoint that `schedengine train` wrote")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: not a checkpoint of schedengine, or cut off")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # damage shows as almost any exception
        raise CheckpointError(f"{path}: damaged: {error}") from error
    if damaged is not None:
        raise CheckpointError(f"{path}: damaged: the sum of {damaged} is wrong")
