"""A schedule placed in time, without a model if need be: its instants, its cuts, its learning rates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from schedengine.analysis.rates import Background, Rates
from schedengine.errors import Problem, SchedEngineError
from schedengine.lr.base import Group, LearningRate
from schedengine.lr.plateau import Plateau
from schedengine.lr.retraining import Retraining
from schedengine.lr.shapes import Shape
from schedengine.lr.trace import Trace
from schedengine.policies.lr import LRPolicy
from schedengine.progress import Moment, Occasions, Time, Window
from schedengine.pruners.pruner import Pruner
from schedengine.schedule.document import Policy, Schedule
from schedengine.schedule.plan import Timeline, default_every, settled
from schedengine.schedule.retraining import Course

Doubts = Iterator[tuple[str, str]]
"""Path in the schedule, and message."""
NEARLY_ZERO = 1e-3
"""Share of the run's largest learning rate up to which a rate trains next to nothing."""
_EPOCH = Time(Fraction(1))


@dataclass(frozen=True)
class Cut:
    """An instant at which a pruner's target moves.

    Args:
        step: of the run, before which it happens.
        policy: number of the policy whose instant it is.
        epochs: those that train right after it: one, or for a cut within an epoch the rest of it and the next.
    """

    step: int
    policy: int
    epochs: range


