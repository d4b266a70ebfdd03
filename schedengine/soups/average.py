"""Means of tensors by name, and of what optimizers remember.

Taken in float64 on the CPU, as the first plus the mean distance from it. Equal values are their own mean, bit
for bit in every dtype (infinite ones too, as in a causal mask), and what is 0 everywhere stays 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from schedengine.errors import SchedEngineError


def average(candidates: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several states of one network: parameters, batch-norm statistics, counters.

    Whole numbers (``num_batches_tracked``) are rounded, halves up; flags must agree.

    Args:
        candidates: at least one; values by name, of the same names and shapes.

    Returns:
        On the CPU, in the dtypes of the first.

    Raises:
        SchedEngineError: names or shapes differ, or a flag does.

    Example:
        >>> average([{"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([0.0, 2.0])}])
        {'w': tensor([0.0000, 1.5000])}
    """
    first = candidates[0]
    for other in candidates[1:]:
        wrong = [name for name in first if name not in other or other[name].shape != first[name].shape]
        wrong += sorted(other.keys() - first.keys())
        if wrong:
            raise SchedEngineError(
                f"{wrong[0]!r} is missing in one of the networks, or misshapen: they are no replicas"
            )
    return {name: _mean([one[name].detach().cpu() for one in candidates], name) for name in first}


def average_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of what several optimizers remember (momentum, second moments, step counts), of one set of parameters.

    The mean velocity is that of the mean network. Rates and other settings are those of the last one.

    Args:
        states: as ``optimizer.state_dict()`` gives them.
    """
    entries = [one["state"] for one in states]
    found = {key: _entry([one[key] for one in entries if key in one], key) for key in entries[-1]}
    return {**states[-1], "state": found}


def _entry(entries: Sequence[Mapping[str, Any]], key: object) -> dict[str, Any]:
    """Of one parameter."""
    last = entries[-1]
    return {
        name: _mean([one[name].detach().cpu() for one in entries], f"{key}.{name}").to(value.device)
        if isinstance(value, Tensor)
        else value
        for name, value in last.items()
    }


def _mean(values: Sequence[Tensor], name: str) -> Tensor:
    first = values[0]
    if first.dtype == torch.bool:
        if any(not torch.equal(first, other) for other in values[1:]):
            raise SchedEngineError(f"{name!r} holds flags, which differ between the networks and have no average")
        return first.clone()
    wide = torch.complex128 if first.is_complex() else torch.float64
    start = first.to(wide)
    distance = torch.stack([other.to(wide) - start for other in values]).sum(0) / len(values)
    mean = start + distance
    if not first.is_floating_point() and not first.is_complex():
        mean = (mean + 0.5).floor()
    is_same = torch.stack([other == first for other in values]).all(0)
    return torch.where(is_same, first, mean.to(first.dtype))
