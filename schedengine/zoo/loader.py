"""Batches that can be replayed: what an epoch yields depends on (seed, epoch) alone.

A run resumed at any epoch therefore sees what the uninterrupted one saw, whatever was drawn elsewhere in between, with
any number of workers. Randomness belongs to the image, not to its batch: with ``world`` processes the union of their
n-th batches is the n-th batch of one process with ``world`` times the batch size.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from schedengine.errors import DataError
from schedengine.zoo.augment import Augmentation
from schedengine.zoo.seeds import derive, generator


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, from 0.
        peak: the stored value of full brightness, which is 1.0 to mean and std.
    """

    images: Tensor
    labels: Tensor
    peak: int = 255

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Images:
        """A copy of some of them, in the order given."""
        return Images(self.images[indices], self.labels[indices], self.peak)


class MapDataset(Protocol):
    """A map-style Dataset with a length, as torch's users write them; items are (float tensor, class number)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


Split: TypeAlias = "Images | MapDataset"
"""One part of a data set."""


@dataclass(eq=False)
class Loader:
    """Iterates over (images, labels): (B, C, H, W) float32, normalised, and (B,) int64. Call ``set_epoch`` first.

    Args:
        split: what to load. Images of a Dataset are taken as they come; those in memory are normalised here.
        batch_size: images per batch and process.
        mean: per channel, of brightness in [0, 1].
        std: per channel, likewise.
        shuffle: a new order each epoch; otherwise the order of the split.
        augmentation: None for none.
        drop_last: leave out what does not fill a batch.
        seed: of order and augmentation.
        workers: processes that read a Dataset; images in memory need none.
        rank: this process, of ``world``.
        world: processes that share each epoch in equal parts. Unless ``drop_last``, the first images come twice where
            the number does not divide, so do not average an evaluation over ranks.

    Raises:
        DataError: sizes out of range, or no batch at all.

    Example:
        >>> images = Images(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.arange(10))
        >>> loader = Loader(images, batch_size=4, mean=(0.5,), std=(0.5,))
        >>> [labels.tolist() for _, labels in loader]
        [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    """

    split: Split
    batch_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shuffle: bool = False
    augmentation: Augmentation | None = None
    drop_last: bool = False
    seed: int = 0
    workers: int = 0
    rank: int = 0
    world: int = 1
    epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0 or not 0 <= self.rank < self.world:
            raise DataError(
                f"batch size {self.batch_size}, {self.workers} workers, rank {self.rank} of {self.world}: "
                "a batch has at least one image, workers are 0 or more, ranks count from 0"
            )
        if len(self) == 0:
            raise DataError(f"{self._size} images give no batch of {self.batch_size}; take a smaller batch")

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        share = self._share
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self._batches()
        draws = self._draws()
        for indices, (images, labels) in zip(batches, self._read(batches)):
            if self.augmentation is not None and draws is not None:
                images = self.augmentation.apply(images, draws[indices])
            yield self._normalise(images), labels

    @property
    def _size(self) -> int:
        return len(self.split)

    @property
    def _share(self) -> int:
        return self._size // self.world if self.drop_last else -(-self._size // self.world)

    def _order(self) -> Tensor:
        """(share,) int64: the indices of this rank, which takes every ``world``-th."""
        order = torch.arange(self._size)
        if self.shuffle:
            order = torch.randperm(self._size, generator=generator(self.seed, self.epoch, "order"))
        ring = torch.arange(self.rank, self._share * self.world, self.world) % self._size
        return order[ring]

    def _batches(self) -> list[Tensor]:
        order, size = self._order(), self.batch_size
        return [order[number * size : (number + 1) * size] for number in range(len(self))]

    def _draws(self) -> Tensor | None:
        if self.augmentation is None:
            return None
        return self.augmentation.draw(self._size, generator(self.seed, self.epoch, "augmentation"))

    def _read(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        if isinstance(self.split, Images):
            return ((self.split.images[indices], self.split.labels[indices]) for indices in batches)
        return self._read_dataset(self.split, batches)

    def _read_dataset(self, dataset: MapDataset, batches: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        reader = DataLoader(
            _Replayed(dataset, self.seed, self.epoch),
            batch_sampler=[indices.tolist() for indices in batches],
            num_workers=self.workers,
            generator=generator(self.seed, self.epoch, "workers"),  # else it draws from the global one
        )
        return ((images.float(), labels.long()) for images, labels in reader)

    def _normalise(self, images: Tensor) -> Tensor:
        if not isinstance(self.split, Images):
            return images
        mean, std = (torch.tensor(value).view(-1, 1, 1) for value in (self.mean, self.std))
        return images.float().div_(self.split.peak).sub_(mean).div_(std)


class _Replayed(Dataset[Any]):
    """A Dataset whose own random transforms see generators seeded by (seed, epoch, index)."""

    def __init__(self, dataset: MapDataset, seed: int, epoch: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        saved = torch.get_rng_state(), random.getstate(), numpy.random.get_state()
        seed = derive(self.seed, self.epoch, index)
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which seeds the GPUs too
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        try:
            return self.dataset[index]
        finally:
            torch.set_rng_state(saved[0])
            random.setstate(saved[1])
            numpy.random.set_state(saved[2])
