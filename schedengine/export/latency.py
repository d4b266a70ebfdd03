"""How long forward passes take, side by side on this machine, for a ratio: nothing else of it is worth keeping."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from schedengine.export.forward import Inputs, leaves, run

_WARM_UP = 3
_LEAST = 5


@dataclass(frozen=True)
class Latency:
    """Of one forward pass, in milliseconds.

    Attributes:
        median: of the passes.
        lower, upper: quartiles.
        passes: how many were measured.
    """

    median: float
    lower: float
    upper: float
    passes: int


def latency(models: Mapping[str, nn.Module], inputs: Inputs, *, seconds: float = 2.0) -> dict[str, Latency]:
    """Measure networks turn by turn (a, b, a, b, ...), so that what else the machine does falls on all alike.

    Args:
        models: by name; each where it is, in evaluation mode while measured, without gradients.
        inputs: what each is called with, on its device.
        seconds: that all passes together take, about; at least 5 passes a network are made besides 3 for warming up.

    Returns:
        Name -> latency.
    """
    taken: dict[str, list[float]] = {name: [] for name in models}
    with _evaluating(models), torch.inference_mode():
        for _ in range(_WARM_UP):
            for model in models.values():
                run(model, inputs)
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or any(len(one) < _LEAST for one in taken.values()):
            for name, model in models.items():
                taken[name].append(_milliseconds(model, inputs))
    return {name: _summary(times) for name, times in taken.items()}


def _milliseconds(model: nn.Module, inputs: Inputs) -> float:
    is_cuda = any(one.is_cuda for one in leaves(inputs))
    if is_cuda:
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run(model, inputs)
    if is_cuda:
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begin)


def _summary(times: list[float]) -> Latency:
    lower, median, upper = statistics.quantiles(times, n=4, method="inclusive")
    return Latency(median, lower, upper, len(times))


@contextmanager
def _evaluating(models: Mapping[str, nn.Module]) -> Iterator[None]:
    modes = [(module, module.training) for model in models.values() for module in model.modules()]
    for model in models.values():
        model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
