"""Time: the values a file writes, the place a run has reached, and the windows that policies act in.

Everything here is a pure function of the callbacks' arguments (epoch, step, steps per epoch): nothing is remembered, so
any schedule can be drawn before it runs, rescaled, and resumed at any step.

    Time       what a file writes: ``3`` or ``"2.5ep"`` (epochs), ``"1200st"`` (optimizer steps), ``"10%"``
    Moment     a place on the run's time axis, in epochs plus steps; its step number needs the steps per epoch
    Progress   where the run is
    Window     [start, stop) with a frequency: which instants a policy acts at
    Occasions  all the windows of a policy, or of all the policies of one pruner: counts the instants, 1 to J
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from typing import Annotated, Literal

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from schedengine.errors import ScheduleError

Unit = Literal["ep", "st", "%"]
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ep|st|%)")


@dataclass(frozen=True)
class Time:
    """A length or a place in time as a file writes it.

    Args:
        amount: >= 0; whole for steps.
        unit: ``ep`` epochs, ``st`` optimizer steps, ``%`` of the surrounding phase.

    Example:
        >>> Time.parse("2.5ep")
        Time(amount=Fraction(5, 2), unit='ep')
        >>> Time.parse(3).plain(), Time.parse("10%").plain()
        (3, '10%')
    """

    amount: Fraction
    unit: Unit = "ep"

    @classmethod
    def parse(cls, value: object) -> Time:
        """Read what a file writes.

        Raises:
            ValueError: not a time, or negative.
        """
        if isinstance(value, Time):
            return value
        wanted = 'write epochs as 3 or "2.5ep", steps as "1200st", a share of the phase as "10%"'
        if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction)):
            raise ValueError(f"not a time; {wanted}")
        if isinstance(value, str):
            match = _TIME.fullmatch(value.strip())
            if match is None:
                raise ValueError(f"not a time; {wanted}")
            amount, unit = Fraction(match[1]), match[2]
            if unit == "st" and amount.denominator != 1:
                raise ValueError("a step is not divisible; write a whole number of steps")
            return cls(amount, unit)  # type: ignore[arg-type]  # the pattern admits the three units only
        if value != value or value in (math.inf, -math.inf) or value < 0:
            raise ValueError(f"a time is a finite number, zero or more; {wanted}")
        return cls(Fraction(str(value)))

    def plain(self) -> int | str:
        """The shortest form that ``parse`` reads back."""
        if self.unit == "ep" and self.amount.denominator == 1:
            return self.amount.numerator
        return f"{_decimal(self.amount)}{self.unit}"

    def after(self, start: Moment, phase: Moment) -> Moment:
        """The moment this long after ``start``.

        Args:
            start: where to count from.
            phase: length of the surrounding phase, which a percentage is a share of.
        """
        return start + self.length(phase)

    def length(self, phase: Moment) -> Moment:
        """This time as a length; see ``after``."""
        if self.unit == "st":
            return Moment(steps=int(self.amount))
        if self.unit == "%":
            return Moment(phase.epochs * self.amount / 100)
        return Moment(self.amount)


def _decimal(amount: Fraction) -> str:
    """All digits, so that it reads back as the same number; what has no end of them (1/3) is rounded."""
    digits = next((digits for digits in range(400) if 10**digits % amount.denominator == 0), 6)
    whole, part = divmod(round(amount * 10**digits), 10**digits)
    return f"{whole}.{part:0{digits}}" if digits else str(whole)


TimeField = Annotated[
    InstanceOf[Time],
    BeforeValidator(Time.parse),
    PlainSerializer(Time.plain),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?|\.[0-9]+)\s*(ep|st|%)$"},
            ],
            "description": 'epochs as 3 or "2.5ep", optimizer steps as "1200st", a share of the phase as "10%"',
        }
    ),
]
"""A field of a registered class that holds a time."""


@dataclass(frozen=True)
class Moment:
    """A place on the run's time axis, or a distance on it: epochs (exact) plus optimizer steps."""

    epochs: Fraction = Fraction(0)
    steps: int = 0

    def __add__(self, other: Moment) -> Moment:
        return Moment(self.epochs + other.epochs, self.steps + other.steps)

    def __sub__(self, other: Moment) -> Moment:
        return Moment(self.epochs - other.epochs, self.steps - other.steps)

    @property
    def is_epoch(self) -> bool:
        """Whether it falls on the beginning of an epoch, whatever the steps per epoch."""
        return self.steps == 0 and self.epochs.denominator == 1

    def step(self, steps_per_epoch: int) -> int:
        """The number of the optimizer step, counted from 0 at the start of the run; halves round up."""
        return math.floor(self.epochs * steps_per_epoch + Fraction(1, 2)) + self.steps

    def __str__(self) -> str:
        parts = [f"epoch {_decimal(self.epochs)}"] if self.epochs or not self.steps else []
        return " + ".join(parts + ([f"{self.steps} steps"] if self.steps else []))


