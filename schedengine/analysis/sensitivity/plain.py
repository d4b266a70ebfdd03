"""The model itself with a cell's weights: what a sweep's numbers are measured against, and the way for any model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from schedengine.selection import ParameterTable
from schedengine.training.evaluate import evaluating


@contextmanager
def replaced(table: ParameterTable, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the block the model has these values; after it, however it ends, the old ones, bit for bit.

    Args:
        table: of the model.
        values: by normalised name, of the parameters' shapes.
    """
    # `.data`: a graph that the user has yet to go backward through must not notice.
    kept = {name: table[name].data.clone() for name in values}
    try:
        for name, value in values.items():
            table[name].data.copy_(value)
        yield
    finally:
        for name, value in kept.items():
            table[name].data.copy_(value)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no autograd within the block; modes and buffers are afterwards as before."""
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        with evaluating(model), torch.no_grad():
            yield
    finally:
        for name, buffer in model.named_buffers():
            before = kept.get(name)
            if before is not None and before.shape == buffer.shape and not _is_same(before, buffer):
                buffer.data.copy_(before)


def _is_same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num()) if one.is_floating_point() else torch.equal(one, other)
