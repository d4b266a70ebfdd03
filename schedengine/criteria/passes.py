"""Forward passes on the side: a model is looked at, and left as it was."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy
import torch
from torch import Tensor, nn

IS_ASIDE: ContextVar[bool] = ContextVar("is_aside", default=False)
"""Whether the pass that runs is none of the training run's."""


def bare(model: nn.Module) -> nn.Module:
    """The model without DataParallel, DistributedDataParallel and torch.compile around it."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        else:
            return model


def run(model: nn.Module, batch: Any) -> None:
    """One forward pass of the bare model; what it gives is dropped.

    Args:
        batch: inputs, (inputs, targets), or ((input, input), targets) for a model that takes several.
    """
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    bare(model)(*given(batch, place))


def given(batch: Any, place: torch.device) -> tuple[Any, ...]:
    """What a model is called with for a batch.

    Args:
        batch: as of ``run``.
        place: where tensors go.
    """
    inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
    several = inputs if isinstance(inputs, (list, tuple)) else (inputs,)
    return tuple(one.to(place) if isinstance(one, Tensor) else one for one in several)


@contextmanager
def undisturbed(model: nn.Module, data: Iterable[Any] | None = None) -> Iterator[None]:
    """Evaluation mode without gradients; then training flags, buffers and generators are as they were.

    Args:
        data: whose own generators are put back too.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    generators = [(generator, generator.get_state()) for generator in _generators(data)]
    python, arrays = random.getstate(), numpy.random.get_state()
    gpus = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    token = IS_ASIDE.set(True)
    try:
        with torch.random.fork_rng(sorted(gpu.index for gpu in gpus)), torch.no_grad():
            model.eval()
            yield
    finally:
        IS_ASIDE.reset(token)
        random.setstate(python)
        numpy.random.set_state(arrays)
        for generator, state in generators:
            generator.set_state(state)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        for module, mode in modes:
            module.training = mode


def _generators(data: object) -> list[torch.Generator]:
    """Those of a data loader and its sampler, once each."""
    owners = [data, getattr(data, "sampler", None)]
    found = [getattr(owner, "generator", None) for owner in owners]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())
