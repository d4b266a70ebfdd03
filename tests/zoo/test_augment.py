"""Shifts and mirror images of whole batches."""

from __future__ import annotations

import torch

from schedengine.zoo.augment import Augmentation
from schedengine.zoo.seeds import generator

IMAGE = torch.tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]], dtype=torch.uint8)


def apply(*draws: list[int]) -> list[list[int]]:
    return Augmentation(shift=1, flip=True).apply(IMAGE, torch.tensor(draws))[0, 0].tolist()


def test_the_middle_offset_leaves_an_image_in_its_place() -> None:
    assert apply([1, 1, 0]) == IMAGE[0, 0].tolist()


def test_offset_zero_moves_an_image_down_and_right_and_black_comes_in() -> None:
    assert apply([0, 0, 0]) == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]


def test_the_last_offset_moves_it_up_and_left() -> None:
    assert apply([2, 2, 0]) == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]


def test_a_mirror_image_swaps_left_and_right() -> None:
    assert apply([1, 1, 1]) == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]


def test_images_of_a_batch_are_treated_apart() -> None:
    batch = IMAGE.expand(2, 3, 3, 3)
    out = Augmentation(1, flip=True).apply(batch, torch.tensor([[1, 1, 0], [1, 1, 1]]))
    assert torch.equal(out[0], batch[0])
    assert torch.equal(out[1], batch[1].flip(2))


def test_draws_cover_every_offset_and_both_sides() -> None:
    draws = Augmentation(shift=4, flip=True).draw(1000, generator(0))
    assert [sorted(set(draws[:, column].tolist())) for column in range(3)] == [list(range(9)), list(range(9)), [0, 1]]
    assert not Augmentation(shift=4, flip=False).draw(1000, generator(0))[:, 2].any()


def test_the_usual_is_four_pixels_of_32_in_colour_and_one_of_8_in_gray() -> None:
    assert Augmentation.usual((3, 32, 32)) == Augmentation(4, flip=True)
    assert Augmentation.usual((1, 8, 8)) == Augmentation(1, flip=False)
