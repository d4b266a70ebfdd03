"""torchvision's sets by name. Nothing is downloaded: a set is written as torchvision would find it, or stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torchvision import datasets  # type: ignore[import-untyped]

from schedengine.errors import DataError
from schedengine.zoo.data import load_data
from schedengine.zoo.loader import Images, Split
from schedengine.zoo.torchvision_sets import SETS


def memory(split: Split | None) -> Images:
    assert isinstance(split, Images)
    return split


class StandIn:
    """Ten pictures of the colour of their label."""

    mode = "RGB"

    def __init__(self, root: str, download: bool, **split: Any) -> None:
        self.split = split

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.new(self.mode, (32, 32), index if self.mode == "L" else (index, 0, 0)), index


class GrayStandIn(StandIn):
    """The same in gray."""

    mode = "L"


@pytest.mark.parametrize("name", SETS)
def test_every_set_exists_and_is_not_there_yet(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name} cannot be had from .*--download"):
        load_data(name, root=tmp_path)


def test_cifar10_has_its_own_constants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets, "CIFAR10", StandIn)
    data = load_data("CIFAR10", root=tmp_path, validation=0.2)
    assert (data.classes, data.shape, data.mean) == (10, (3, 32, 32), (0.4914, 0.4822, 0.4465))
    assert [len(data.train), len(memory(data.validation)), len(data.test)] == [8, 2, 10]
    assert memory(data.test).labels.tolist() == memory(data.test).images[:, 0, 0, 0].tolist() == list(range(10))
    assert data.augmentation is not None
    assert (data.augmentation.shift, data.augmentation.flip) == (4, True)


def test_a_set_with_a_validation_split_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets, "DTD", StandIn)
    data = load_data("DTD", root=tmp_path)
    assert [len(data.train), len(memory(data.validation)), len(data.test)] == [10, 10, 10]


def test_gray_sets_have_one_channel_and_house_numbers_no_mirror_images(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(datasets, "MNIST", GrayStandIn)
    monkeypatch.setattr(datasets, "SVHN", StandIn)
    assert load_data("MNIST", root=tmp_path).shape == (1, 32, 32)
    house_numbers = load_data("SVHN", root=tmp_path).augmentation
    assert house_numbers is not None
    assert not house_numbers.flip
