"""What is taken for granted of a run where nobody says, and how long a run may be to be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedengine.errors import SchedEngineError

if TYPE_CHECKING:
    import torch

STEPS_PER_EPOCH = 100
LR = 0.1
EPOCHS = 100
"""Of a run whose policies name no end."""
LONGEST = 100_000
"""Epochs. What happens in a run is listed epoch by epoch."""


def check_length(epochs: int) -> None:
    """Whether a run is short enough to be looked at.

    Raises:
        SchedEngineError: it is not.
    """
    if epochs > LONGEST:
        raise SchedEngineError(f"a run of {epochs:,} epochs; up to {LONGEST:,} can be looked at epoch by epoch")


@contextmanager
def unchanged_groups(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Binding notes in the parameter groups what they began with, and adds groups for what is learned; a look must
    not."""
    groups = list(optimizer.param_groups)
    before = [set(group) for group in groups]
    try:
        yield
    finally:
        optimizer.param_groups[:] = groups
        for group, keys in zip(groups, before, strict=True):
            for key in group.keys() - keys:
                del group[key]
