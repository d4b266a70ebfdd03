"""Phases -> the time axis, and policies -> their windows on it. A pure expansion: nothing executes phases specially."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from schedengine.errors import Problem, ScheduleError, did_you_mean
from schedengine.progress import Moment, Occasions, Time, Window
from schedengine.schedule.document import RUN, Instant, Phase, Policy, Schedule, Total

MAX_SPANS = 100_000


@dataclass(frozen=True)
class Span:
    """One stretch of the run that a phase covers.

    Args:
        name: of the phase.
        repeat: which of its repeats, from 0.
        start, stop: epochs from the start of the run; stop exclusive.
    """

    name: str
    repeat: int
    start: int
    stop: int

    @property
    def moments(self) -> tuple[Moment, Moment]:
        """Start and stop on the time axis."""
        return Moment(Fraction(self.start)), Moment(Fraction(self.stop))


def expand(phases: Sequence[Phase], start: int = 0, around: tuple[int, int] = (0, 1)) -> list[Span]:
    """Every repeat of every phase, in order of time; a group comes before what it is made of.

    Args:
        start: epoch of the first.
        around: which repeat of the groups around these phases it is, from 0, of how many in all.
    """
    spans: list[Span] = []
    for phase in phases:
        for repeat in range(phase.repeat):
            here = (around[0] * phase.repeat + repeat, around[1] * phase.repeat)
            inner = expand(phase.phases, start, here)
            stop = max((span.stop for span in inner), default=start) + _length(phase, *here)
            spans += [Span(phase.name, repeat, start, stop), *inner]
            start = stop
    return spans


def _length(phase: Phase, number: int, count: int) -> int:
    """Epochs of the ``number``-th (from 0) of all ``count`` repeats of a phase in the run."""
    if isinstance(phase.epochs, Total):
        share, rest = divmod(phase.epochs.total, count)
        return share + (rest if number == count - 1 else 0)
    return phase.epochs or 0


def run_length(schedule: Schedule) -> int | None:
    """Epochs of the run, by its phases; None if it has none."""
    return max((span.stop for span in expand(schedule.phases)), default=None)


def phase_names(phases: Sequence[Phase]) -> Iterator[str]:
    """All names, groups first."""
    for phase in phases:
        yield phase.name
        yield from phase_names(phase.phases)


@dataclass(frozen=True)
class Timeline:
    """The run's time axis.

    Args:
        spans: what its phases cover.
        epochs: its length; None if nobody has said it.
    """

    spans: tuple[Span, ...]
    epochs: int | None

    @classmethod
    def of(cls, schedule: Schedule, epochs: int | None = None) -> Timeline:
        """The axis of a schedule.

        Args:
            epochs: length of the run as the caller says it.

        Raises:
            ScheduleError: the phases say otherwise.
        """
        length = run_length(schedule)
        if length is not None and epochs is not None and epochs != length:
            message = f"the phases last {length} epochs, and the run is to last {epochs}; change one"
            raise ScheduleError([schedule.problem("phases", message)])
        return cls(tuple(expand(schedule.phases)), length or epochs)

    def spans_of(self, name: str) -> list[Span]:
        """The repeats of a phase; of ``run``, the run. Empty if there is no such phase, or its length is not known."""
        if name == RUN:
            return [] if self.epochs is None else [Span(RUN, 0, 0, self.epochs)]
        return [span for span in self.spans if span.name == name]

    def occasions(self, policy: Policy, default_every: Time, *, every: Time | None = None) -> Occasions:
        """The windows of a policy.

        Args:
            default_every: where the policy does not say.
            every: instead of what it says (a ramp whose target moves more slowly).

        Raises:
            ValueError: a window is empty, or the length of the run is needed and not known.
        """
        if policy.at is not None:
            instants = [window for instant in policy.at for window in self._instants(instant)]
            return Occasions.of({(window.start, window.is_end): window for window in reversed(instants)}.values())
        windows = []
        for name in policy.during or ():
            spans = self.spans_of(name) or self._endless(policy)
            windows += [self._window(policy, span, every or policy.every or default_every) for span in spans]
        if policy.every is not None and all(_is_shorter(window, policy.every) for window in windows):
            longest = Time(max((window.stop - window.start).epochs for window in windows)).plain()
            shown = policy.every.plain()
            raise ValueError(f"'every' ({shown}) is longer than the window, which lasts {longest} epochs")
        return Occasions.of(dict.fromkeys(windows))

    def _endless(self, policy: Policy) -> list[Span]:
        """A run of unknown length serves a window that says itself where it ends, in epochs or steps."""
        if policy.until is None or "%" in (policy.until.unit, policy.from_.unit if policy.from_ else ""):
            raise ValueError(
                "the length of the run is needed; write phases, or give the number of epochs (epochs=n, --epochs)"
            )
        return [Span(RUN, 0, 0, 10**9)]

    def _window(self, policy: Policy, span: Span, every: Time) -> Window:
        start, stop = span.moments
        length = stop - start
        begin = policy.from_.after(start, length) if policy.from_ else start
        end = policy.until.after(start, length) if policy.until else stop
        if begin.steps == end.steps == 0:
            if end.epochs > stop.epochs and span.name != RUN:
                raise ValueError(f"the window ends at {end}, after its phase, which ends at {stop}")
            if begin.epochs >= end.epochs:
                raise ValueError(f"the window is empty: it begins at {begin} and ends before {end}")
        return Window(begin, end, every.length(length), phase=(start, stop))

    def _instants(self, instant: Instant) -> list[Window]:
        run = (Moment(), Moment(Fraction(self.epochs or 0)))
        if instant.time is not None:
            if instant.time.unit == "%" and self.epochs is None:
                raise ValueError("a share of the run needs its length; write phases, or give the number of epochs")
            moment = instant.time.after(*run)
            return [Window(moment, moment, phase=run)]
        if instant.phase == RUN and instant.edge == "start":
            return [Window(Moment(), Moment(), phase=run)]
        spans = self.spans_of(instant.phase)
        if not spans:
            raise ValueError("the end of the run is needed; write phases, or give the number of epochs")
        is_end = instant.edge == "end"
        edges = [(span.moments[1 if is_end else 0], span.moments) for span in spans]
        return [Window(edge, edge, is_end=is_end, phase=phase) for edge, phase in edges]


def _is_shorter(window: Window, every: Time) -> bool:
    """Whether a window of epochs ends before the first step of ``every`` epochs."""
    length = window.stop - window.start
    return every.unit == "ep" and length.steps == 0 and length.epochs < every.amount


def default_every(schedule: Schedule, policy: Policy) -> Time:
    """The distance between instants where the policy does not say: an epoch, or a step for a learning rate of ours and
    for a pruner that edits gradients."""
    rate = schedule.lr_schedulers.get(policy.instance) if policy.kind == "lr_scheduler" else None
    pruner = schedule.pruners.get(policy.instance) if policy.kind == "pruner" else None
    is_steps = (rate is not None and rate.unit == "st") or (pruner is not None and pruner.is_edit)
    return Time(Fraction(1), "st" if is_steps else "ep")


def settled(own: Occasions) -> Window:
    """When what a pruner learns is settled: at the end of the epoch in which its last window ends."""
    stop = own.windows[-1].stop
    end = stop if stop.steps else Moment(Fraction(math.ceil(stop.epochs)))
    return Window(end, end, is_end=True)


def check_windows(schedule: Schedule) -> list[Problem]:
    """What is wrong with the policies' windows, as far as the phases tell; of a run without phases nothing is known."""
    if not schedule.phases:
        return []
    timeline, problems = Timeline.of(schedule), []
    for number, policy in enumerate(schedule.policies):
        try:
            timeline.occasions(policy, default_every(schedule, policy))
        except ValueError as error:
            problems.append(schedule.problem(f"policies[{number}]", str(error)))
    return problems


