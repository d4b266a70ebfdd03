"""What is taken for granted of a run where nobody says, and how long a run may be to be looked at."""

from __future__ import annotations

from schedengine.errors import SchedEngineError

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
