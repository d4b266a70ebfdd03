"""What a thinning did: the record of an event, kept for reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schedengine.export.apply import Verification
from schedengine.export.thin import Thinning


@dataclass(frozen=True)
class Thinned:
    """What one thinning did.

    Args:
        epoch, step: when; step None at the beginning of the epoch, or (``is_end``) at its end.
        parameters: of the model, before and after.
        shapes: of each parameter that got smaller, before and after.
        refused: what could go by its values and stays, and why.
        difference: of the outputs of the thinned network and the masked one on random inputs, over the largest output.
        settling: by how much, likewise, setting the shifts of dead filters to 0 had changed the masked one before; 0
            where they were masked since the cut.
    """

    epoch: int
    step: int | None
    is_end: bool
    parameters: tuple[int, int]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    refused: tuple[str, ...]
    difference: float
    settling: float

    def plain(self) -> dict[str, Any]:
        """For a state dict: plain values."""
        shapes = {name: [list(before), list(after)] for name, (before, after) in self.shapes.items()}
        return {**vars(self), "parameters": list(self.parameters), "shapes": shapes, "refused": list(self.refused)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Thinned:
        """Read what ``plain`` gave."""
        shapes = {name: (tuple(before), tuple(after)) for name, (before, after) in plain["shapes"].items()}
        return cls(
            **{**plain, "parameters": tuple(plain["parameters"]), "shapes": shapes, "refused": tuple(plain["refused"])}
        )


def record(found: Thinning, verified: Verification, epoch: int, step: int | None, *, is_end: bool) -> Thinned:
    """A thinning as an event."""
    return Thinned(
        epoch,
        step,
        is_end,
        found.parameters,
        {one.name: (one.before, one.after) for one in found.slices},
        tuple(f"{one.layers}: {one.reason}" for one in found.refused),
        verified.error / (verified.largest or 1.0),
        verified.settling / (verified.largest or 1.0),
    )
