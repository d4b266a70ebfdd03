"""Means over the examples of all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from schedengine.criteria.network import exact
from schedengine.errors import EffectError


class Means:
    """Adds up what batches give, and divides by the number of examples.

    Args:
        sums: zeros, by parameter name, in the dtype to add in.
    """

    def __init__(self, sums: dict[str, Tensor]) -> None:
        self._sums = sums
        device = next(iter(sums.values())).device
        self._counts = torch.zeros(1 + len(sums), dtype=exact(device), device=device)

    @classmethod
    def like(cls, weights: Mapping[str, Tensor]) -> Means:
        """For values of the weights' shapes, in single precision at least."""
        return cls(
            {
                name: torch.zeros_like(one, dtype=torch.promote_types(one.dtype, torch.float32))
                for name, one in weights.items()
            }
        )

    def add_(self, values: Sequence[Tensor | None], examples: int, *, times: int = 1) -> None:
        """Add sums over some examples; None of a parameter that they say nothing about.

        Args:
            values: in the order of the names.
            examples: how many.
            times: what the values are to be multiplied by: ``examples``, where they are means.
        """
        self._counts[0] += examples
        for at, (total, value) in enumerate(zip(self._sums.values(), values, strict=True)):
            if value is not None:
                total.add_(value.to(total.dtype), alpha=times)
                self._counts[at + 1] += 1

    def read(self) -> dict[str, Tensor]:
        """By name, over all ranks; every rank must ask. Nothing of a parameter that no example said anything about.

        Raises:
            EffectError: there was no example.
        """
        if dist.is_available() and dist.is_initialized():
            for one in (self._counts, *self._sums.values()):
                dist.all_reduce(one)
        count, *seen = self._counts.tolist()
        if not count:
            raise EffectError(
                "no cut: the data gave no batch; pass to bind() what can be gone through more than once: a DataLoader "
                "or a list"
            )
        return {name: total / count for (name, total), one in zip(self._sums.items(), seen, strict=True) if one}
