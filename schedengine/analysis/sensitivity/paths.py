"""How the cells of a sweep are computed: how many images at a time, in which layout and precision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

_BATCHES = (16, 32, 64, 128)
_BUDGET = 1.0  # seconds, roughly, that the choice of a path takes


@dataclass(frozen=True)
class Path:
    """One way to compute. Correct counts do not depend on it (but for bfloat16); the last bits of a loss do.

    Args:
        batch: images at a time, 1 or more; a loader's larger batches are cut.
        channels_last: memory layout of images and of folded weights.
        fold: batch normalisations into the convolutions before them.
        bfloat16: compute in bfloat16 where autocast does; counts then differ a little from those of the plain model.
    """

    batch: int
    channels_last: bool = False
    fold: bool = True
    bfloat16: bool = False

    @property
    def layout(self) -> torch.memory_format:
        """Of four-dimensional tensors."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def precision(self, device: torch.device) -> AbstractContextManager[None]:
        """A context to compute in."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16)

    def cut(self, images: Tensor) -> Iterator[Tensor]:
        """The images in the path's layout, in parts of about equal size, ``batch`` or one more at most.

        A part has two images at least, and a lone image comes twice: strides are ambiguous where there is one, and so
        is which values share memory.
        """
        if len(images) == 1:
            images = images.expand(2, *images.shape[1:])
        for part in images.tensor_split(min(-(-len(images) // self.batch), len(images) // 2)):
            yield part.contiguous(memory_format=self.layout) if part.dim() == 4 else part


def choose(images: Tensor, attempt: Callable[[Path], Callable[[Tensor], object]]) -> Path:
    """The fastest of a few, by trying them for about a second.

    Args:
        images: (B, ...) of a batch; no path takes more at a time.
        attempt: a path -> what runs the network on images that the path has cut.
    """
    layouts = (False, True) if images.dim() == 4 else (False,)
    runs = {layout: attempt(Path(len(images), layout)) for layout in layouts}
    start, speed = time.perf_counter(), {}
    for batch in sorted({min(batch, len(images)) for batch in _BATCHES}):
        for layout in layouts:
            path = Path(batch, layout)
            part = next(path.cut(images[:batch]))
            speed[path] = _seconds(lambda: runs[layout](part)) / batch  # noqa: B023
        if time.perf_counter() - start > _BUDGET / 2:
            break
    return min(speed, key=speed.__getitem__)


def _seconds(run: Callable[[], object]) -> float:
    """Of the fastest of three runs after one that warms up."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        found = run()
        if isinstance(found, Tensor):
            found.flatten()[0].item()  # waits for the device
        times.append(time.perf_counter() - start)
    return min(times[1:])
