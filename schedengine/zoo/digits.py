"""The digits that ship (origin and licence: ``digits.txt``) and a made-up set for trying things out."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch

from schedengine.zoo.loader import Images
from schedengine.zoo.seeds import generator
from schedengine.zoo.splits import Data, cut_test, images_data

_PEAK = 16


def digits() -> Data:
    """1,797 handwritten digits, 8x8 pixels; a fixed fifth of each class is the test split.

    Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    with numpy.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        images, labels = torch.from_numpy(file["images"]), torch.from_numpy(file["labels"])
    train, test = cut_test(Images(images.unsqueeze(1), labels.long(), _PEAK))
    return images_data(train, test, classes=10)


def fake(seed: int, size: int = 32) -> Data:
    """640 images of noise with random labels, in 10 classes: nothing to learn, nothing to download."""
    source = generator(seed, "fake")
    images = torch.randint(0, 256, (640, 3, size, size), dtype=torch.uint8, generator=source)
    labels = torch.randint(0, 10, (640,), generator=source)
    return images_data(Images(images[:512], labels[:512]), Images(images[512:], labels[512:]), classes=10)
