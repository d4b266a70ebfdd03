"""What every learning-rate schedule is told, and what it answers.

A schedule is told the time and what the optimizer's parameter groups began with; it answers with the values they should
have now. It keeps nothing between two questions, so it can be drawn before the run, stretched, and resumed anywhere.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

from schedengine.errors import SchedEngineError
from schedengine.progress import Time

HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Clock:
    """The time that a schedule reads, in ticks: optimizer steps or epochs, as its policy counts them.

    Args:
        elapsed: ticks since the clock's start, >= 0.
        total: ticks in the clock's span; None if unknown. Tick ``total`` itself lies outside.
        per_epoch: ticks in an epoch: 1 if ticks are epochs, the steps per epoch if they are steps.
    """

    elapsed: int
    total: int | None = None
    per_epoch: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        assert self.elapsed >= 0

    @property
    def span(self) -> int:
        """``total``, where it must be known.

        Raises:
            SchedEngineError: it is not.
        """
        if self.total is None:
            raise SchedEngineError(
                "the schedule depends on the length of the run, which is unknown; give --epochs, or write phases"
            )
        return self.total

    def ticks(self, time: Time) -> int:
        """A length or place of the file in ticks, halves rounded up; steps count as ticks.

        Raises:
            SchedEngineError: a share of a span of unknown length.
        """
        if time.unit == "st":
            return int(time.amount)
        ticks = self.span * time.amount / 100 if time.unit == "%" else self.per_epoch * time.amount
        return math.floor(ticks + HALF)

    def progress(self, start: int = 0) -> float:
        """How much of the ticks from ``start`` to the end of the span has passed, in [0, 1]; 1 from the end on."""
        return (self.elapsed - start) / (self.span - start) if self.elapsed < self.span else 1.0


@dataclass(frozen=True)
class Group:
    """The hyper-parameters that one parameter group of the optimizer began with.

    Args:
        lr: >= 0.
        momentum: None if the optimizer has none.
        betas: None unless the optimizer has them (Adam); the first one is its momentum.
    """

    lr: float
    momentum: float | None = None
    betas: tuple[float, ...] | None = None


class LearningRate(ABC):
    """What a parameter group's learning rate should be at a time.

    Attributes:
        unit: what a tick is unless the policy says otherwise: ``st`` optimizer steps, ``ep`` epochs.
    """

    unit: ClassVar[Literal["ep", "st"]]

    @property
    def needs_total(self) -> bool:
        """Whether the clock must know its ``total``."""
        return False

    @abstractmethod
    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """The hyper-parameters at a time; the same arguments always give the same numbers.

        Args:
            clock: the time.
            groups: all parameter groups, in the optimizer's order.

        Returns:
            For each group ``lr``, and ``momentum`` or ``betas`` where the schedule cycles them.

        Raises:
            SchedEngineError: the schedule does not fit these groups, or is over, or needs a length that is not known.
        """
