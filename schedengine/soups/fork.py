"""A stretch of a run that several copies of the network go through, placed on the time axis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from schedengine.soups.recipes import Recipe, Uniform


@dataclass(frozen=True)
class Fork:
    """One repeat of a phase with replicas.

    Args:
        phase: its name.
        repeat: which of its repeats in the run, from 0.
        start, stop: epochs of the run; stop exclusive, of the longest replica.
        replicas: how many copies, >= 1.
        seeds: of each; empty for the usual ones.
        weight_decays: of the optimizer's first parameter group, of each; empty for the same.
        epochs: of each; empty for the same.
        factors: how many times the usual learning rate, of each; empty for the same.
        recipe: which of them are averaged.
        masks: shared, or reprune: each replica has its own, and the average is cut again.
        optimizer: average, or reset, of what the optimizers remember.
        batches: that batch-norm statistics of an average are estimated from; None for one pass over the data, 0 for
            not at all.
    """

    phase: str
    repeat: int
    start: int
    stop: int
    replicas: int
    seeds: tuple[int, ...] = ()
    weight_decays: tuple[float, ...] = ()
    epochs: tuple[int, ...] = ()
    factors: tuple[float, ...] = ()
    recipe: Recipe = field(default_factory=Uniform)
    masks: Literal["shared", "reprune"] = "shared"
    optimizer: Literal["average", "reset"] = "average"
    batches: int | None = None

    @property
    def title(self) -> str:
        """For messages and for names of files: the phase, and which of its repeats, from 1."""
        return f"{self.phase}-{self.repeat + 1}"

    def stop_of(self, replica: int) -> int:
        """The epoch of the run after a replica's last one."""
        return self.start + self.epochs[replica] if self.epochs else self.stop

    def factor_of(self, replica: int) -> float:
        """How many times the usual learning rate a replica has."""
        return self.factors[replica] if self.factors else 1.0
