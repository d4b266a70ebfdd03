"""Zeros, counted in the weights as they are: what a mask claims is not asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from schedengine.selection import DEFAULT_TYPES, ParameterTable


@dataclass(frozen=True)
class Count:
    """Zeros of one parameter.

    Args:
        parameter: normalised name.
        weights: how many it had before any thinning.
        zeros: how many of them are 0, or were removed.
    """

    parameter: str
    weights: int
    zeros: int

    @property
    def sparsity(self) -> float:
        """Fraction of its weights that is 0."""
        return self.zeros / self.weights


def prunable(table: ParameterTable, selected: Iterable[str] = ()) -> list[str]:
    """The weights of Conv and Linear modules, and whatever else pruners selected, in the model's order."""
    wanted = {*table.of_types(DEFAULT_TYPES), *selected}
    return [name for name in table.names if name in wanted]


def count_zeros(table: ParameterTable, names: Sequence[str], sizes: Mapping[str, int] | None = None) -> list[Count]:
    """Count every named parameter, waiting for the device once.

    Args:
        sizes: how many weights each had before any thinning; default: what it has.
    """
    if not names:
        return []
    remaining = torch.stack([table[name].detach().count_nonzero() for name in names]).tolist()
    before = [table[name].numel() if sizes is None else sizes[name] for name in names]
    return [Count(name, size, size - kept) for name, size, kept in zip(names, before, remaining, strict=True)]


def share_of_zeros(counts: Iterable[Count], names: Iterable[str] | None = None) -> float:
    """Fraction of all weights of these parameters that is 0; 0 where there is none.

    Args:
        names: those that count; None for all.
    """
    wanted = None if names is None else set(names)
    chosen = [count for count in counts if wanted is None or count.parameter in wanted]
    weights = sum(count.weights for count in chosen)
    return sum(count.zeros for count in chosen) / weights if weights else 0.0
