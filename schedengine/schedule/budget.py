"""A schedule rescaled to another length of the run: compressed along time, not cut off.

Reference: Li, Yumer and Ramanan, 2020, Budgeted Training: Rethinking Deep Neural Network Training Under Resource
Constraints, arXiv 1905.04753 (budget-aware conversion).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from pydantic import ValidationError

from schedengine.errors import Problem, SchedEngineError, ScheduleError
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.base import LearningRate
from schedengine.lr.plateau import Plateau
from schedengine.lr.retraining import Retraining
from schedengine.lr.shapes import Shape
from schedengine.progress import Time
from schedengine.schedule.document import RUN, Instant, Phase, Policy, Schedule, Total
from schedengine.schedule.plan import Span, Timeline, expand

HALF = Fraction(1, 2)


def rescale(schedule: Schedule, budget: int, epochs: int | None = None) -> Schedule:
    """The same schedule in another number of epochs.

    Phases keep their shares of the run, rounded down to whole epochs, and what is left goes to the last repeat of the
    last phase. Times in epochs move with the phase they lie in, shares stay shares, places in steps are scaled, and
    distances in steps (``every: 16st``) stay. Cuts that come once an epoch because the file says nothing else still do.

    Args:
        budget: epochs of the new run, >= 1.
        epochs: of the run that a schedule without phases was written for.

    Raises:
        ScheduleError: a phase would have no epoch left for some repeat, a window would be too short for its
            distances in steps, a learning-rate class counts epochs in arguments of its own, or the phases last another
            number of epochs than ``epochs``.
        SchedEngineError: the schedule's own length is not known.
    """
    total = Timeline.of(schedule, epochs).epochs
    if total is None:
        raise SchedEngineError(
            f"a budget of {budget} epochs: the schedule has no phases to say what it was written for; give that length "
            "too (--epochs N)"
        )
    return _Rescaling(schedule, budget, total).apply()


class _Rescaling:
    def __init__(self, schedule: Schedule, budget: int, total: int) -> None:
        self.schedule = schedule
        self.budget = budget
        self.overall = Fraction(budget, total)
        self.problems: list[Problem] = []
        self.phases = self._lengths()
        self.spans = self._spans(total)
        names = {RUN, *(phase.name for phase, _ in _leaves(schedule.phases))}
        self.stretches = [pair for pair in self.spans[1:] or self.spans if pair[0].name in names]

    def apply(self) -> Schedule:
        schedule = self.schedule
        rates = {name: self._rate(name, one) for name, one in schedule.lr_schedulers.items()}
        policies = tuple(self._policy(number, policy) for number, policy in enumerate(schedule.policies))
        if self.problems:
            raise ScheduleError(self.problems)
        return dataclasses.replace(
            schedule,
            phases=self.phases,
            pruners={name: self._pruner(pruner) for name, pruner in schedule.pruners.items()},
            lr_schedulers=rates,
            policies=policies,
        )

    def _lengths(self) -> tuple[Phase, ...]:
        """The phases with their new epochs."""
        leaves = list(_leaves(self.schedule.phases))
        if not leaves:
            return ()
        new = [max(count, math.floor(_epochs(phase, count) * self.overall)) for phase, count in leaves[:-1]]
        new.append(self.budget - sum(new))
        least = sum(count for _, count in leaves)
        if self.budget < least:
            message = f"a budget of {self.budget} epochs is too small for the phases, which need {least}: one a repeat"
            raise ScheduleError([self.schedule.problem("phases", message)])
        while new[-1] < leaves[-1][1]:  # others gave up less than their share, since none may go below one a repeat
            spare = [epochs - count for (_, count), epochs in zip(leaves[:-1], new[:-1], strict=True)]
            new[spare.index(max(spare))] -= 1
            new[-1] += 1
        for (phase, count), epochs in zip(leaves, new, strict=True):
            if phase.vary is not None and phase.vary.epochs and epochs % count:
                what = f"with a budget of {self.budget} epochs, {count} repeats of {phase.name!r} share {epochs}"
                message = f"{what}, which does not divide, and its replicas differ in length; take another one"
                raise ScheduleError([self.schedule.problem("phases", message)])
        lengths = {phase.name: (epochs, count) for (phase, count), epochs in zip(leaves, new, strict=True)}
        return tuple(_with_lengths(phase, lengths) for phase in self.schedule.phases)

    def _spans(self, total: int) -> list[tuple[Span, Span]]:
        """The run and every repeat of every phase, before and after."""
        pairs = zip(expand(self.schedule.phases), expand(self.phases), strict=True)
        return [(Span(RUN, 0, 0, total), Span(RUN, 0, 0, self.budget)), *pairs]

    def _ratio(self, phases: Sequence[str]) -> Fraction:
        """By how much the stretches of a policy change: the least, so that what fitted into each of them still does."""
        lengths = [(old.stop - old.start, new.stop - new.start) for old, new in self.spans if old.name in phases]
        return min((Fraction(new, old) for old, new in lengths), default=self.overall)

    def _policy(self, number: int, policy: Policy) -> Policy:
        ratio = self._ratio(policy.during or (RUN,))
        changed: dict[str, Any] = {
            "from_": _scaled(policy.from_, ratio),
            "until": _scaled(policy.until, ratio),
        }
        if policy.regularizer is None:  # whose 'every' says in which epochs it acts, and these stay whole
            changed["every"] = _scaled(policy.every, ratio, is_distance=True)
        if policy.at is not None:
            changed["at"] = tuple(self._instant(instant) for instant in policy.at)
        if policy.rewind is not None:
            rewind = policy.rewind
            weights, clock = (time and self._moved(time) for time in (rewind.weights, rewind.clock))
            changed["rewind"] = dataclasses.replace(rewind, weights=weights, clock=clock)
        is_whole = all(time is None or time.unit != "ep" or time.amount.denominator == 1 for time in
                       (changed["from_"], changed["until"]))  # fmt: skip
        if not is_whole and (policy.refresh is not None or policy.regularizer is not None):
            what = "'refresh'" if policy.refresh is not None else "a regularizer"
            message = f"with a budget of {self.budget} epochs its window begins or ends within an epoch, and {what}"
            self.problems.append(self.schedule.problem(f"policies[{number}]", f"{message} counts whole ones"))
        try:
            return dataclasses.replace(policy, **changed)
        except ValidationError as error:  # distances in steps stay, and places in steps are rounded
            what = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
            message = f"with a budget of {self.budget} epochs, {what}"
            self.problems.append(self.schedule.problem(f"policies[{number}]", message))
            return policy

    def _instant(self, instant: Instant) -> Instant:
        return instant if instant.time is None else dataclasses.replace(instant, time=self._moved(instant.time))

    def _moved(self, time: Time) -> Time:
        """A time from the start of the run, moved with the phase that it lies in."""
        if time.unit != "ep":
            moved: Time = _scaled(time, self.overall)
            return moved
        for old, new in self.stretches:
            if old.start <= time.amount <= old.stop:
                share = (time.amount - old.start) / (old.stop - old.start)
                return Time(new.start + share * (new.stop - new.start))
        return Time(time.amount * self.overall)

    def _pruner(self, pruner: Any) -> Any:
        ramp = pruner.sparsity
        if pruner.threshold is not None:
            return dataclasses.replace(pruner, threshold=pruner.threshold.rescaled(float(self.overall)))
        if ramp is None or ramp.every is None:
            return pruner
        every = _scaled(ramp.every, self.overall, is_distance=True)
        return dataclasses.replace(pruner, sparsity=dataclasses.replace(ramp, every=every))

    def _rate(self, name: str, rate: LearningRate) -> LearningRate:
        if isinstance(rate, Plateau):
            return rate
        if not isinstance(rate, (Shape, Retraining)):
            what = f"{LR_SCHEDULES.name_of(rate)} counts epochs in arguments of its own, which cannot be rescaled"
            advice = "use one of constant, linear, cosine, step and polynomial, with times as shares (50%)"
            self.problems.append(self.schedule.problem(f"lr_schedulers.{name}", f"{what}; {advice}"))
            return rate
        used = [policy.during or (RUN,) for policy in self.schedule.policies if policy.lr_scheduler == name]
        ratio = self._ratio([phase for phases in used for phase in phases])
        changed: LearningRate = _with_times(rate, lambda time: _scaled(time, ratio))
        return changed


def _leaves(phases: Sequence[Phase], around: int = 1) -> Iterator[tuple[Phase, int]]:
    """Every phase that is not a group, and how often it comes in the run."""
    for phase in phases:
        if phase.phases:
            yield from _leaves(phase.phases, around * phase.repeat)
        else:
            yield phase, around * phase.repeat


def _epochs(phase: Phase, count: int) -> int:
    """Of all repeats together."""
    return phase.epochs.total if isinstance(phase.epochs, Total) else (phase.epochs or 0) * count


def _with_lengths(phase: Phase, lengths: dict[str, tuple[int, int]]) -> Phase:
    if phase.phases:
        return dataclasses.replace(phase, phases=tuple(_with_lengths(one, lengths) for one in phase.phases))
    total, count = lengths[phase.name]
    if total == _epochs(phase, count):
        return phase
    if phase.vary is None or not phase.vary.epochs:
        return dataclasses.replace(phase, epochs=Total(total) if total % count else total // count)
    ratio = Fraction(total // count, max(phase.vary.epochs))
    each = tuple(max(1, math.floor(epochs * ratio + HALF)) for epochs in phase.vary.epochs)
    return dataclasses.replace(phase, epochs=total // count, vary=dataclasses.replace(phase.vary, epochs=each))


def _scaled(time: Time | None, ratio: Fraction, *, is_distance: bool = False) -> Any:
    if time is None or time.unit == "%" or (time.unit == "st" and is_distance):
        return time
    if time.unit == "st":
        return Time(Fraction(math.floor(time.amount * ratio + HALF)), "st")
    return Time(time.amount * ratio)


def _with_times(spec: Any, change: Callable[[Time], Time]) -> Any:
    """A component with each time among its fields changed."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, Time):
            changed[field.name] = change(value)
        elif isinstance(value, tuple) and value and all(isinstance(one, Time) for one in value):
            changed[field.name] = tuple(change(one) for one in value)
    return dataclasses.replace(spec, **changed) if changed else spec
