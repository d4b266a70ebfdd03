"""What layers' outputs are, added up while the model runs; nothing waits for the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from schedengine.criteria.base import Activations

_Slot = tuple[bool, bool]  # after the normalisation, in training mode


@dataclass
class _Sums:
    """Of one layer, on one device. ``zeros`` and ``total``: (channels,)."""

    count: int
    zeros: Tensor
    total: Tensor

    @classmethod
    def none(cls, channels: int, device: torch.device) -> _Sums:
        exact = torch.float32 if device.type == "mps" else torch.float64
        shape = (channels,)
        return cls(
            0, torch.zeros(shape, dtype=torch.int64, device=device), torch.zeros(shape, dtype=exact, device=device)
        )

    def to_(self, device: torch.device) -> _Sums:
        """Where the outputs are: sums of a checkpoint were on the device that it was loaded to."""
        self.zeros, self.total = self.zeros.to(device), self.total.to(device)
        return self

    def add_(self, made: Tensor, channel: int) -> None:
        others = [dim for dim in range(made.dim()) if dim != channel % made.dim()]
        channels = made.shape[channel]
        self.count += made.numel() // channels if channels else 0
        if not others:  # one value of each channel: a linear layer without a batch
            made, others = made[None], [0]
        self.zeros += (made <= 0).sum(others)
        self.total += made.clamp_min(0).sum(others, dtype=self.total.dtype)


class Statistics:
    """Sums of layers' outputs: of the last evaluation's passes, and of all training passes.

    Outputs are counted as the layer makes them until a normalisation is seen to take them, and after it from then on.
    An evaluation begins anew with the first pass after a training pass. A replica of the model has sums of its own
    where it has a device of its own.

    Channels are dimension 1 of the outputs of a convolution (B, C, ...), the last of those of a linear layer
    (B, ..., C).
    """

    def __init__(self) -> None:
        self._channel: dict[str, int] = {}
        self._sums: dict[tuple[str, _Slot, str], _Sums] = {}
        self._followed: set[str] = set()

    def layer_ran(self, name: str, layer: nn.Module, given: Tensor, made: Tensor) -> None:
        """Add outputs that no normalisation is known to take."""
        del given
        assert isinstance(layer.weight, Tensor)
        self._channel[name] = 1 - layer.weight.dim()  # from the end: whether there is a batch or not
        if name not in self._followed:
            self._add(name, (False, layer.training), made)

    def norm_ran(self, name: str, is_training: bool, made: Tensor) -> None:
        """Add outputs after the normalisation that takes them."""
        self._followed.add(name)
        self._add(name, (True, is_training), made)

    def _add(self, name: str, slot: _Slot, made: Tensor) -> None:
        place, channel = str(made.device), self._channel[name]
        if slot[1]:
            for is_after in (False, True):
                self._sums.pop((name, (is_after, False), place), None)
        key = (name, slot, place)
        if key not in self._sums or self._sums[key].zeros.numel() != made.shape[channel]:  # anew where thinned
            self._sums[key] = _Sums.none(made.shape[channel], made.device)
        self._sums[key].to_(made.device).add_(made, channel)

    def read(self, weights: Mapping[str, tuple[int, torch.device]]) -> dict[str, Activations]:
        """What was seen, over all ranks; every rank must ask. Nothing of a layer that did not run.

        Args:
            weights: by parameter name, the channels of the layer's outputs, and where to put them.
        """
        found = {}
        for name, (channels, device) in weights.items():
            slots = [self._slot(name, slot, channels, device) for slot in _PREFERRED]
            if dist.is_available() and dist.is_initialized():
                slots = _all_reduced(slots)
            seen = next((one for one in slots if one.count), None)
            if seen is not None:
                found[name] = Activations(seen.count, seen.zeros, seen.total)
        return found

    def _slot(self, name: str, slot: _Slot, channels: int, device: torch.device) -> _Sums:
        whole = _Sums.none(channels, device)
        for (other, where, _), part in self._sums.items():
            if (other, where) == (name, slot) and part.zeros.numel() == channels:
                whole.count += part.count
                whole.zeros += part.zeros.to(device)
                whole.total += part.total.to(device)
        return whole

    def state_dict(self) -> list[list[Any]]:
        """Of this rank."""
        return [
            [name, *slot, place, sums.count, sums.zeros, sums.total] for (name, slot, place), sums in self._sums.items()
        ]

    def load_state_dict(self, state: Iterable[list[Any]]) -> None:
        """Restore what ``state_dict`` gave."""
        self._sums = {
            (name, (after, training), place): _Sums(count, zeros.clone(), total.clone())
            for name, after, training, place, count, zeros, total in state
        }
        self._followed = {name for name, (is_after, _), _ in self._sums if is_after}


_PREFERRED: tuple[_Slot, ...] = ((True, False), (True, True), (False, False), (False, True))


def _all_reduced(slots: list[_Sums]) -> list[_Sums]:
    """The sums of all ranks, in one operation; whole numbers are exact up to 2**53."""
    counts = [torch.tensor([one.count], dtype=torch.float64, device=one.total.device) for one in slots]
    parts = [part for count, one in zip(counts, slots) for part in (count, one.zeros.double(), one.total.double())]
    flat = torch.cat(parts)
    dist.all_reduce(flat)
    whole = torch.split(flat, [len(part) for part in parts])
    return [
        _Sums(int(whole[at]), whole[at + 1].long(), whole[at + 2].to(one.total.dtype))
        for at, one in zip(range(0, len(whole), 3), slots)
    ]