@dataclass(frozen=True)
class Outlook:
    """A schedule placed in time.

    Args:
        schedule: whose policies these are.
        timeline: with a length.
        steps: optimizer steps in an epoch.
        is_certain: whether the length of the run is known, and not assumed.
        groups: what the optimizer's parameter groups begin with.
        knows_rate: whether the first of them is the run's, and not assumed.
        selected: pruner -> the parameters it works on; empty where there is no model.
        trace: learning rates that the weights were trained with before this run, where they say so themselves.
    """

    schedule: Schedule
    timeline: Timeline
    steps: int
    is_certain: bool
    groups: Sequence[Group]
    knows_rate: bool
    selected: Mapping[str, Sequence[str]]
    trace: Trace | None = None

    @property
    def epochs(self) -> int:
        """Length of the run."""
        assert self.timeline.epochs is not None
        return self.timeline.epochs

    @property
    def end(self) -> int:
        """The step after the last."""
        return self.epochs * self.steps

    @cached_property
    def policies(self) -> list[tuple[int, Policy, Occasions]]:
        """Number, policy and instants of each policy that can be placed."""
        found = []
        for number, policy in enumerate(self.schedule.policies):
            try:
                occasions = self.timeline.occasions(policy, default_every(self.schedule, policy))
            except ValueError:  # an error that binding tells
                continue
            found.append((number, policy, occasions))
        return found

    def of_kind(self, kind: str) -> list[tuple[int, Policy, Occasions]]:
        """The policies of one kind."""
        return [entry for entry in self.policies if entry[1].kind == kind]

    @cached_property
    def rated(self) -> dict[int, LRPolicy]:
        """The policies whose rates follow from the time alone, by number."""
        run, offsets, found = Moment(Fraction(self.epochs)), self.course.offsets(), {}
        for number, policy, occasions in self.of_kind("lr_scheduler"):
            schedule = self.schedule.lr_schedulers[policy.instance]
            if not isinstance(schedule, Plateau):
                clock = policy.clock
                found[number] = LRPolicy(schedule, occasions, self.groups, clock=clock, run=run, offsets=offsets)
        return found

    @cached_property
    def course(self) -> Course:
        """What retraining and rewinding ask of the time axis."""
        return Course(self.schedule, self.timeline)

    @cached_property
    def rates(self) -> Rates:
        """Of all policies whose rates follow from the time alone; peaks that a cut decides are at their largest."""
        background = Background.of(self.course, self.steps, self.trace)
        return Rates(list(self.rated.values()), self.groups, self.steps, background)

    def cuts(self, name: str) -> list[Cut]:
        """Those of a pruner that remove more than the one before; all, where a limit decides.

        Raises:
            SchedEngineError: the ramp does not fit the number of cuts.
        """
        pruner = self.schedule.pruners[name]
        if pruner.threshold is not None and pruner.pruned.keeps:
            return []  # chosen anew all the time, from values that train on
        instants = sorted(self.instants(name, pruner))
        targets = [0.0, *(_target(pruner, number, len(instants)) for number in range(1, len(instants) + 1))]
        moves = zip(instants, itertools.pairwise(targets))
        return [self._cut(*instant) for instant, (before, now) in moves if now > before or pruner.threshold is not None]

    def instants(self, name: str, pruner: Pruner) -> Iterator[tuple[int, bool, int, bool]]:
        """Of each cut: its step, whether it opens an epoch, its policy, whether its window's instants open epochs."""
        slow = None if pruner.sparsity is None else pruner.sparsity.every
        for number, policy, own in self.of_kind("pruner"):
            if policy.instance != name:
                continue
            occasions = own if slow is None else self.timeline.occasions(policy, _EPOCH, every=slow)
            if pruner.is_edit:  # which removes nothing
                continue
            for window in (settled(own),) if pruner.is_learned else occasions.windows:
                for moment in window.moments(self.steps):
                    yield moment.step(self.steps), not window.is_end, number, window.is_epochs

    def _cut(self, step: int, opens: bool, policy: int, is_epochs: bool) -> Cut:
        del opens
        epoch = step // self.steps
        return Cut(step, policy, range(epoch, min(epoch + (1 if is_epochs else 2), self.epochs)))

    @cached_property
    def largest_rates(self) -> list[float | None]:
        """The largest learning rate that each epoch trains with; None where it is not known."""
        if len(self.rated) < len(self.of_kind("lr_scheduler")):
            return [None] * self.epochs  # a rate that follows the metrics
        try:
            rates = self.sampled()
        except SchedEngineError:
            return [None] * self.epochs
        starts = [window.start.step(self.steps) for policy in self.rated.values() for window in policy.own.windows]
        known = 0 if self.knows_rate else min(starts, default=self.end)
        return [
            max(values.values()) if min(values) >= known else None
            for _, group in itertools.groupby(rates.items(), key=lambda pair: pair[0] // self.steps)
            for values in [dict(group)]
        ]

    def sampled(self, only: LRPolicy | None = None) -> dict[int, float]:
        """Step -> learning rate of the first parameter group; what was written last holds."""
        policies = self.rated.values() if only is None else (only,)
        samples = self._samples([one for policy in policies for one in policy.own.windows])
        return {step: self.rates.at(step, only) for step in samples}

    def _samples(self, windows: Sequence[Window]) -> list[int]:
        """Five steps of each epoch, and the first and the last of each window."""
        starts = (window.start.step(self.steps) for window in windows)
        ends = (window.stop.step(self.steps) - 1 for window in windows)
        spread = {round(part * (self.steps - 1) / 4) for part in range(5)}
        spaced = (epoch * self.steps + step for epoch in range(self.epochs) for step in spread)
        return [step for step in sorted({*starts, *ends, *spaced}) if 0 <= step < self.end]

    def faults(self) -> Iterator[Problem]:
        """Errors that show without a model: a ramp that does not fit its cuts, a time that has no learning rate."""
        for name in {policy.instance: None for _, policy, _ in self.of_kind("pruner")}:
            try:
                self.cuts(name)
            except SchedEngineError as error:
                yield self.schedule.problem(f"pruners.{name}.sparsity", str(error))
        told = set[str]()
        for number, policy in self.rated.items():
            try:
                self.sampled(policy)
            except SchedEngineError as error:
                if str(error) not in told:  # a retraining cannot be made from rates that cannot be made
                    yield self.schedule.problem(f"policies[{number}]", str(error))
                told.add(str(error))


def _target(pruner: Pruner, number: int, count: int) -> float:
    if pruner.sparsity is None:
        return 0.0
    to = max(pruner.allocation.values()) if isinstance(pruner.allocation, dict) else None
    return pruner.sparsity.at(number, count, to=to)


def is_relative(outlook: Outlook, schedule: LearningRate) -> bool:
    """Whether a rate hangs on one that is only assumed: the optimizer's initial one."""
    if outlook.knows_rate:
        return False
    if isinstance(schedule, Retraining):
        others = (one.schedule for one in outlook.rated.values() if not isinstance(one.schedule, Retraining))
        return any(is_relative(outlook, other) for other in others)
    return not (isinstance(schedule, Shape) and schedule.from_ is not None)
