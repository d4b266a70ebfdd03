"""The images that a sweep is shown: which, in what order, in which batches; the same ones again on a resume."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from schedengine.errors import DataError, SchedEngineError
from schedengine.zoo.loader import Images, Loader, Split
from schedengine.zoo.seeds import generator

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Shard:
    """One of several parts of a sweep: every ``count``-th batch from batch ``number`` on.

    Args:
        number: from 0.
        count: of parts.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/4``, the second of four.

        Raises:
            SchedEngineError: not a part of a whole.

        Example:
            >>> Shard.parse("2/4")
            Shard(number=1, count=4)
        """
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise SchedEngineError(f"--shard {text}: write 1/4 for the first of four parts, up to 4/4")
        return cls(int(number) - 1, int(count))

    def __str__(self) -> str:
        return f"{self.number + 1}/{self.count}"


@dataclass(frozen=True)
class Shown:
    """Batches in a fixed order.

    Args:
        make: number of batches to skip -> the others.
        images: in all batches together; None where that is not known before they are read.
        total: in the set that they are taken from; None likewise.
    """

    make: Callable[[int], Iterator[Batch]]
    images: int | None
    total: int | None

    def batches(self, skip: int = 0) -> Iterator[Batch]:
        """From the ``skip``-th batch on."""
        return self.make(skip)


def from_split(
    loader: Callable[[Split, int], Loader],
    split: Split,
    *,
    batch_size: int,
    subset: int | None = None,
    random_order: int | None = None,
    shard: Shard = Shard(),  # frozen
) -> Shown:
    """Of a split of a data set.

    Args:
        loader: split and batch size -> its batches, in the split's order.
        split: the whole of it.
        batch_size: images in a batch.
        subset: only so many, chosen at random; None for all.
        random_order: seed of the order and of the subset; None for the split's own order, where there is no subset.
        shard: which of these batches.

    Raises:
        DataError: a subset of none, or of more than there are; a shard without a batch.
    """
    total, wanted = len(split), len(split) if subset is None else subset
    if not 0 < wanted <= total:
        raise DataError(f"--subset {subset}: the split has {total:,} images; take 1 to {total:,}")
    order = torch.arange(total)
    if subset is not None or random_order is not None:
        order = torch.randperm(total, generator=generator(random_order or 0, "sweep"))[:wanted]
    parts = [order[start : start + batch_size] for start in range(0, wanted, batch_size)][shard.number :: shard.count]
    if not parts:
        raise DataError(f"--shard {shard}: there are fewer batches of {batch_size} images than parts; take fewer parts")

    def make(skip: int) -> Iterator[Batch]:
        # A shard's batches are whole, but for the last of all, so that they are cut at the same places again.
        rest = parts[skip:]
        return iter(loader(_chosen(split, torch.cat(rest)), batch_size)) if rest else iter(())

    return Shown(make, sum(map(len, parts)), total)


def from_loader(batches: Iterable[Batch], *, random_order: int | None = None) -> Shown:
    """Of whatever a user iterates over.

    Args:
        batches: (images, labels) of the whole set, the same on each pass.
        random_order: seed of a random order, which only a DataLoader of a map-style Dataset can be read in; None for
            the order in which the batches come.

    Raises:
        DataError: a random order, and no such DataLoader; or an iterator, which can be read only once.
    """
    if isinstance(batches, Iterator):
        raise DataError("data: an iterator is used up by one pass; give the loader itself, or a list of batches")
    if random_order is not None:
        return _shuffled(batches, random_order)
    size = len(batches.dataset) if isinstance(batches, DataLoader) and isinstance(batches.dataset, Sized) else None
    return Shown(lambda skip: itertools.islice(iter(batches), skip, None), size, size)


def _shuffled(batches: Iterable[Batch], seed: int) -> Shown:
    dataset: Any = getattr(batches, "dataset", None)
    if not isinstance(batches, DataLoader) or not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError("images in random order need a DataLoader of a Dataset with a length and items by index")
    order = torch.randperm(len(dataset), generator=generator(seed, "sweep")).tolist()
    size = batches.batch_size or 64

    def make(skip: int) -> Iterator[Batch]:
        part: Any = Subset(dataset, order[skip * size :])
        return iter(DataLoader(part, batch_size=size, collate_fn=batches.collate_fn, num_workers=batches.num_workers))

    return Shown(make, len(dataset), len(dataset))


def _chosen(split: Split, indices: Tensor) -> Split:
    if isinstance(split, Images):
        return split.take(indices)
    return Subset(split, indices.tolist())  # type: ignore[arg-type]  # needs a length and items only