def _count(phases: Sequence[Phase]) -> int:
    return sum(phase.repeat * (1 + _count(phase.phases)) for phase in phases)


def _occurrences(phases: Sequence[Phase], around: int = 1) -> Iterator[tuple[Phase, int]]:
    """Every phase, groups first, and how often it comes in the run."""
    for phase in phases:
        yield phase, around * phase.repeat
        yield from _occurrences(phase.phases, around * phase.repeat)


def check_phases(schedule: Schedule) -> list[Problem]:
    """What is wrong with the phases, and with the policies' references to them."""
    problems = []
    names = list(phase_names(schedule.phases))
    if _count(schedule.phases) > MAX_SPANS:
        problems.append(schedule.problem("phases", f"repeat to more than {MAX_SPANS:,} stretches; write fewer repeats"))
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(schedule.problem("phases", f"two phases are called {name!r}; give each its own name"))
    for phase, count in _occurrences(schedule.phases) if not problems else ():
        if isinstance(phase.epochs, Total) and phase.epochs.total < count:
            message = f"a total of {phase.epochs.total} epochs cannot be shared by {count} repeats of {phase.name!r}"
            problems.append(schedule.problem("phases", message))
    for number, policy in enumerate(schedule.policies):
        for key, name in _references(policy):
            if name != RUN and name not in names:
                what = did_you_mean(name, [*names, RUN])
                problems.append(schedule.problem(f"policies[{number}].{key}", f"there is no phase {name!r}; {what}"))
    return problems


def _references(policy: Policy) -> list[tuple[Literal["at", "during"], str]]:
    at = [("at", instant.phase) for instant in policy.at or () if instant.time is None]
    return [*at, *(("during", name) for name in policy.during or ())]  # type: ignore[list-item]
