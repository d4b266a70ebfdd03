"""Folders of pictures, a folder a class: ``PATH/train/cat/1.jpg``, or without splits ``PATH/cat/1.jpg``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from schedengine.errors import DataError, did_you_mean
from schedengine.zoo.cache import cache_folder, remembered
from schedengine.zoo.decode import stack
from schedengine.zoo.loader import Images
from schedengine.zoo.splits import Data, cut_test, images_data

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
_VALIDATION = ("val", "valid", "validation")
_FORMAT = 1
"""Goes into the cache's key; to be raised when decoding changes."""


@dataclass(frozen=True)
class _Picture:
    path: str
    label: str
    size: int
    changed: int


def image_folder(path: str | os.PathLike[str], *, size: int | None = None, cache: Path | None = None) -> Data:
    """Pictures in folders, decoded once and kept in memory as bytes.

    Args:
        path: has ``train/`` and ``test/`` or ``val/`` (or all three), each with a folder per class; or the folders of
            the classes themselves, of which a fixed fifth of each class becomes the test split. Classes are numbered in
            the order of their names. Where there is ``val/`` alone, it is the test split, as is usual for ImageNet.
        size: pictures are cut to a centred square and scaled to this; None if they are of one size.
        cache: folder for the decoded pictures; the next run reads them there unless a file was changed.

    Raises:
        DataError: no such folder, no pictures, classes in one split that train does not have, sizes that differ.
    """
    if not str(path):
        raise DataError("imagefolder: has no path; write imagefolder:PATH")
    root = Path(path).expanduser().resolve()
    folders = _split_folders(root)
    listed = {split: list(_pictures(folder)) for split, folder in folders.items()}
    classes = _classes(root, listed)
    images = _decoded(root, [picture for pictures in listed.values() for picture in pictures], size, cache)
    parts = images.split_with_sizes([len(pictures) for pictures in listed.values()])
    numbers = {label: number for number, label in enumerate(classes)}
    splits = {
        split: Images(part, torch.tensor([numbers[picture.label] for picture in pictures]))
        for (split, pictures), part in zip(listed.items(), parts)
    }
    if "all" in splits:
        return images_data(*cut_test(splits["all"]), classes=len(classes))
    return images_data(splits["train"], splits["test"], len(classes), validation=splits.get("validation"))


def _split_folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; write imagefolder:PATH")
    test = root / "test"
    validation = next((root / name for name in _VALIDATION if (root / name).is_dir()), None)
    has_train, has_test = (root / "train").is_dir(), test.is_dir()
    if not has_train and not has_test and validation is None:
        return {"all": root}
    if not has_train or not (has_test or validation):
        found = ", ".join(sorted(folder.name for folder in root.iterdir() if folder.is_dir()))
        raise DataError(f"{root}: has {found}; expected train and test or val, or the folders of the classes alone")
    folders = {"train": root / "train", "test": test if has_test else validation, "validation": validation}
    return {split: folder for split, folder in folders.items() if folder and (has_test or split != "validation")}


def _pictures(folder: Path) -> Iterator[_Picture]:
    for label in sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        for place, subfolders, files in os.walk(folder / label, followlinks=True):
            subfolders.sort()  # the walk follows this order
            for file in sorted(name for name in files if name.lower().endswith(_SUFFIXES)):
                path = os.path.join(place, file)
                status = os.stat(path)
                yield _Picture(path, label, status.st_size, status.st_mtime_ns)


def _classes(root: Path, listed: dict[str, list[_Picture]]) -> list[str]:
    classes = sorted({picture.label for picture in next(iter(listed.values()))})
    for split, pictures in listed.items():
        if not pictures:
            where = root if split == "all" else f"{root} ({split})"
            raise DataError(f"{where}: no pictures; expected a folder per class with {', '.join(_SUFFIXES[:3])} files")
        for label in sorted({picture.label for picture in pictures} - set(classes)):
            raise DataError(f"{root}: {split} has the class {label!r}, train has not; {did_you_mean(label, classes)}")
    return classes


def _decoded(root: Path, pictures: list[_Picture], size: int | None, cache: Path | None) -> Tensor:
    listing = [(os.path.relpath(picture.path, root), picture.size, picture.changed) for picture in pictures]
    key = _digest([_FORMAT, listing])
    file = (cache or cache_folder()) / f"{root.name}-{_digest([str(root), size])[:16]}.safetensors"
    return remembered(
        file,
        key,
        lambda: stack(len(pictures), lambda n: Image.open(pictures[n].path), lambda n: pictures[n].path, size),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
