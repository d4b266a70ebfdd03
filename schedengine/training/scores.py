"""What a network scores on each split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.training.evaluate import Evaluation

Scores = Mapping[str, Evaluation | None]
"""Split -> evaluation; None where the data have no such split."""


def to_plain(scores: Scores | None) -> dict[str, Any] | None:
    """For a file; ``from_plain`` reads it back."""
    if scores is None:
        return None
    return {split: found.plain() if found else None for split, found in scores.items()}


def from_plain(plain: Mapping[str, Any] | None) -> Scores | None:
    """Read what ``to_plain`` gave."""
    if plain is None:
        return None
    return {split: Evaluation(**found) if found else None for split, found in plain.items()}
