"""A data set: its train, validation and test parts, and how a part is cut from another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Subset

from schedengine.errors import DataError
from schedengine.zoo.augment import Augmentation
from schedengine.zoo.loader import Images, Loader, Split
from schedengine.zoo.seeds import generator

SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Data:
    """What a run needs to know of its data.

    Args:
        train: what weights are fitted to.
        test: what a result is reported on, once.
        classes: labels are in [0, classes).
        shape: of an image, (C, H, W).
        mean: per channel, of brightness in [0, 1]; for a Dataset, which normalises itself, not used.
        std: per channel, likewise.
        validation: what choices are made on; None if there is none.
        augmentation: what ``augment=True`` does; None if nothing suits.
    """

    train: Split
    test: Split
    classes: int
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    validation: Split | None = None
    augmentation: Augmentation | None = None

    def loader(
        self,
        split: SplitName,
        *,
        batch_size: int,
        shuffle: bool = False,
        augment: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        workers: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> Loader:
        """Batches of one split; the arguments are those of ``Loader``.

        Raises:
            DataError: there is no such split, ``augment`` where nothing suits, or ``workers`` with nothing to do.
        """
        part: Split | None = getattr(self, split)
        if part is None:
            raise DataError("there is no validation split; ask for a share of the images (--validation) above 0")
        if augment and self.augmentation is None:
            raise DataError("no augmentation suits these data; put one into the Dataset's transform, or set it in Data")
        if workers and self._is_in_memory():
            raise DataError(
                f"--workers {workers}: the images are in memory; leave it out, it is for a factory's Datasets"
            )
        return Loader(
            part,
            batch_size,
            self.mean,
            self.std,
            shuffle=shuffle,
            augmentation=self.augmentation if augment else None,
            drop_last=drop_last,
            seed=seed,
            workers=workers,
            rank=rank,
            world=world,
        )

    def _is_in_memory(self) -> bool:
        return all(part is None or isinstance(part, Images) for part in (self.train, self.validation, self.test))

    def plain(self) -> dict[str, Any]:
        """For a file: classes, shape, and what images are normalised with; null where a Dataset does it itself."""
        is_ours = isinstance(self.train, Images)
        mean, std = (self.mean, self.std) if is_ours else (None, None)
        return {"classes": self.classes, "shape": self.shape, "mean": mean, "std": std}

    def with_validation(self, share: float, seed: int) -> Data:
        """The same with a validation split: its own if it has one, else a random part of train.

        Args:
            share: of train, in [0, 1); 0 means no validation split.
            seed: of the choice.
        """
        if share == 0:
            return replace(self, validation=None)
        if self.validation is not None:
            return self
        count = len(self.train)
        held = int(share * count + 0.5)
        if not 0 < held < count:
            raise DataError(f"a validation share of {share} is {held} of {count} images; choose another")
        order = torch.randperm(count, generator=generator(seed, "validation"))
        return replace(self, train=_part(self.train, order[held:]), validation=_part(self.train, order[:held]))


def _part(split: Split, indices: Tensor) -> Split:
    chosen = indices.sort().values
    if isinstance(split, Images):
        return split.take(chosen)
    return Subset(split, chosen.tolist())  # type: ignore[arg-type]  # needs a length and items only


def cut_test(whole: Images, share: float = 0.2) -> tuple[Images, Images]:
    """Train and test parts of images that come without: of each class the same share, and always the same images.

    The choice takes no seed, so that results of different seeds are comparable.

    Raises:
        DataError: no class has two images.
    """
    order = torch.randperm(len(whole), generator=generator("test"))
    is_test = torch.zeros(len(whole), dtype=torch.bool)
    for label in sorted(set(whole.labels.tolist())):
        members = order[whole.labels[order] == label]
        held = min(max(1, int(share * len(members) + 0.5)), len(members) - 1)
        is_test[members[:held]] = True
    if not is_test.any():
        raise DataError("too few images to cut a test split from; give at least two of each class")
    return whole.take(torch.where(~is_test)[0]), whole.take(torch.where(is_test)[0])


def moments(whole: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of brightness in [0, 1], per channel, exactly (from counts, without a float copy)."""
    values = torch.arange(256, dtype=torch.float64) / whole.peak
    counts = [torch.bincount(channel.flatten(), minlength=256).double() for channel in whole.images.unbind(1)]
    mean = [float(count @ values / count.sum()) for count in counts]
    std = [float((count @ (values - m) ** 2 / count.sum()).sqrt()) for count, m in zip(counts, mean)]
    return tuple(mean), tuple(s or 1.0 for s in std)  # a constant channel stays what it is


def images_data(train: Images, test: Images, classes: int, *, validation: Images | None = None) -> Data:
    """Data of images in memory, normalised by ImageNet's constants if in colour, else by train's own moments."""
    shape = tuple(train.images.shape[1:])
    mean, std = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if shape[0] == 3 else moments(train)
    return Data(train, test, classes, shape, mean, std, validation, Augmentation.usual(shape))
