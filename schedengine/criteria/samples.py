"""What single outputs of layers were made of: samples of their inputs, for least squares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from schedengine.errors import SchedEngineError

POSITIONS = 10
"""Outputs sampled of each image, as in He et al. (2017)."""
OVER = 5
"""Samples of a layer for each weight of one of its outputs: so many equations for an unknown, then it is enough."""
MOST_UNKNOWNS = 10_000
"""The largest system that is solved: it has 50,000 equations then, and takes minutes."""


def check_sampled(layer: nn.Module) -> None:
    """Refuse a layer that is not linear in samples of its inputs.

    Raises:
        SchedEngineError: says which can be.
    """
    if not isinstance(layer, (nn.Conv2d, nn.Linear)) or is_parametrized(layer):
        raise SchedEngineError(f"outputs of {type(layer).__name__} are not kept: needs a plain Conv2d or Linear")
    if isinstance(layer, nn.Conv2d) and layer.groups != 1:
        raise SchedEngineError(f"outputs of a convolution with groups ({layer.groups}) are not kept: needs groups=1")
    if unknowns(layer) > MOST_UNKNOWNS:
        raise SchedEngineError(
            f"an output has {unknowns(layer):,} weights; least squares over more than {MOST_UNKNOWNS:,} is not tried"
        )


def unknowns(layer: nn.Module) -> int:
    """How many weights one output of a layer has."""
    assert isinstance(layer.weight, Tensor)
    return layer.weight[0].numel()


class Samples:
    """Inputs of some outputs of each layer, drawn by the layer's name: a linear layer's (one of each image, or of each
    token), or ``POSITIONS`` places of each image for a convolution, until there are ``OVER`` for each unknown.
    """

    def __init__(self) -> None:
        self._wanted: dict[str, int] = {}
        self._rows: dict[str, list[Tensor]] = {}

    def layer_ran(self, name: str, layer: nn.Module, given: Tensor, made: Tensor) -> None:
        """Take samples, unless there are enough.

        Raises:
            SchedEngineError: the layer is not linear in them.
        """
        if self._wanted.get(name) != OVER * unknowns(layer):
            check_sampled(layer)
            self._wanted[name] = OVER * unknowns(layer)
            self._rows[name] = [rows for rows in self._rows.get(name, []) if rows.shape[1] == unknowns(layer)]
        missing = self._wanted[name] - self._count(name)
        if missing > 0:
            generator = _generator(f"{name}/{self._count(name)}")
            rows = _patches(layer, given, made, generator) if isinstance(layer, nn.Conv2d) else given.flatten(0, -2)
            self._rows[name].append(rows[:missing].clone())

    def norm_ran(self, name: str, is_training: bool, made: Tensor) -> None:
        """Nothing: inputs are what counts here."""

    def _count(self, name: str) -> int:
        return sum(len(rows) for rows in self._rows.get(name, []))

    @property
    def is_full(self) -> bool:
        """Whether every layer that ran has enough."""
        return all(self._count(name) >= wanted for name, wanted in self._wanted.items())

    def read(self) -> dict[str, Tensor]:
        """(samples, weights of an output) of every layer that ran; weights in the order of the flattened filter."""
        return {name: torch.cat([one.to(rows[0]) for one in rows]) for name, rows in self._rows.items() if rows}

    def state_dict(self) -> dict[str, Any]:
        """Of this rank."""
        return {name: list(rows) for name, rows in self._rows.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._rows = {name: list(rows) for name, rows in state.items()}


def _patches(layer: nn.Conv2d, given: Tensor, made: Tensor, generator: torch.Generator) -> Tensor:
    """(images * POSITIONS, in * kh * kw): what the filters saw where ``POSITIONS`` outputs of each image were made."""
    images = given if given.dim() == 4 else given[None]
    height, width = made.shape[-2:]
    spots = torch.randint(height * width, (len(images), POSITIONS), generator=generator).to(given.device)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padded = functional.pad(images, layer._reversed_padding_repeated_twice, mode=mode)
    rows = _reach(spots // width, layer, 0)[..., :, None]
    columns = _reach(spots % width, layer, 1)[..., None, :]
    image = torch.arange(len(images), device=given.device)[:, None, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 1, 4, 2, 3).flatten(2).flatten(0, 1)


def _reach(spots: Tensor, layer: nn.Conv2d, dim: int) -> Tensor:
    """Along one dimension of the padded inputs, what the outputs at some places see: one more dimension, the kernel."""
    taps = torch.arange(layer.kernel_size[dim], device=spots.device) * layer.dilation[dim]
    return spots[..., None] * layer.stride[dim] + taps


def _generator(key: str) -> torch.Generator:
    digest = hashlib.sha256(key.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
