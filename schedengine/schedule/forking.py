"""Phases with replicas -> the forks of a run, and what may not happen while replicas train.

Pure functions of a schedule on its time axis, asked when a file is loaded and again when it is bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from schedengine.errors import Problem
from schedengine.progress import Moment, Occasions, Window
from schedengine.pruners.pruned import Dense
from schedengine.pruners.pruner import Pruner
from schedengine.pruners.updates import Reselect
from schedengine.schedule.document import Phase, Policy, Schedule
from schedengine.schedule.plan import Timeline, default_every
from schedengine.schedule.retraining import Course
from schedengine.soups.fork import Fork


@dataclass(frozen=True)
class Forking:
    """A schedule on its time axis.

    Args:
        course: the schedule, and where its policies lie.
        steps: optimizer steps in an epoch; None where that is not known yet.
    """

    course: Course
    steps: int | None = None

    @property
    def schedule(self) -> Schedule:
        return self.course.schedule

    @cached_property
    def forks(self) -> tuple[Fork, ...]:
        """All of the run, in order of time."""
        phases = {phase.name: phase for phase in _all(self.schedule.phases) if phase.replicas is not None}
        seen: dict[str, int] = {}
        found = []
        for span in self.course.timeline.spans:
            if span.name in phases:
                number = seen[span.name] = seen.get(span.name, -1) + 1
                found.append(_fork(phases[span.name], number, span.start, span.stop))
        return tuple(found)

    def fitted(self, policy: Policy, fork: Fork, epochs: int) -> Occasions:
        """The windows of a policy where a fork lasts fewer epochs: those that fill its phase are as short."""
        spans = tuple(
            replace(span, stop=span.start + epochs) if (span.name, span.start) == (fork.phase, fork.start) else span
            for span in self.course.timeline.spans
        )
        return replace(self.course.timeline, spans=spans).occasions(policy, default_every(self.schedule, policy))

    def resting(self, fork: Fork) -> list[int]:
        """The policies (by their places in the file) that only choose anew within a fork, and wait for its end."""
        if fork.masks != "shared":
            return []
        return [
            number
            for number, policy in enumerate(self.schedule.policies)
            if policy.kind == "pruner"
            and _rests(self.schedule.pruners.get(policy.instance))
            and any(_first_inside(window, fork, self.steps) for window in self.course.windows(policy))
        ]

    def problems(self) -> list[Problem]:
        """What must not be: replicas of replicas, and whatever makes replicas of one network different networks."""
        found = [
            problem for number, phase in enumerate(self.schedule.phases) for problem in self._nested(number, phase)
        ]
        if found:
            return found
        for number, policy in enumerate(self.schedule.policies):
            said = next(iter(self._inside(policy)), None)
            if said is not None:
                found.append(self.schedule.problem(f"policies[{number}]{said[0]}", said[1]))
        return found

    def _nested(self, number: int, phase: Phase) -> Iterator[Problem]:
        place = f"phases[{number}]"
        for outer in [one for one in _all([phase]) if one.replicas is not None and one.phases]:
            for inner in _all(outer.phases):
                if inner.replicas is not None:
                    message = f"{inner.name!r} lies in {outer.name!r}, which has replicas itself; let one of them have"
                    yield self.schedule.problem(place, message)

    def _inside(self, policy: Policy) -> Iterator[tuple[str, str]]:
        """What is wrong with a policy: the key, and a message."""
        pruner = self.schedule.pruners.get(policy.instance) if policy.kind == "pruner" else None
        for fork in self.forks:
            where = f"inside the replicas of {fork.phase!r} (epochs {fork.start} to {fork.stop})"
            if policy.rewind is not None and policy.rewind.weights is not None:
                moment = policy.rewind.weights.length(self.course.dense)
                if moment.steps == 0 and fork.start < moment.epochs < fork.stop:
                    what = f"goes back to the weights of {moment}, {where}, of which there are several"
                    yield ".rewind.weights", f"{what}; name a time outside"
            for window in self.course.windows(policy):
                at = _first_inside(window, fork, self.steps)
                if pruner is not None and pruner.is_learned:
                    if window.start.epochs < fork.stop and fork.start < window.stop.epochs:
                        what = f"learns what goes {where}: each would learn something else, and the average prunes less"
                        yield "", f"{what}; learn before, or after"
                elif at is not None and policy.kind in ("release", "thin", "rewind"):
                    yield "", f"acts at {at}, {where}; let it act at their start ('at: {fork.phase}') or end"
                elif policy.regularizer is not None and policy.keep_mask and fork.masks == "shared":
                    stop = _epochs(window.stop, self.steps)
                    if stop is not None and fork.start < stop <= fork.stop:
                        what = f"keeps at 0 what it has set to 0 at epoch {stop}, {where}, whose masks would differ"
                        yield ".keep_mask", f"{what}; let its window end elsewhere, or remove 'keep_mask'"
                elif pruner is not None and _lasts(pruner) and fork.masks == "shared":
                    yield from _cutting(policy, pruner, window, at, fork, where)


def _cutting(
    policy: Policy, pruner: Pruner, window: Window, at: Moment | None, fork: Fork, where: str
) -> Iterator[tuple[str, str]]:
    first = window.start
    if policy.refresh is not None and first.steps == 0 and fork.start <= first.epochs < fork.stop:
        yield ".refresh", f"cuts again {where}, whose masks would differ; remove it"
    elif at is not None and not _rests(pruner):
        when = f"at {at}" if window.is_epochs or window.every is None else f"at steps from {at} on"
        what = f"cuts {when}, {where}, whose masks would differ"
        advice = f"cut at their start ('at: {fork.phase}'), or write 'masks: reprune' in the phase"
        yield "", f"{what}; {advice}"


def _lasts(pruner: Pruner) -> bool:
    """Whether its cuts are there when a replica is done."""
    return not pruner.is_edit and pruner.lasts == "run"


def _rests(pruner: Pruner | None) -> bool:
    """Whether its cuts only choose anew among values that train on, so that they can wait."""
    return pruner is not None and isinstance(pruner.pruned, Dense) and isinstance(pruner.update, Reselect)


def _first_inside(window: Window, fork: Fork, steps: int | None) -> Moment | None:
    """The first instant of a window that lies inside a fork, as far as can be told; its beginning does not, nor its
    end."""
    begin, end = _epochs(window.start, steps), _epochs(window.stop, steps)
    every = Fraction(0) if window.every is None else _epochs(window.every, steps)
    if begin is None or end is None or begin >= fork.stop:
        return None
    if not window.is_epochs and begin >= fork.start:
        return window.start  # at a step, which comes after the beginning of its epoch
    if every is None or not every:
        return window.start if every is not None and begin > fork.start else None
    passed = (fork.start - begin) / every
    number = math.floor(passed) + 1 if window.is_epochs else math.ceil(passed)
    first = begin + max(0, number) * every
    return Moment(first) if first < fork.stop and first < end else None


def _epochs(moment: Moment, steps: int | None) -> Fraction | None:
    """Where a moment lies; None where that takes the steps per epoch, and they are not known."""
    if not moment.steps:
        return moment.epochs
    return None if steps is None else moment.epochs + Fraction(moment.steps, steps)


def _fork(phase: Phase, number: int, start: int, stop: int) -> Fork:
    assert phase.replicas is not None
    vary = phase.vary
    return Fork(
        phase.name,
        number,
        start,
        stop,
        phase.replicas,
        seeds=vary.seed if vary else (),
        weight_decays=vary.weight_decay if vary else (),
        epochs=vary.epochs if vary else (),
        factors=tuple(map(float, vary.lr)) if vary else (),
        recipe=phase.soup,
        masks=phase.masks,
        optimizer=phase.optimizer,
        batches=0 if isinstance(phase.recalibrate, str) else phase.recalibrate.batches,
    )


def _all(phases: tuple[Phase, ...] | list[Phase]) -> Iterator[Phase]:
    """Every phase, groups first."""
    for phase in phases:
        yield phase
        yield from _all(phase.phases)


def check_replicas(schedule: Schedule) -> list[Problem]:
    """What the phases tell; nothing without phases."""
    return Forking(Course(schedule, Timeline.of(schedule))).problems() if schedule.phases else []
