"""Folders of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from schedengine.errors import DataError
from schedengine.zoo import imagefolder
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.loader import Images, Split

RED, GREEN = (255, 0, 0), (0, 255, 0)


def memory(split: Split | None) -> Images:
    assert isinstance(split, Images)
    return split


def paint(file: Path, colour: tuple[int, int, int] | int = RED, size: tuple[int, int] = (4, 4)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(file)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """train and test, with ten green apples and ten red tomatoes each."""
    for split in ("train", "test"):
        for number in range(10):
            paint(tmp_path / "set" / split / "apple" / f"{number}.png", GREEN)
            paint(tmp_path / "set" / split / "tomato" / f"{number}.png", RED)
    return tmp_path / "set"


def load(root: Path, **options: object) -> Data:
    return load_data(f"imagefolder:{root}", cache=root.parent / "cache", **options)  # type: ignore[arg-type]


def test_classes_are_numbered_by_name_and_pixels_are_kept(root: Path) -> None:
    data = load(root, validation=0)
    assert (data.classes, data.shape, len(data.train), len(data.test)) == (2, (3, 4, 4), 20, 20)
    assert memory(data.train).labels.tolist() == [0] * 10 + [1] * 10
    assert memory(data.test).images[0, :, 1, 1].tolist() == list(GREEN)
    assert memory(data.test).images[19, :, 1, 1].tolist() == list(RED)


def test_colour_is_normalised_by_imagenets_constants(root: Path) -> None:
    images, _ = next(iter(load(root).loader("test", batch_size=1)))
    assert images[0, :, 0, 0].tolist() == pytest.approx([-0.485 / 0.229, (1 - 0.456) / 0.224, -0.406 / 0.225])


def test_the_second_load_reads_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(root)
    monkeypatch.setattr(imagefolder, "stack", lambda *_: pytest.fail("decoded again"))
    assert torch.equal(memory(load(root).train).images, memory(first.train).images)


def test_a_changed_picture_is_decoded_again_into_the_same_file(root: Path) -> None:
    load(root)
    paint(root / "test" / "apple" / "0.png", RED)
    os.utime(root / "test" / "apple" / "0.png", (1, 1))
    assert memory(load(root).test).images[0, :, 0, 0].tolist() == list(RED)
    assert len(list((root.parent / "cache").iterdir())) == 1


def test_a_damaged_cache_is_made_again(root: Path) -> None:
    before = load(root)
    (file,) = (root.parent / "cache").iterdir()
    file.write_bytes(b"damaged")
    assert torch.equal(memory(load(root).train).images, memory(before.train).images)


def test_a_cache_that_cannot_be_written_is_only_a_warning(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root.parent / "cache").write_text("a file stands in the way")
    assert len(load(root).test) == 20
    assert "cannot keep decoded images" in caplog.text


def test_the_cache_is_in_the_users_cache_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "xdg"))
    load_data(f"imagefolder:{root}")
    assert len(list((root.parent / "xdg" / "schedengine").glob("set-*.safetensors"))) == 1


def test_val_alone_is_the_test_split(root: Path) -> None:
    (root / "test").rename(root / "val")
    data = load(root, validation=0.2)
    assert (len(data.train), len(memory(data.validation)), len(data.test)) == (16, 4, 20)


def test_a_validation_folder_is_used_as_it_is(root: Path) -> None:
    paint(root / "val" / "tomato" / "0.png")
    data = load(root)
    assert (len(data.train), len(memory(data.validation)), len(data.test)) == (20, 1, 20)


def test_without_split_folders_a_fifth_of_each_class_is_the_test_split(root: Path) -> None:
    data = load(root / "train", validation=0)
    assert memory(data.train).labels.bincount().tolist() == [8, 8]
    assert memory(data.test).labels.bincount().tolist() == [2, 2]


def test_sizes_that_differ_need_an_image_size(root: Path) -> None:
    paint(root / "test" / "apple" / "a.png", GREEN, (8, 6))
    with pytest.raises(DataError, match=r"a.png has 8x6 pixels, .*0.png has 4x4; give --image-size N"):
        load(root)
    assert load(root, image_size=5).shape == (3, 5, 5)


def test_gray_pictures_have_one_channel_and_their_own_moments(tmp_path: Path) -> None:
    for number, value in enumerate((0, 0, 0, 0, 255, 255, 255, 255)):
        paint(tmp_path / "gray" / str(value) / f"{number}.png", value)
    data = load(tmp_path / "gray", validation=0)
    assert (data.shape, data.mean, data.std) == ((1, 4, 4), (0.5,), (0.5,))
    assert data.augmentation is not None
    assert not data.augmentation.flip


def test_a_colour_picture_among_gray_ones_makes_all_colour(root: Path) -> None:
    paint(root / "train" / "apple" / "gray.png", 7)
    assert load(root).shape == (3, 4, 4)


def test_a_broken_picture_is_named(root: Path) -> None:
    (root / "train" / "apple" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken.png cannot be decoded"):
        load(root)


def test_a_class_that_train_lacks_gets_the_nearest(root: Path) -> None:
    paint(root / "test" / "tomatoe" / "0.png")
    with pytest.raises(DataError, match="test has the class 'tomatoe', train has not; did you mean tomato"):
        load(root)


def test_a_train_folder_alone_is_refused(root: Path) -> None:
    (root / "test").rename(root / "holdout")
    with pytest.raises(DataError, match="has holdout, train; expected train and test or val"):
        load(root)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="no pictures; expected a folder per class"):
        load(tmp_path / "empty")


def test_more_than_the_memory_holds_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _name: 10)  # 100 bytes of memory
    with pytest.raises(DataError, match="of memory; take a smaller --image-size"):
        load(root)
