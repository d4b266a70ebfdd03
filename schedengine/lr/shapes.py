"""Our own schedules: a body (constant, linear, cosine, step, polynomial) after an optional warm-up.

With n ticks in the span and w of them warm-up, lr(0) = 0 if w > 0, lr(w) = ``from``, and the body has progress
(t - w) / (n - w), so that it would reach ``to`` at tick n, which is never run.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.progress import Time, TimeField
from schedengine.registry import SPEC

Rate = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, config=SPEC)
class Shape(LearningRate):
    """A body after a warm-up.

    Rates are the first parameter group's; the others keep the ratio to it that they began with.

    Args:
        from_: rate at the start of the body, >= 0; None for the first group's initial rate.
        warmup: length of the rise from 0 to ``from``, or a share of the span; None for no warm-up.
        warmup_shape: ``linear``, or ``cosine`` (half a wave: flat at both ends).

    Attributes:
        is_spanning: whether the body stretches to the end of the span, so that its length must be known.
    """

    unit: ClassVar[Literal["ep", "st"]] = "st"
    is_spanning: ClassVar[bool] = True

    from_: Rate | None = None
    warmup: TimeField | None = None
    warmup_shape: Literal["linear", "cosine"] = "linear"

    @property
    def needs_total(self) -> bool:
        """Whether the body stretches to the end of the span, or a time is a share of it."""
        return self.is_spanning or any(time.unit == "%" for time in self.times())

    def times(self) -> Sequence[Time]:
        """Every time that the file gives."""
        return () if self.warmup is None else (self.warmup,)

    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        first = groups[0].lr
        rate = self.rate(clock, first)
        if len(groups) == 1:
            return [{"lr": rate}]
        if first == 0:
            raise SchedEngineError(
                "the first parameter group's initial learning rate is 0, so that the other groups have no ratio to it; "
                "give it a positive one"
            )
        return [{"lr": rate * (group.lr / first)} for group in groups]

    def rate(self, clock: Clock, base: float) -> float:
        """The first group's rate.

        Args:
            clock: the time.
            base: the first group's initial rate, which stands in for ``from``.
        """
        peak = base if self.from_ is None else self.from_
        start = self.warmup_ticks(clock)
        if clock.elapsed >= start:
            return self.body(peak, clock, start)
        share = clock.elapsed / start
        return peak * (share if self.warmup_shape == "linear" else (1 - math.cos(math.pi * share)) / 2)

    def warmup_ticks(self, clock: Clock) -> int:
        """Ticks of warm-up.

        Raises:
            SchedEngineError: more than the span has.
        """
        ticks = 0 if self.warmup is None else clock.ticks(self.warmup)
        if clock.total is not None and ticks > clock.total:
            raise SchedEngineError(
                f"a warm-up of {ticks} ticks does not fit into a span of {clock.total}; shorten it, "
                "or write a share (10%)"
            )
        return ticks

    @abstractmethod
    def body(self, peak: float, clock: Clock, start: int) -> float:
        """The first group's rate after the warm-up.

        Args:
            peak: the rate at the start of the body.
            clock: the time, counted from the start of the span.
            start: the tick at which the body begins.
        """


@dataclass(frozen=True, config=SPEC)
class Constant(Shape):
    """The same rate throughout."""

    is_spanning: ClassVar[bool] = False

    def body(self, peak: float, clock: Clock, start: int) -> float:
        del clock, start
        return peak


@dataclass(frozen=True, config=SPEC)
class Linear(Shape):
    """A straight line from ``from`` to ``to``.

    Args:
        to: rate at the end of the span, >= 0.
    """

    to: Rate = 0.0

    def body(self, peak: float, clock: Clock, start: int) -> float:
        return self.to + (peak - self.to) * (1 - clock.progress(start))


@dataclass(frozen=True, config=SPEC)
class Cosine(Shape):
    """Half a cosine wave from ``from`` to ``to``, without restarts.

    Args:
        to: rate at the end of the span, >= 0.

    Reference: Loshchilov and Hutter, 2017, SGDR, arXiv 1608.03983.
    """

    to: Rate = 0.0

    def body(self, peak: float, clock: Clock, start: int) -> float:
        return self.to + (peak - self.to) * (1 + math.cos(math.pi * clock.progress(start))) / 2


@dataclass(frozen=True, config=SPEC)
class Polynomial(Shape):
    """``to + (from - to) (1 - progress)^power``.

    Args:
        to: rate at the end of the span, >= 0.
        power: > 0; 1 is a straight line.

    Reference: Chen, Papandreou, Kokkinos, Murphy and Yuille, 2016, DeepLab (the "poly" policy), arXiv 1606.00915.
    """

    to: Rate = 0.0
    power: Positive = 1.0

    def body(self, peak: float, clock: Clock, start: int) -> float:
        return float(self.to + (peak - self.to) * (1 - clock.progress(start)) ** self.power)


@dataclass(frozen=True, config=SPEC)
class Step(Shape):
    """``from * gamma^d`` after d drops.

    Args:
        drops: places in the span, counted from its start and not from the end of the warm-up; at least one.
        gamma: what a drop multiplies the rate by, > 0.

    Reference: He, Zhang, Ren and Sun, 2016, arXiv 1512.03385: a tenth after 50 % and 75 % of the run, the defaults
        here.
    """

    is_spanning: ClassVar[bool] = False

    drops: Annotated[tuple[TimeField, ...], Field(min_length=1)] = (Time.parse("50%"), Time.parse("75%"))
    gamma: Positive = 0.1

    def times(self) -> Sequence[Time]:
        return (*super().times(), *self.drops)

    def body(self, peak: float, clock: Clock, start: int) -> float:
        del start
        return float(peak * self.gamma ** sum(clock.ticks(drop) <= clock.elapsed for drop in self.drops))
