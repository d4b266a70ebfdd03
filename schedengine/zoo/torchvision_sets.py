"""torchvision's classification sets by name, read once into memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from schedengine.errors import DataError, did_you_mean
from schedengine.zoo.augment import Augmentation
from schedengine.zoo.cache import cache_folder
from schedengine.zoo.decode import stack
from schedengine.zoo.loader import Images
from schedengine.zoo.splits import Data, images_data


@dataclass(frozen=True)
class _Set:
    """How one set is asked for its splits, and where it differs from the usual."""

    key: str = "split"
    train: str | bool = "train"
    test: str | bool = "test"
    validation: str | None = None
    moments: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    flip: bool = True


_BY_FLAG: dict[str, Any] = {"key": "train", "train": True, "test": False}

SETS: dict[str, _Set] = {
    "CIFAR10": _Set(**_BY_FLAG, moments=((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
    "CIFAR100": _Set(**_BY_FLAG, moments=((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))),
    "MNIST": _Set(**_BY_FLAG),
    "FashionMNIST": _Set(**_BY_FLAG),
    "KMNIST": _Set(**_BY_FLAG),
    "USPS": _Set(**_BY_FLAG),
    "SVHN": _Set(flip=False),
    "STL10": _Set(),
    "GTSRB": _Set(flip=False),
    "Food101": _Set(),
    "Flowers102": _Set(validation="val"),
    "DTD": _Set(validation="val"),
    "FGVCAircraft": _Set(validation="val"),
    "OxfordIIITPet": _Set(train="trainval"),
    "PCAM": _Set(validation="val"),
    "RenderedSST2": _Set(validation="val", flip=False),
    "Imagenette": _Set(test="val"),
}
"""The sets that have splits and class labels. Digits and signs are not mirrored by augmentation."""


def torchvision_set(name: str, *, root: Path | None = None, download: bool = False, size: int | None = None) -> Data:
    """One of ``SETS``.

    Args:
        name: as torchvision spells it.
        root: the folder it is in or goes to; by default in our cache folder.
        download: fetch it if it is not there.
        size: pictures are cut to a centred square and scaled to this; needed where sizes differ.

    Raises:
        DataError: not known, not there, not to be had, or sizes that differ.
    """
    if name not in SETS:
        own = "data of your own are written imagefolder:PATH or package.module:factory"
        raise DataError(f"unknown data {name!r} ({own}); {did_you_mean(name, ['digits', 'fake', *SETS])}")
    known = SETS[name]
    wanted = {"train": known.train, "test": known.test, "validation": known.validation}
    folder = root or cache_folder() / "data"
    opened = {
        split: _open(name, known.key, word, folder, download) for split, word in wanted.items() if word is not None
    }
    data = _in_memory(name, opened, size)
    if known.moments is not None:
        data = replace(data, mean=known.moments[0], std=known.moments[1])
    if not known.flip:
        data = replace(data, augmentation=Augmentation(Augmentation.usual(data.shape).shift, flip=False))
    return data


def _open(name: str, key: str, word: str | bool, root: Path, download: bool) -> Any:
    from torchvision import datasets  # type: ignore[import-untyped]

    try:
        return getattr(datasets, name)(root=str(root), download=download, **{key: word})
    except (OSError, RuntimeError, ImportError, ValueError) as problem:  # not there, no network, a missing reader
        right = "the download failed" if download else "ask for the download (--download), or another folder (--root)"
        raise DataError(f"{name} cannot be had from {root}: {problem}; {right}") from problem


def _in_memory(name: str, opened: dict[str, Any], size: int | None) -> Data:
    whole: torch.utils.data.ConcatDataset[Any] = torch.utils.data.ConcatDataset(opened.values())
    labels = torch.empty(len(whole), dtype=torch.int64)

    def read(number: int) -> Image.Image:
        picture, labels[number] = whole[number]
        return picture  # type: ignore[no-any-return]

    images = stack(len(whole), read, lambda number: f"{name}[{number}]", size)
    counts = [len(part) for part in opened.values()]
    parts = zip(images.split_with_sizes(counts), labels.split_with_sizes(counts))
    splits = {split: Images(*part) for split, part in zip(opened, parts)}
    classes = int(labels.max()) + 1
    return images_data(splits["train"], splits["test"], classes, validation=splits.get("validation"))
