"""Pictures of any kind -> one uint8 tensor in memory, decoded once by a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor

from schedengine.errors import DataError

_CHUNK = 256
_GRAY = {"1", "L"}


def stack(count: int, read: Callable[[int], Image.Image], name: Callable[[int], str], size: int | None) -> Tensor:
    """All pictures in one tensor.

    Args:
        count: how many there are, at least one.
        read: the picture with this number; called from several threads.
        name: what a message calls the picture with this number.
        size: cut to a centred square and scaled to this many pixels; None leaves pictures as they are.

    Returns:
        (count, C, H, W) uint8; one channel if all pictures are gray, else three.

    Raises:
        DataError: a picture that cannot be decoded, sizes that differ, more than the memory holds.
    """
    first = _pixels(read, name, 0, size)[0].shape
    _check_memory(count * first[0] * first[1] * 3)
    out = numpy.empty((count, *first), dtype=numpy.uint8)

    def fill(start: int) -> bool:
        is_gray = True
        for number in range(start, min(start + _CHUNK, count)):
            pixels, gray = _pixels(read, name, number, size)
            if pixels.shape != first:
                raise DataError(
                    f"{name(number)} has {_size(pixels.shape)} pixels, {name(0)} has {_size(first)}; "
                    "give --image-size N to bring them to one"
                )
            out[number] = pixels
            is_gray = is_gray and gray
        return is_gray

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        all_gray = all(list(threads.map(fill, range(0, count, _CHUNK))))
    images = torch.from_numpy(out).permute(0, 3, 1, 2)
    return (images[:, :1] if all_gray else images).contiguous()


def _pixels(
    read: Callable[[int], Image.Image], name: Callable[[int], str], number: int, size: int | None
) -> tuple[numpy.typing.NDArray[numpy.uint8], bool]:
    """(H, W, 3), and whether the picture is gray."""
    try:
        picture = read(number)
        is_gray = picture.mode in _GRAY
        if picture.mode[0] in "IF":
            raise DataError(f"{name(number)} has {picture.mode} pixels; convert it to 8 bits a channel")
        picture = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:  # what Pillow raises on damage
        raise DataError(f"{name(number)} cannot be decoded: {problem}") from problem
    if size is not None and picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    return numpy.asarray(picture), is_gray


def _check_memory(needed: int) -> None:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not known on this system
        return
    if needed > memory / 2:
        raise DataError(
            f"the images need {needed / 2**30:.1f} GiB of the {memory / 2**30:.1f} GiB of memory; "
            "take a smaller --image-size, or write package.module:factory with a Dataset that reads them as needed"
        )


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"
