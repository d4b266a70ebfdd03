"""Corruptions: against hand-worked numbers, Pillow, and what the paper says of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy
import pytest
import torch
from PIL import Image
from torch import Tensor

from schedengine.errors import DataError
from schedengine.zoo.corruptions import CORRUPTIONS, SEVERITIES, applicable, corrupted
from schedengine.zoo.digits import digits
from schedengine.zoo.loader import Images

UNEVEN = {"elastic_transform", "glass_blur"}
"""Their parameters are pairs and triples that do not grow together: severities trade one for the other."""


def images(pixels: Tensor, peak: int = 255) -> Images:
    return Images(pixels.to(torch.uint8), torch.arange(len(pixels)), peak)


def flat(*colour: int, size: int = 32, count: int = 1, peak: int = 255) -> Images:
    return images(torch.tensor(colour).view(1, -1, 1, 1).repeat(count, 1, size, size), peak)


def coloured(count: int = 16, size: int = 32) -> Images:
    """Smooth waves in three colours, each image of others."""
    place = torch.arange(float(size)) / size
    wave = torch.arange(1.0, count + 1).view(-1, 1, 1, 1) * place[:, None] / 3 + torch.arange(3.0).view(3, 1, 1) * place
    return images(127.5 + 100 * torch.sin(2 * math.pi * wave + place[:, None]))


def some_digits() -> Images:
    test = digits().test
    assert isinstance(test, Images)
    return test.take(torch.arange(64))


def distance(one: Images, other: Images) -> float:
    return float((one.images.float() - other.images.float()).abs().mean())


def levels(pixels: Tensor) -> list[int]:
    return sorted(set(pixels.flatten().tolist()))


def pillow(found: Images) -> Image.Image:
    return Image.fromarray(found.images[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("make", [some_digits, coloured])
def test_shape_type_peak_and_labels_stay(name: str, make: Callable[[], Images]) -> None:
    clean = make()
    before = clean.images.clone()
    made = corrupted(clean, name, 5)
    assert (made.images.shape, made.images.dtype, made.peak) == (before.shape, torch.uint8, clean.peak)
    assert made.images.max() <= clean.peak and torch.equal(made.labels, clean.labels)
    assert torch.equal(clean.images, before) and not torch.equal(made.images, before)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_was_drawn_before_does_not_matter(name: str) -> None:
    first = corrupted(coloured(), name, 3, seed=1)
    torch.rand(7)
    corrupted(coloured(), name, 4)
    assert torch.equal(first.images, corrupted(coloured(), name, 3, seed=1).images)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if "noise" in name or name in {"fog", *UNEVEN}])
def test_another_seed_draws_anew(name: str) -> None:
    assert not torch.equal(corrupted(coloured(), name, 3).images, corrupted(coloured(), name, 3, seed=1).images)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in UNEVEN])
def test_severity_takes_colour_images_further_away(name: str) -> None:
    distances = [distance(coloured(), corrupted(coloured(), name, severity)) for severity in SEVERITIES]
    assert distances == sorted(distances) and distances[0] < distances[-1]


@pytest.mark.parametrize(
    "name", [name for name in CORRUPTIONS if name not in UNEVEN | {"jpeg_compression", "pixelate"}]
)
def test_severity_takes_digits_further_away(name: str) -> None:
    """Not steadily under JPEG, whose steps 17 levels hide, nor when 8 pixels become 7, 7, 6, 6 and 5."""
    distances = [distance(some_digits(), corrupted(some_digits(), name, severity)) for severity in SEVERITIES]
    assert distances == sorted(distances) and distances[0] < distances[-1]


@pytest.mark.parametrize("severity, deviation", [*zip(SEVERITIES, (0.04, 0.06, 0.08, 0.09, 0.10))])
def test_gaussian_noise_has_its_deviation(severity: int, deviation: float) -> None:
    values = corrupted(flat(128, 128, 128, count=20), "gaussian_noise", severity).images.double()
    assert values.std() / 255 == pytest.approx(deviation, rel=0.02)  # 61,440 values: 0.3 % is one standard error
    assert values.mean() == pytest.approx(128, abs=0.5)


def test_shot_noise_counts_photons() -> None:
    values = corrupted(
        flat(51, count=60), "shot_noise", 5
    ).images.double()  # 0.2 of 50 photons: 10, give or take sqrt(10)
    assert values.mean() == pytest.approx(51, rel=0.01)
    assert values.std() == pytest.approx(math.sqrt(10) / 50 * 255, rel=0.02)


def test_impulse_noise_hits_its_share_and_makes_half_of_it_white() -> None:
    values = corrupted(flat(100, 100, 100, count=20), "impulse_noise", 5).images
    assert (values != 100).float().mean() == pytest.approx(0.07, abs=0.004)
    assert (values == 255).float().mean() == pytest.approx(0.035, abs=0.003)
    assert levels(values) == [0, 100, 255]


@pytest.mark.parametrize(
    "name", ["defocus_blur", "glass_blur", "zoom_blur", "elastic_transform", "pixelate", "contrast"]
)
def test_what_moves_pixels_leaves_a_flat_image(name: str) -> None:
    made = corrupted(flat(10, 120, 250), name, 5)
    assert torch.equal(made.images, flat(10, 120, 250).images)


def test_brightness_is_added_to_the_largest_channel_and_keeps_the_hue() -> None:
    made = corrupted(
        flat(50, 100, 20), "brightness", 3
    )  # 0.15 of 255 more: 100 becomes 138.25, all 1.3825 times as much
    assert made.images[0, :, 0, 0].tolist() == [69, 138, 28]
    assert levels(corrupted(flat(0, 0, 0), "brightness", 3).images) == [38]  # black becomes gray
    assert corrupted(flat(250, 100, 0), "brightness", 5).images[0, :, 0, 0].tolist() == [255, 102, 0]


def test_contrast_is_about_the_mean_of_the_image() -> None:
    made = corrupted(images(torch.tensor([[[[0, 200], [0, 200]]]])), "contrast", 2)
    assert made.images[0, 0].tolist() == [[50, 150], [50, 150]]


def test_pixelating_four_pixels_leaves_their_mean() -> None:
    made = corrupted(images(torch.tensor([[[[0, 100], [100, 0]]]])), "pixelate", 1)  # int(2 * 0.95) is one cell
    assert levels(made.images) == [50]


@pytest.mark.parametrize("severity, share", [*zip(SEVERITIES, (0.95, 0.9, 0.85, 0.75, 0.65))])
def test_pixelate_is_pillows_box(severity: int, share: float) -> None:
    small = int(32 * share)
    wanted = pillow(coloured()).resize((small, small), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    made = pillow(corrupted(coloured(), "pixelate", severity))
    assert numpy.abs(numpy.asarray(made, int) - numpy.asarray(wanted, int)).max() <= 1  # Pillow rounds in between


@pytest.mark.parametrize("severity, step", [(4, 2.0), (5, 2.5)])
def test_jpeg_keeps_steps_of_gray(severity: int, step: float) -> None:
    """A flat block is 8 (level - 128), in units of 16 at quality 50 and 20 at 40 (ITU-T T.81, table K.1)."""
    for level in range(90, 110):
        kept = {128 + step * whole((level - 128) / step) for whole in (math.floor, math.ceil)}
        (made,) = levels(corrupted(flat(level, size=8), "jpeg_compression", severity).images)
        assert min(abs(made - near) for near in kept) <= 0.5


def test_jpeg_blurs_colours_more_than_gray() -> None:
    board = 255 * (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).view(1, 1, 16, 16)
    gray = images(board.expand(-1, 3, -1, -1))
    purple = images(torch.cat([board, 255 - board, board], dim=1))
    assert distance(gray, corrupted(gray, "jpeg_compression", 1)) < distance(
        purple, corrupted(purple, "jpeg_compression", 1)
    )


def test_defocus_at_severity_four_is_a_cross_of_five_pixels() -> None:
    point = torch.zeros(1, 1, 9, 9)
    point[0, 0, 4, 4] = 250
    made = corrupted(images(point), "defocus_blur", 4).images[0, 0]  # radius 1, an edge that is hardly soft
    assert made[4, 3:6].tolist() == [50, 50, 50] and made[3:6, 4].tolist() == [50, 50, 50]
    assert int((made > 0).sum()) == 5


def test_zooming_blurs_the_edge_and_not_the_middle() -> None:
    bars = torch.zeros(1, 1, 33, 33)
    bars[..., 2:5, :], bars[..., 14:19, :] = 200, 200
    made = corrupted(images(bars), "zoom_blur", 5).images[0, 0]
    assert made[16].tolist() == [200] * 33 and int(made[3].max()) < 150


def test_glass_takes_pixels_from_above_and_from_the_left() -> None:
    ramp = torch.arange(32).expand(1, 1, 32, 32) * 8
    moved = corrupted(images(ramp), "glass_blur", 1).images - ramp  # a blur of 0.05 pixels is none
    assert levels(moved[..., :2]) == [0]
    assert levels(moved[..., 2:, 2:]) == [-8, 0]
    assert (moved[..., 2:, 2:] < 0).float().mean() == pytest.approx(0.5, abs=0.06)


def test_fog_on_black_is_black_and_on_white_is_haze() -> None:
    assert levels(corrupted(flat(0, 0, 0), "fog", 5).images) == [0]  # no brighter than the image was
    haze = corrupted(flat(255, 255, 255), "fog", 4).images  # (1 + 1 * fractal) * 1 / (1 + 1), the fractal in [0, 1]
    assert (int(haze.min()), int(haze.max())) == (128, 255) and torch.equal(haze[:, 0], haze[:, 2])


def test_elastic_displacements_are_about_zero() -> None:
    slope = torch.arange(32).expand(200, 1, 32, 32) * 8
    moved = corrupted(images(slope), "elastic_transform", 1).images - slope
    inner = moved[..., 8:24, 8:24].float() / 8  # in pixels; a corner moves by up to 0.08 of 32
    assert abs(float(inner.mean())) < 0.15 and 0.3 < float(inner.std()) < 2.56


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_sixteen_levels_are_as_good_as_255(name: str) -> None:
    """The same picture with either peak comes out the same, to within the coarser rounding."""
    coarse = some_digits()
    fine = Images((coarse.images.float() * 255 / 16).round().to(torch.uint8), coarse.labels)
    one, other = corrupted(coarse, name, 3).images / 16, corrupted(fine, name, 3).images / 255
    assert (one - other).abs().mean() < 1 / 32


def test_more_images_than_fit_at_once_are_all_corrupted() -> None:
    made = corrupted(flat(100, size=4, count=1001), "gaussian_noise", 5)
    assert len(levels(made.images[-1])) > 1


def test_a_file_cannot_hold_two_channels() -> None:
    pair = flat(1, 2)
    assert set(CORRUPTIONS) - set(applicable(pair)) == {"jpeg_compression"}
    with pytest.raises(DataError, match="the images have 2 channels; JPEG files have 1 or 3"):
        corrupted(pair, "jpeg_compression", 1)


def test_images_of_two_pixels_are_too_small_for_some() -> None:
    assert set(CORRUPTIONS) - set(applicable(flat(1, size=2))) == {"defocus_blur", "elastic_transform"}
    assert all(corrupted(flat(1, size=2), name, 5) for name in applicable(flat(1, size=2)))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_need_not_be_square(name: str) -> None:
    oblong = images(coloured(2).images[..., :20])
    assert corrupted(oblong, name, 5).images.shape == (2, 3, 32, 20)


def test_a_misspelt_corruption_is_refused() -> None:
    with pytest.raises(DataError, match="no corruption is called 'gausian_noise'; did you mean gaussian_noise"):
        corrupted(flat(1), "gausian_noise", 1)


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_severities_are_one_to_five(severity: int) -> None:
    with pytest.raises(DataError, match="it is one of 1, 2, 3, 4, 5"):
        corrupted(flat(1), "fog", severity)
