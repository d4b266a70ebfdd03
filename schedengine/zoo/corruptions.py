"""Corruptions of images in memory, made on the fly: how a network does on what it was not trained for.

Twelve of the fifteen of CIFAR-10-C, in torch, with the parameters of the script that made it (``make_cifar_c.py`` of
github.com/hendrycks/robustness). Left out are ``motion_blur`` and ``snow``, which need ImageMagick, and ``frost``,
which needs photographs; so are the four that are meant for tuning (``speckle_noise``, ``gaussian_blur``, ``spatter``,
``saturate``).

What differs: the random numbers, so that these are not the images of CIFAR-10-C; and brightness is rounded to the
nearest level, where the script cuts it off, which would darken images of few levels. Lengths are pixels, as there, but
shares of the side in ``elastic_transform``: the same blur is worse on an 8x8 image than on a 32x32 one.

Reference: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations",
2019, arXiv 1903.12261.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from schedengine.errors import DataError, did_you_mean
from schedengine.zoo.loader import Images
from schedengine.zoo.seeds import generator

SEVERITIES = (1, 2, 3, 4, 5)
_CHUNK = 1000
"""Images that are floats at a time; what is drawn depends on it."""

Operation: TypeAlias = Callable[[Tensor, Any, Generator], Tensor]
"""(pixels, the severity's parameter, randomness) -> pixels: (N, C, H, W), brightness in [0, 1], clipped afterwards."""


def corrupted(images: Images, name: str, severity: int, seed: int = 0) -> Images:
    """A corrupted copy; the same for the same (images, name, severity, seed), whatever was drawn before.

    Args:
        images: in memory, of any number of channels and any peak.
        name: of ``CORRUPTIONS``.
        severity: of ``SEVERITIES``, 1 (mild) to 5.
        seed: of noise and displacements.

    Returns:
        Images of the same shape, type and peak, with the same labels.

    Raises:
        DataError: no such corruption or severity, or it cannot be done to these images (``applicable``).

    Example:
        >>> flat = Images(torch.full((1, 1, 2, 2), 100, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
        >>> corrupted(flat, "brightness", severity=3).images.unique().tolist()  # 0.15 of 255 more
        [138]
    """
    _check(images, name, severity)
    operation, parameters = _OPERATIONS[name]
    source, made = generator(seed, name, severity), torch.empty_like(images.images)
    for start in range(0, len(images), _CHUNK):
        chosen = slice(start, start + _CHUNK)
        pixels = operation(images.images[chosen].float() / images.peak, parameters[severity - 1], source)
        made[chosen] = (pixels.clamp(0, 1) * images.peak).round().to(made.dtype)
    return Images(made, images.labels.clone(), images.peak)


def applicable(images: Images) -> tuple[str, ...]:
    """The corruptions that can be done to images of this shape, in the order of ``CORRUPTIONS``."""
    return tuple(name for name in CORRUPTIONS if _obstacle(images, name) is None)


def _check(images: Images, name: str, severity: int) -> None:
    if name not in _OPERATIONS:
        raise DataError(f"no corruption is called {name!r}; {did_you_mean(name, CORRUPTIONS)}")
    if severity not in SEVERITIES:
        raise DataError(f"{name}: a severity of {severity}; it is one of 1, 2, 3, 4, 5")
    if (obstacle := _obstacle(images, name)) is not None:
        raise DataError(f"{name}: {obstacle}")


def _obstacle(images: Images, name: str) -> str | None:
    channels, *sides = images.images.shape[1:]
    if name == "jpeg_compression" and channels not in (1, 3):
        return f"the images have {channels} channels; JPEG files have 1 or 3"
    if name in ("defocus_blur", "elastic_transform") and min(sides) < 3:
        return f"the images are {sides[0]}x{sides[1]}; both sides need 3 pixels or more"
    return None


def _gaussian_noise(pixels: Tensor, deviation: float, source: Generator) -> Tensor:
    return pixels + deviation * torch.randn(pixels.shape, generator=source)


def _shot_noise(pixels: Tensor, photons: float, source: Generator) -> Tensor:
    """Full brightness is so many photons, which are counted (Poisson)."""
    return torch.poisson(pixels * photons, generator=source) / photons


def _impulse_noise(pixels: Tensor, share: float, source: Generator) -> Tensor:
    """So many of the values become 0 or 1, either as likely; channels by themselves."""
    is_hit = torch.rand(pixels.shape, generator=source) < share
    return torch.where(is_hit, (torch.rand(pixels.shape, generator=source) < 0.5).float(), pixels)


def _defocus_blur(pixels: Tensor, lens: tuple[float, float], source: Generator) -> Tensor:
    """A disk as the kernel, its edge softened; ``lens``: radius and softness, in pixels."""
    radius, softness = lens
    steps = torch.arange(-2.0, 3.0)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).float()
    edge = torch.exp(-(torch.arange(-1.0, 2.0) ** 2) / (2 * softness**2))
    soft = functional.conv2d(disk[None, None], torch.outer(edge, edge)[None, None], padding=1)
    channels = pixels.shape[1]
    kernel = (soft / soft.sum()).expand(channels, -1, -1, -1)
    return functional.conv2d(functional.pad(pixels, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)


def _glass_blur(pixels: Tensor, glass: tuple[float, int], source: Generator) -> Tensor:
    """Each pixel becomes itself or its neighbour above, to the left or both, some times over; blurred before and after.

    The paper speaks of pixels that are swapped, but the script assigns between views of one array, which copies.
    """
    deviation, rounds = glass
    height, width = pixels.shape[-2:]
    blur = partial(_gaussian, deviation=deviation)
    blurred = _across(pixels, blur)
    for _ in range(rounds):
        up, left = torch.randint(0, 2, (2, len(pixels), height, width), generator=source)
        up[:, :2], left[:, :2], up[:, :, :2], left[:, :, :2] = 0, 0, 0, 0  # the script leaves two rows and columns
        place = (torch.arange(height)[:, None] - up) * width + torch.arange(width) - left
        index = place.flatten(1).unsqueeze(1).expand(-1, pixels.shape[1], -1)
        blurred = blurred.flatten(2).gather(2, index).view_as(pixels)
    return _across(blurred, blur)


def _zoom_blur(pixels: Tensor, steps: int, source: Generator) -> Tensor:
    """The mean of the image and its magnifications by 1, 1.01, 1.02, ..., so many."""
    zoomed = (_across(pixels, partial(_magnified, factor=1 + step / 100)) for step in range(steps))
    return sum(zoomed, start=pixels) / (steps + 1)


def _fog(pixels: Tensor, weather: tuple[float, float], source: Generator) -> Tensor:
    """A fractal is added, and all of it made as bright as the image was; ``weather``: density, decay of the fractal."""
    density, decay = weather
    height, width = pixels.shape[-2:]
    haze = _fractal(len(pixels), max(height, width), decay, source)[:, None, :height, :width]
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    return (pixels + density * haze) * brightest / (brightest + density)


def _brightness(pixels: Tensor, more: float, source: Generator) -> Tensor:
    """Added to the value of HSV, the largest channel; hue and saturation stay, so that black becomes gray."""
    value = pixels.amax(1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, pixels * raised / value, raised)


def _contrast(pixels: Tensor, share: float, source: Generator) -> Tensor:
    """So much is left of the distance from the channel's mean over the image."""
    mean = pixels.mean((2, 3), keepdim=True)
    return mean + share * (pixels - mean)


def _elastic_transform(pixels: Tensor, strain: tuple[float, float, float], source: Generator) -> Tensor:
    """Three corners of a square are moved, then every pixel; ``strain``, in shares of the side: length of the
    displacements, how smooth they are, and how far corners move.
    """
    size = torch.tensor(pixels.shape[-2:])
    length, smoothness, corners = (float(size.min()) * share for share in strain)
    rows, columns = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    grid = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    moved = _sample(pixels, grid.flatten(0, 1) @ _affine(len(pixels), size, corners, source), mirrors_edge=False)
    noise = torch.rand((len(pixels), 2, *size.tolist()), generator=source) * 2 - 1
    shift = length * _across(noise, partial(_gaussian, deviation=smoothness))
    return _sample(moved, (grid[..., :2] + shift.movedim(1, -1)).flatten(1, 2), mirrors_edge=True)


def _pixelate(pixels: Tensor, share: float, source: Generator) -> Tensor:
    """Scaled down to so much of each side, and up again, with a box filter."""

    def there_and_back(size: int) -> Tensor:
        small = max(1, int(size * share))
        return _boxes(size, small) @ _boxes(small, size)

    return _across(pixels, there_and_back)


def _jpeg_compression(pixels: Tensor, quality: int, source: Generator) -> Tensor:
    """By Pillow; torchvision's own files of JPEG are deprecated since 0.29."""
    levels = (pixels * 255).round().to(torch.uint8).movedim(1, -1)
    shape = levels.shape[:3] if levels.shape[-1] == 1 else levels.shape
    read = [_through_jpeg(image, quality) for image in levels.reshape(shape).numpy()]
    return torch.from_numpy(numpy.stack(read)).view(levels.shape).movedim(-1, 1).float() / 255


def _through_jpeg(image: numpy.ndarray[Any, Any], quality: int) -> numpy.ndarray[Any, Any]:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return numpy.array(Image.open(file))


_OPERATIONS: dict[str, tuple[Operation, tuple[Any, Any, Any, Any, Any]]] = {
    "gaussian_noise": (_gaussian_noise, (0.04, 0.06, 0.08, 0.09, 0.10)),
    "shot_noise": (_shot_noise, (500, 250, 100, 75, 50)),
    "impulse_noise": (_impulse_noise, (0.01, 0.02, 0.03, 0.05, 0.07)),
    "defocus_blur": (_defocus_blur, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))),
    "glass_blur": (_glass_blur, ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))),
    "zoom_blur": (_zoom_blur, (7, 12, 16, 21, 26)),
    "fog": (_fog, ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))),
    "brightness": (_brightness, (0.05, 0.1, 0.15, 0.2, 0.3)),
    "contrast": (_contrast, (0.75, 0.5, 0.4, 0.3, 0.15)),
    "elastic_transform": (
        _elastic_transform,
        ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
    ),
    "pixelate": (_pixelate, (0.95, 0.9, 0.85, 0.75, 0.65)),
    "jpeg_compression": (_jpeg_compression, (80, 65, 58, 50, 40)),
}
"""By name: what is done, and its parameter at the severities 1 to 5."""
CORRUPTIONS: tuple[str, ...] = tuple(_OPERATIONS)
"""Names, as in CIFAR-10-C and in its order."""


