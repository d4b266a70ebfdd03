"""Batches that can be replayed."""

from __future__ import annotations

import random
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from schedengine.errors import DataError
from schedengine.zoo.augment import Augmentation
from schedengine.zoo.loader import Images, Loader, Split

TEN = Images(torch.arange(10 * 3 * 4, dtype=torch.uint8).view(10, 3, 2, 2), torch.arange(10))


class Noisy(Dataset[tuple[Tensor, int]]):
    """Ten images that depend on all three global generators."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = torch.rand(()).item() + random.random() + numpy.random.rand()
        return torch.full((1, 2, 2), index + noise), index


def loader(split: Split = TEN, batch_size: int = 4, **options: Any) -> Loader:
    return Loader(split, batch_size, mean=(0.0,) * 3, std=(1.0,) * 3, **options)


def labels(batches: Loader, epoch: int = 0) -> list[list[int]]:
    batches.set_epoch(epoch)
    return [batch.tolist() for _, batch in batches]


def images(batches: Loader, epoch: int = 0) -> Tensor:
    batches.set_epoch(epoch)
    return torch.cat([batch for batch, _ in batches])


def test_batches_come_in_order_with_a_short_last_one() -> None:
    assert labels(loader()) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader()) == 3


def test_drop_last_leaves_out_what_fills_no_batch() -> None:
    assert labels(loader(drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(loader(drop_last=True)) == 2


def test_images_are_normalised_by_channel() -> None:
    split = Images(torch.tensor([0, 16], dtype=torch.uint8).view(1, 2, 1, 1), torch.zeros(1).long(), peak=16)
    (batch, label), *_ = Loader(split, 1, mean=(0.5, 0.25), std=(0.5, 0.75))
    assert batch.flatten().tolist() == [-1.0, 1.0]
    assert (batch.dtype, label.dtype) == (torch.float32, torch.int64)


def test_an_epoch_is_a_permutation_that_seed_and_epoch_alone_decide() -> None:
    one, other = loader(shuffle=True), loader(shuffle=True)
    first = labels(one, 3)
    torch.rand(5)
    assert sorted(label for batch in first for label in batch) == list(range(10))
    assert labels(other, 3) == first
    assert labels(one, 4) != first != labels(loader(shuffle=True, seed=1), 3)


def test_augmentation_belongs_to_the_image_not_to_the_batch() -> None:
    options: dict[str, Any] = {"shuffle": True, "augmentation": Augmentation(1, flip=True)}
    assert torch.equal(images(loader(**options), 2), images(loader(batch_size=3, **options), 2))
    assert not torch.equal(images(loader(**options), 2).sum(1), images(loader(**options), 3).sum(1))


def test_ranks_together_make_the_batch_of_one_process() -> None:
    options: dict[str, Any] = {"shuffle": True, "augmentation": Augmentation(1, flip=True), "drop_last": True}
    whole = list(loader(batch_size=4, **options))
    shares = [list(loader(batch_size=2, rank=rank, world=2, **options)) for rank in range(2)]
    for (batch, _), *parts in zip(whole, *shares):
        assert torch.equal(batch, torch.stack([part for part, _ in parts], dim=1).flatten(0, 1))


@pytest.mark.parametrize(("drop_last", "counts"), [(False, 4), (True, 3)])
def test_ranks_have_equal_shares(drop_last: bool, counts: int) -> None:
    shares = [loader(batch_size=1, rank=rank, world=3, drop_last=drop_last) for rank in range(3)]
    assert [len(share) for share in shares] == [counts] * 3
    seen = [label for share in shares for batch in labels(share) for label in batch]
    assert set(seen) == set(range(10)) if not drop_last else len(set(seen)) == 9


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_is_replayed_whatever_the_number_of_workers(workers: int) -> None:
    batches = loader(Noisy(), shuffle=True, workers=workers)
    expected = images(loader(Noisy(), batch_size=3, shuffle=True), 1)
    assert torch.equal(images(batches, 1), expected)
    assert not torch.equal(images(batches, 2).sort(0).values, expected.sort(0).values)


def test_loading_leaves_the_global_generators_alone() -> None:
    def draw() -> tuple[float, float, float]:
        torch.manual_seed(0), random.seed(0), numpy.random.seed(0)
        if is_loading:
            list(loader(Noisy(), shuffle=True, augmentation=Augmentation(1, flip=True)))
        return torch.rand(()).item(), random.random(), float(numpy.random.rand())

    is_loading = False
    without = draw()
    is_loading = True
    assert draw() == without


def test_a_dataset_is_taken_as_it_comes() -> None:
    dataset = [(torch.full((1, 2, 2), 7.0), label) for label in range(3)]
    assert (images(loader(dataset)) == 7).all()


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"rank": 2, "world": 2}, {"batch_size": 11, "drop_last": True}])
def test_sizes_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="batch"):
        loader(**options)