@dataclass(frozen=True)
class Progress:
    """Where the run is: just before optimizer step ``step`` of epoch ``epoch``.

    Args:
        epoch: from 0.
        step: within the epoch, from 0; an optimizer update, not a micro-batch. None at the beginning of the epoch,
            which comes before its first step.
        steps_per_epoch: None where no callback has told it yet.
    """

    epoch: int
    step: int | None = None
    steps_per_epoch: int | None = None

    @property
    def moment(self) -> Moment:
        """The same place on the run's time axis."""
        if self.step is None:
            return Moment(Fraction(self.epoch))
        return Moment(steps=self.epoch * known(self.steps_per_epoch) + self.step)


def known(steps_per_epoch: int | None) -> int:
    """The steps per epoch, where a time in steps or a fraction of an epoch has to be placed.

    Raises:
        ScheduleError: no callback has told them yet.
    """
    if steps_per_epoch is None:
        raise ScheduleError(
            "a time in steps, or inside an epoch, is needed before the first step is seen; "
            "pass steps_per_epoch to bind()"
        )
    return steps_per_epoch


@dataclass(frozen=True)
class Window:
    """The instants start, start + every, ... before stop.

    Args:
        start: inclusive.
        stop: exclusive.
        every: distance between instants, in epochs or in steps; None means one instant, at ``start``.
        is_end: the instants belong to the end of the epoch before them: they come after its last step and its
            evaluation, and before whatever begins at that moment. Whole epochs only.
        phase: start and stop of the phase this window lies in.
    """

    start: Moment
    stop: Moment
    every: Moment | None = None
    is_end: bool = False
    phase: tuple[Moment, Moment] = (Moment(), Moment())

    @property
    def is_epochs(self) -> bool:
        """Whether all its instants fall on beginnings of epochs."""
        return self.start.is_epoch and (self.every is None or self.every.is_epoch)

    def count(self, steps_per_epoch: int | None = None) -> int:
        """How many instants it has."""
        if self.every is None:
            return 1
        if self.is_epochs and self.stop.steps == 0:
            return max(0, math.ceil((self.stop.epochs - self.start.epochs) / self.every.epochs))
        steps = self.stop.step(known(steps_per_epoch)) - self.start.step(known(steps_per_epoch))
        return max(0, -(-steps // self._stride(steps_per_epoch)))

    def index(self, progress: Progress) -> int | None:
        """The number (from 0) of the instant that falls on ``progress``, or None if none does.

        An instant at the beginning of an epoch falls on the epoch's beginning, any other on a step.
        """
        if self.is_end or self.is_epochs != (progress.step is None):
            return None
        if progress.step is None:
            return self._number(progress.epoch - int(self.start.epochs), progress.steps_per_epoch)
        here, start = progress.moment.steps, self.start.step(known(progress.steps_per_epoch))
        return self._number(here - start, progress.steps_per_epoch)

    def index_at_end(self, progress: Progress) -> int | None:
        """The number of the instant that belongs to the end of this epoch, or None."""
        if not self.is_end:
            return None
        return self._number(progress.epoch + 1 - int(self.start.epochs), progress.steps_per_epoch)

    def reached(self, progress: Progress) -> int:
        """How many of its instants lie at or before ``progress``."""
        if self.is_epochs:
            # What belongs to the end of an epoch is reached within it.
            distance = progress.epoch + self.is_end - int(self.start.epochs)
            stride = int(self.every.epochs) if self.every else 1
        else:
            steps = known(progress.steps_per_epoch)
            distance = progress.moment.step(steps) - self.start.step(steps)
            stride = self._stride(steps) if self.every else 1
        return 0 if distance < 0 else min(distance // stride + 1, self.count(progress.steps_per_epoch))

    def latest(self, progress: Progress) -> Progress | None:
        """The last of its instants at or before ``progress``; None before the first."""
        number = self.reached(progress) - 1
        if number < 0:
            return None
        every, steps_per_epoch = self.every or Moment(), progress.steps_per_epoch
        if self.is_epochs:
            return Progress(int(self.start.epochs + number * every.epochs) - self.is_end, None, steps_per_epoch)
        steps = known(steps_per_epoch)
        stride = self._stride(steps) if self.every else 0
        return Progress(*divmod(self.start.step(steps) + number * stride, steps), steps)

    def overlaps(self, other: Window) -> bool:
        """Whether two windows share a moment, as far as epochs tell; an instant lies in a stretch, or on another."""
        if self.start.steps or self.stop.steps or other.start.steps or other.stop.steps:
            return False
        if self.every is None and other.every is None:
            return (self.start, self.is_end) == (other.start, other.is_end)
        if self.every is not None and other.every is not None:
            return self.start.epochs < other.stop.epochs and other.start.epochs < self.stop.epochs
        instant, stretch = (self, other) if self.every is None else (other, self)
        is_after = stretch.start.epochs < instant.start.epochs
        return (is_after or (instant.start == stretch.start and not instant.is_end)) and (
            instant.start.epochs < stretch.stop.epochs
        )

    def touches(self, epoch: int, steps_per_epoch: int | None) -> bool:
        """Whether any of it lies in an epoch, its beginning and its end included."""
        if self.start.steps == self.stop.steps == 0:
            return self.start.epochs <= epoch + 1 and epoch <= self.stop.epochs
        if steps_per_epoch is None:
            return True
        first = epoch * steps_per_epoch
        return self.start.step(steps_per_epoch) <= first + steps_per_epoch and first <= self.stop.step(steps_per_epoch)

    def outlasts(self, epochs: int, steps_per_epoch: int | None = None) -> bool:
        """Whether a run of so many epochs ends before the last instant, as far as it can be told."""
        count = self.count(steps_per_epoch) if self.is_epochs or steps_per_epoch is not None else 0
        if count == 0:
            return False
        if self.is_epochs and self.stop.steps == 0:
            last = self.start.epochs + (self.every.epochs * (count - 1) if self.every else 0)
            return last - self.is_end >= epochs
        steps = known(steps_per_epoch)
        return self.start.step(steps) + (self._stride(steps) * (count - 1) if self.every else 0) >= epochs * steps

    def contains(self, progress: Progress) -> bool:
        """Whether ``progress`` lies in [start, stop), whatever the frequency.

        The beginning of an epoch lies in a window that starts in the middle of that epoch from its first step on.
        """
        if progress.step is None and self.start.steps == self.stop.steps == 0:
            return self.start.epochs <= progress.epoch < self.stop.epochs
        if progress.steps_per_epoch is None:
            return False
        here = progress.moment.step(progress.steps_per_epoch)
        return self.start.step(progress.steps_per_epoch) <= here < self.stop.step(progress.steps_per_epoch)

    def is_active(self, progress: Progress) -> bool:
        """Whether this epoch is one of its instants, for a window of epochs; always, for a window of steps."""
        if not self.is_epochs or self.every is None:
            return True
        return (progress.epoch - int(self.start.epochs)) % int(self.every.epochs) == 0

    def share(self, progress: Progress) -> float:
        """How much of the window has passed, in [0, 1)."""
        steps = known(progress.steps_per_epoch)
        start, stop = self.start.step(steps), self.stop.step(steps)
        return (progress.moment.step(steps) - start) / max(1, stop - start)

    def moments(self, steps_per_epoch: int | None = None) -> Iterator[Moment]:
        """All instants in order (for the plan; a run never lists them)."""
        every = self.every or Moment()
        for number in range(self.count(steps_per_epoch)):
            if number == 0 or self.is_epochs:
                yield Moment(self.start.epochs + number * every.epochs, self.start.steps)
            else:  # a frequency within epochs is rounded to steps once, so that instants stay equally far apart
                yield Moment(steps=self.start.step(known(steps_per_epoch)) + number * self._stride(steps_per_epoch))

    def _stride(self, steps_per_epoch: int | None) -> int:
        assert self.every is not None
        return max(1, self.every.step(known(steps_per_epoch)))

    def _number(self, distance: int, steps_per_epoch: int | None) -> int | None:
        if self.every is None:
            return 0 if distance == 0 else None
        stride = int(self.every.epochs) if self.is_epochs else self._stride(steps_per_epoch)
        number, rest = divmod(distance, stride)
        return number if rest == 0 and 0 <= number < self.count(steps_per_epoch) else None


@dataclass(frozen=True)
class Occasion:
    """One instant out of many: the ``number``-th (from 1) of ``count``, in ``window``."""

    number: int
    count: int
    window: Window


@dataclass(frozen=True)
class Occasions:
    """The windows of a policy, or of all policies of one pruner, in order of time and counted through."""

    windows: tuple[Window, ...]

    @classmethod
    def merge(cls, many: Iterable[Occasions]) -> Occasions:
        """All windows of several policies, in order of time (those of one moment in the order given, ends first)."""
        return cls.of(window for occasions in many for window in occasions.windows)

    @classmethod
    def of(cls, windows: Iterable[Window]) -> Occasions:
        """Windows in any order; see ``merge``."""
        return cls(tuple(sorted(windows, key=lambda one: (one.start.epochs, one.start.steps, not one.is_end))))

    def count(self, steps_per_epoch: int | None = None) -> int:
        """Instants in all windows."""
        return sum(window.count(steps_per_epoch) for window in self.windows)

    def at(self, progress: Progress) -> Occasion | None:
        """The instant that falls on ``progress``, if one does."""
        return self._find(progress, Window.index)

    def at_end(self, progress: Progress) -> Occasion | None:
        """The instant that belongs to the end of this epoch, if one does."""
        return self._find(progress, Window.index_at_end)

    def reached(self, progress: Progress) -> int:
        """How many instants lie at or before ``progress``."""
        return sum(window.reached(progress) for window in self.windows)

    def latest(self, progress: Progress) -> tuple[Occasion, Progress] | None:
        """The last instant at or before ``progress``, and where it was; None before the first."""
        upto = self._counts(progress.steps_per_epoch)
        for position in reversed(range(len(self.windows))):
            window = self.windows[position]
            reached = window.reached(progress)
            if reached:
                at = window.latest(progress)
                assert at is not None
                return Occasion(upto[position] + reached, upto[-1], window), at
        return None

    def containing(self, progress: Progress) -> Window | None:
        """The window that ``progress`` lies in, if it lies in one."""
        return next((window for _, window in self._near(progress) if window.contains(progress)), None)

    def meets(self, other: Occasions) -> bool:
        """Whether a window of one shares a moment with one of the other, as far as epochs tell."""
        return any(one.overlaps(another) for one in self.windows for another in other.windows)

    @cached_property
    def _last_counts(self) -> dict[int | None, list[int]]:
        return {}

    def _counts(self, steps_per_epoch: int | None) -> list[int]:
        """Instants before each window, and in all; remembered, since a rate per step asks at every step."""
        if steps_per_epoch not in self._last_counts:
            self._last_counts.clear()
            counts = (window.count(steps_per_epoch) for window in self.windows)
            self._last_counts[steps_per_epoch] = list(accumulate(counts, initial=0))
        return self._last_counts[steps_per_epoch]

    @cached_property
    def _last_near(self) -> dict[tuple[int, int | None], list[tuple[int, Window]]]:
        return {}

    def _near(self, progress: Progress) -> list[tuple[int, Window]]:
        """The windows, with their positions, that touch this epoch: a step must not go through all of them."""
        key = (progress.epoch, progress.steps_per_epoch)
        if key not in self._last_near:
            self._last_near.clear()
            self._last_near[key] = [
                (position, window) for position, window in enumerate(self.windows) if window.touches(*key)
            ]
        return self._last_near[key]

    def _find(self, progress: Progress, index_of: Callable[[Window, Progress], int | None]) -> Occasion | None:
        for position, window in self._near(progress):
            index = index_of(window, progress)
            if index is not None:
                upto = self._counts(progress.steps_per_epoch)
                return Occasion(upto[position] + index + 1, upto[-1], window)
        return None