def _across(pixels: Tensor, matrix: Callable[[int], Tensor]) -> Tensor:
    """What works on rows and columns alike, one after the other; ``matrix``: length of a side -> (new, length)."""
    height, width = pixels.shape[-2:]
    return matrix(height) @ pixels @ matrix(width).T


def _gaussian(size: int, deviation: float) -> Tensor:
    """(size, size): blurs a line; beyond its ends, its mirror image."""
    if deviation == 0:
        return torch.eye(size)
    reach = int(3 * deviation + 0.5)
    steps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-(steps**2) / (2 * deviation**2))
    place = (torch.arange(size)[:, None] + steps) % (2 * size)
    mirrored = torch.minimum(place, 2 * size - 1 - place)
    return torch.zeros(size, size).scatter_add_(1, mirrored, (weights / weights.sum()).expand(size, -1))


def _magnified(size: int, factor: float) -> Tensor:
    """(size, size): the middle of a line, stretched, interpolated linearly."""
    cropped = math.ceil(size / factor)
    grown = round(cropped * factor)
    inner = torch.arange(size) + (grown - size) // 2
    place = (size - cropped) // 2 + inner * (cropped - 1) / max(1, grown - 1)
    return (1 - (place[:, None] - torch.arange(size)).abs()).clamp(min=0)


