"""Connected components."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def components(count: int, pairs: Sequence[Tensor]) -> Tensor:
    """For every item the smallest item that it is tied to, directly or through others.

    Args:
        count: items are 0 .. count - 1.
        pairs: (2, n) each: items that belong together.

    Returns:
        int64 (count,).

    Example:
        >>> components(5, [torch.tensor([[4, 1], [2, 4]])])
        tensor([0, 1, 1, 3, 1])
    """
    smallest = torch.arange(count)
    if not pairs:
        return smallest
    one, other = torch.cat(list(pairs), dim=1)
    while True:
        before = smallest.clone()
        least = torch.minimum(smallest[one], smallest[other])
        for ends in (one, other):
            # Roots learn of each other too, so that long chains are a matter of few rounds.
            smallest.scatter_reduce_(0, smallest[ends].clone(), least, "amin")
            smallest.scatter_reduce_(0, ends, least, "amin")
        smallest = smallest[smallest]
        if torch.equal(smallest, before):
            return smallest
