"""Names -> data, and how parts are cut."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from schedengine.errors import DataError
from schedengine.zoo.data import load_data
from schedengine.zoo.loader import Images, Split
from schedengine.zoo.models import build_model
from schedengine.zoo.splits import cut_test, moments

OWN = """
import torch
from torch.utils.data import TensorDataset
from schedengine.zoo.data import load_data

def made(count, labels=3): return TensorDataset(torch.rand(count, 1, 4, 4), torch.arange(count) % labels)
def two(seed): return made(40), made(8)
def three(): return made(40), made(10), made(8)
def whole(): return load_data("fake")
def one(): return made(4)
def pairs(): return [(torch.zeros(1), 0)] * 4, [(torch.zeros(1), 0)] * 4
def bytes_(): return [(torch.zeros(1, dtype=torch.uint8), 0)], [(torch.zeros(1), 0)]
"""


def memory(split: Split | None) -> Images:
    assert isinstance(split, Images)
    return split


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's in the working folder."""
    (tmp_path / "own_data.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_data", raising=False)
    return "own_data"


def sizes(data: object) -> list[int]:
    return [len(part) if part is not None else 0 for part in (data.train, data.validation, data.test)]  # type: ignore[attr-defined]


def test_the_digits_are_1797_images_of_values_0_to_16() -> None:
    data = load_data("digits", validation=0)
    assert sum(sizes(data)) == 1797
    assert (data.shape, data.classes, memory(data.train).peak, int(memory(data.train).images.max())) == (
        (1, 8, 8),
        10,
        16,
        16,
    )
    # Counts by class, from the data set's description.
    both = torch.cat([memory(data.train).labels, memory(data.test).labels])
    assert both.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_test_digits_are_a_fifth_of_each_class_whatever_the_seed() -> None:
    one, other = load_data("digits", seed=0), load_data("digits", seed=1)
    assert torch.equal(memory(one.test).images, memory(other.test).images)
    assert memory(one.test).labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]


def test_validation_is_a_seeded_part_of_train() -> None:
    whole, data = load_data("digits", validation=0), load_data("digits", validation=0.25, seed=3)
    assert sizes(whole) == [1438, 0, 359]
    assert sizes(data) == [1078, 360, 359]
    again, other = (load_data("digits", validation=0.25, seed=seed) for seed in (3, 4))
    assert torch.equal(memory(data.validation).images, memory(again.validation).images)
    assert not torch.equal(memory(data.validation).images, memory(other.validation).images)


def test_without_a_validation_split_its_loader_says_so() -> None:
    with pytest.raises(DataError, match="no validation split"):
        load_data("digits", validation=0).loader("validation", batch_size=8)


def test_the_digits_train_in_seconds() -> None:
    data = load_data("digits")
    torch.manual_seed(0)
    model = build_model("digits_cnn", classes=data.classes, channels=data.shape[0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loader = data.loader("train", batch_size=64, shuffle=True)
    for epoch in range(3):
        loader.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval()
    ((images, labels),) = data.loader("test", batch_size=359)
    assert (model(images).argmax(1) == labels).float().mean() > 0.9


def test_moments_are_those_of_the_pixels() -> None:
    images = torch.randint(0, 17, (5, 2, 3, 3), dtype=torch.uint8)
    mean, std = moments(Images(images, torch.zeros(5).long(), peak=16))
    pixels = images.double() / 16
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_a_class_of_one_image_stays_in_train() -> None:
    labels = torch.tensor([0, 1, 1, 1, 1, 1])
    train, test = cut_test(Images(torch.zeros(6, 1, 1, 1, dtype=torch.uint8), labels))
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1, 1, 1, 1], [1])


def test_fake_is_noise_that_its_seed_decides() -> None:
    one, same, other = (load_data("fake", seed=seed, image_size=16) for seed in (0, 0, 1))
    assert one.shape == (3, 16, 16)
    assert sizes(one) == [461, 51, 128]
    assert torch.equal(memory(one.train).images, memory(same.train).images)
    assert not torch.equal(memory(one.test).images, memory(other.test).images)


def test_datasets_of_the_users_are_looked_at(own: str) -> None:
    two, three = load_data(f"{own}:two"), load_data(f"{own}:three")
    assert (sizes(two), sizes(three)) == ([36, 4, 8], [40, 10, 8])
    assert (two.shape, two.classes) == ((1, 4, 4), 3)
    images, labels = next(iter(two.loader("validation", batch_size=3)))
    assert images.shape == (3, 1, 4, 4)
    assert labels.shape == (3,)


def test_a_factory_may_return_data(own: str) -> None:
    assert load_data(f"{own}:whole").classes == 10


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("one", "returned a TensorDataset"),
        ("pairs", "cannot tell the number of classes"),
        ("bytes_", "torch.uint8 tensor, int.*want .float tensor, class number"),
        ("made", "missing a required argument: 'count'"),
        ("tow", "did you mean two"),
    ],
)
def test_a_factory_that_returns_something_else_is_told(own: str, factory: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(f"{own}:{factory}")


@pytest.mark.parametrize("option", [{"image_size": 8}, {"root": "data"}, {"download": True}])
def test_what_is_asked_of_a_factory_it_must_take(own: str, option: dict[str, object]) -> None:
    with pytest.raises(DataError, match=f"own_data:two does not take {next(iter(option))}; leave it out"):
        load_data(f"{own}:two", **option)  # type: ignore[arg-type]


def test_workers_are_for_datasets(own: str) -> None:
    assert load_data(f"{own}:two").loader("train", batch_size=4, workers=1).workers == 1
    with pytest.raises(DataError, match="--workers 1: the images are in memory"):
        load_data("digits").loader("train", batch_size=4, workers=1)


def test_normalisation_of_datasets_is_their_own(own: str) -> None:
    assert load_data(f"{own}:two").plain() == {"classes": 3, "shape": (1, 4, 4), "mean": None, "std": None}


def test_augmenting_a_dataset_of_the_users_is_left_to_it(own: str) -> None:
    with pytest.raises(DataError, match="no augmentation suits"):
        load_data(f"{own}:two").loader("train", batch_size=4, augment=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "did you mean digits"),
        ("cifar10", {}, "unknown data 'cifar10'.*did you mean CIFAR10\\?"),
        ("digits", {"validation": 1.0}, r"in \[0, 1\)"),
        ("digits", {"validation": 0.0001}, "0 of 1438 images"),
        ("digits", {"image_size": 32}, "--image-size has no effect: .*8x8.*it is for pictures"),
        ("digits", {"download": True}, "--download has no effect"),
        ("fake", {"root": "data"}, "--root has no effect.*torchvision"),
        ("imagefolder:photos", {"root": "data"}, "--root has no effect.*imagefolder:PATH"),
        ("fake", {"image_size": 0}, "1 or more"),
        ("imagefolder:/nowhere", {}, "no such folder"),
        ("imagefolder:", {}, "has no path; write imagefolder:PATH"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(name, **options)  # type: ignore[arg-type]
