"""Where numbers are computed and in which precision: the device, autocast, the gradient scaler, the memory layout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from schedengine.training.settings import Amp


def best_device() -> torch.device:
    """A GPU where there is one."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def share_of_threads(processes: int) -> int:
    """Of the threads that torch would take, those for each of some processes; at least 1."""
    return max(1, torch.get_num_threads() // processes)


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Compute with so many threads within the block; None for as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Compute:
    """How a loop computes.

    Args:
        device: None for the best there is.
        amp: precision of the forward pass; weights and their updates stay in float32.
        channels_last: memory layout of images and convolutions.

    Attributes:
        scaler: scales the loss of fp16, so that small gradients survive; otherwise it passes everything through.
    """

    def __init__(self, device: torch.device | None = None, amp: Amp = Amp.OFF, *, channels_last: bool = False) -> None:
        self.device = device or best_device()
        self.amp = amp
        self.layout = torch.channels_last if channels_last else torch.preserve_format
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp is Amp.FP16)

    def place_(self, model: nn.Module) -> None:
        """Move a model to the device, in the memory layout."""
        model.to(self.device)
        if self.layout is torch.channels_last:
            model.to(memory_format=torch.channels_last)

    def batches(self, loader: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The loader's images and labels, on the device."""
        for images, labels in loader:
            layout = self.layout if images.dim() == 4 else torch.preserve_format
            yield (
                images.to(self.device, non_blocking=True, memory_format=layout),
                labels.to(self.device, non_blocking=True),
            )

    def autocast(self) -> AbstractContextManager[None]:
        """A forward pass in the chosen precision."""
        dtype = torch.float16 if self.amp is Amp.FP16 else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.amp is not Amp.OFF)