def _boxes(count: int, size: int) -> Tensor:
    """(count, size): a line in so many cells, each the mean of the pixels whose middle is in it, at least of one."""
    scale = size / count
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) * scale
    distance = (torch.arange(size) + 0.5 - middle[:, None]) / max(1.0, scale)
    is_within = ((distance > -0.5) & (distance <= 0.5)).float()
    return is_within / is_within.sum(1, keepdim=True)


def _fractal(count: int, size: int, decay: float, source: Generator) -> Tensor:
    """(count, side, side), side a power of two from size on: clouds in [0, 1], by diamonds and squares, on a torus."""
    side = 1 << (size - 1).bit_length()
    clouds, step, height = torch.zeros(count, side, side), side, 100.0

    def middle(corners: Tensor) -> Tensor:
        return corners / 4 + height**2 * (torch.rand(corners.shape, generator=source) * 2 - 1)

    while step >= 2:
        half = step // 2
        corners = clouds[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        clouds[:, half::step, half::step] = middle(pairs + pairs.roll(-1, 2))
        middles = clouds[:, half::step, half::step]
        clouds[:, ::step, half::step] = middle(middles + middles.roll(1, 1) + corners + corners.roll(-1, 2))
        clouds[:, half::step, ::step] = middle(middles + middles.roll(1, 2) + corners + corners.roll(-1, 1))
        step, height = half, height / decay
    clouds -= clouds.amin((1, 2), keepdim=True)
    return clouds / clouds.amax((1, 2), keepdim=True).clamp(min=torch.finfo(clouds.dtype).tiny)


def _affine(count: int, size: Tensor, reach: float, source: Generator) -> Tensor:
    """(count, 3, 2): (x, y, 1) in the new image @ it = (x, y) in the old one; three corners moved by up to reach."""
    middle, arm = size.flip(0) // 2, int(size.min()) // 3
    corners = middle + arm * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    moved = corners + reach * (torch.rand((count, 3, 2), generator=source) * 2 - 1)
    found: Tensor = torch.linalg.solve(
        torch.cat([moved, torch.ones(count, 3, 1)], dim=2), corners.expand(count, -1, -1)
    )
    return found


def _sample(pixels: Tensor, places: Tensor, *, mirrors_edge: bool) -> Tensor:
    """Bilinear, at (N, H * W, 2) places (x, y) in pixels; outside, the mirror image, with the edge twice or once."""
    height, width = pixels.shape[-2:]
    size = torch.tensor([width, height])
    scaled = (2 * places + 1) / size - 1 if mirrors_edge else 2 * places / (size - 1) - 1
    grid = scaled.view(-1, height, width, 2)
    return functional.grid_sample(pixels, grid, padding_mode="reflection", align_corners=not mirrors_edge)
