"""Augmentation of whole batches: shifted crops and mirror images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Every image shifted by up to ``shift`` pixels along each axis (black comes in), and mirrored half of the time.

    For ``shift=4, flip=True`` and 32x32 images it is the usual one of CIFAR: pad by 4, crop at random, flip.

    Args:
        shift: pixels, 0 or more.
        flip: whether a mirror image shows the same class.
    """

    shift: int
    flip: bool

    @classmethod
    def usual(cls, shape: tuple[int, ...]) -> Augmentation:
        """An eighth of the height (4 pixels of 32, 1 of 8), and mirror images if in colour. ``shape``: (C, H, W)."""
        return cls(shape[1] // 8, shape[0] == 3)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random numbers for ``count`` images: (count, 3) int64; rows, columns, and whether to mirror."""
        offsets = torch.randint(0, 2 * self.shift + 1, (count, 2), generator=generator)
        return torch.cat([offsets, torch.randint(0, 1 + self.flip, (count, 1), generator=generator)], dim=1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """The images, shifted and mirrored.

        Args:
            images: (B, C, H, W), any dtype; 0 is black.
            draws: (B, 3), of ``draw``; offsets of ``shift`` leave an image in its place.

        Returns:
            (B, C, H, W), a new tensor.
        """
        batch, channels, height, width = images.shape
        padded = functional.pad(images, [self.shift] * 4)
        rows = draws[:, 0, None] + torch.arange(height)
        columns = draws[:, 1, None] + torch.arange(width)
        columns = torch.where(draws[:, 2, None].bool(), columns.flip(1), columns)
        # Indexing with four index tensors does the same, and takes four times as long.
        places = (rows[:, :, None] * padded.shape[3] + columns[:, None, :]).view(batch, 1, -1)
        return padded.flatten(2).gather(2, places.expand(batch, channels, -1)).view_as(images)
