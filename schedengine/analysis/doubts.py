"""What is legal in a schedule and surely not what was meant: one function for each doubt, a table of them at the end.

A doubt that hangs on the length of the run is kept back where the length is only assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from schedengine.analysis.rates import Rates
from schedengine.errors import Problem, SchedEngineError
from schedengine.lr.base import Group
from schedengine.lr.plateau import Plateau
from schedengine.lr.shapes import Shape
from schedengine.policies.lr import LRPolicy
from schedengine.progress import Moment, Occasions, Progress, Time, Window
from schedengine.pruners.pruner import Pruner
from schedengine.schedule.document import Policy, Schedule
from schedengine.schedule.plan import Timeline, default_every

NEARLY_ZERO = 1e-3
"""Share of the run's largest learning rate up to which a rate trains next to nothing."""
_MOST = 3
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
    """

    schedule: Schedule
    timeline: Timeline
    steps: int
    is_certain: bool
    groups: Sequence[Group]
    knows_rate: bool
    selected: Mapping[str, Sequence[str]]

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
        run, found = Moment(Fraction(self.epochs)), {}
        for number, policy, occasions in self.of_kind("lr_scheduler"):
            schedule = self.schedule.lr_schedulers[policy.instance]
            if not isinstance(schedule, Plateau):
                found[number] = LRPolicy(schedule, occasions, self.groups, clock=policy.clock, run=run)
        return found

    def cuts(self, name: str) -> list[Cut]:
        """Those of a pruner that remove more than the one before; all, where a limit decides.

        Raises:
            SchedEngineError: the ramp does not fit the number of cuts.
        """
        pruner = self.schedule.pruners[name]
        if pruner.threshold is not None and pruner.pruned in ("hidden", "dense"):
            return []  # chosen anew all the time, from values that train on
        instants = sorted(self._instants(name, pruner))
        targets = [0.0, *(_target(pruner, number, len(instants)) for number in range(1, len(instants) + 1))]
        moves = zip(instants, itertools.pairwise(targets))
        return [self._cut(*instant) for instant, (before, now) in moves if now > before or pruner.threshold is not None]

    def _instants(self, name: str, pruner: Pruner) -> Iterator[tuple[int, bool, int, bool]]:
        """Step, whether it opens an epoch, policy, whether all instants of its window fall between epochs."""
        slow = None if pruner.sparsity is None else pruner.sparsity.every
        for number, policy, own in self.of_kind("pruner"):
            if policy.instance != name:
                continue
            occasions = own if slow is None else self.timeline.occasions(policy, _EPOCH, every=slow)
            for window in occasions.windows:
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
            rates = self.sampled(list(self.rated.values()))
        except SchedEngineError:
            return [None] * self.epochs
        starts = [window.start.step(self.steps) for policy in self.rated.values() for window in policy.own.windows]
        known = 0 if self.knows_rate else min(starts, default=self.end)
        return [
            max(values.values()) if min(values) >= known else None
            for _, group in itertools.groupby(rates.items(), key=lambda pair: pair[0] // self.steps)
            for values in [dict(group)]
        ]

    def sampled(self, policies: Sequence[LRPolicy]) -> dict[int, float]:
        """Step -> learning rate of the first parameter group; what was written last holds."""
        rates = Rates(policies, self.groups, self.steps)
        return {step: rates.at(step) for step in self._samples([one for p in policies for one in p.own.windows])}

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
        for number, policy in self.rated.items():
            try:
                self.sampled([policy])
            except SchedEngineError as error:
                yield self.schedule.problem(f"policies[{number}]", str(error))

    def doubts(self) -> Iterator[Problem]:
        """What is legal and surely wrong, each with its place."""
        for doubt in DOUBTS:
            for path, message in doubt(self):
                yield self.schedule.problem(path, message)


Doubts = Iterator[tuple[str, str]]
"""Path in the schedule, and message."""


def _target(pruner: Pruner, number: int, count: int) -> float:
    if pruner.sparsity is None:
        return 0.0
    to = max(pruner.allocation.values()) if isinstance(pruner.allocation, dict) else None
    return pruner.sparsity.at(number, count, to=to)


def _lag(outlook: Outlook, policy: Policy) -> int:
    """Epochs by which a window lies later than in the file: version 1 sets a rate at the end of the epoch before."""
    is_distillers = outlook.schedule.effects == "warn" and policy.kind == "lr_scheduler" and policy.clock == "run"
    return 1 if is_distillers else 0


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST]))
    more = f" and {len(numbers) - _MOST} more" if len(numbers) > _MOST else ""
    return f"epoch{'s' * (len(numbers) > 1)} {shown}{more}"


def beyond_the_end(outlook: Outlook) -> Doubts:
    """A window of which some or all lies after the run."""
    if not outlook.is_certain:
        return
    for number, policy, occasions in outlook.policies:
        run = f"the run ends after {outlook.epochs} epochs"
        if policy.kind == "pruner":
            is_late = any(window.outlasts(outlook.epochs, outlook.steps) for window in occasions.windows)
            if is_late and not outlook.schedule.pruners[policy.instance].optional:
                yield f"policies[{number}]", f"{run}, before its last cut"
            continue
        shift = Moment(Fraction(_lag(outlook, policy)))
        windows = [window for window in occasions.windows if not window.is_end]
        starts, stops = [window.start - shift for window in windows], [window.stop - shift for window in windows]
        if starts and all(start.step(outlook.steps) >= outlook.end for start in starts):
            yield f"policies[{number}]", f"begins at {min(starts, key=_order)}, and {run}: it never acts"
        elif any(stop.step(outlook.steps) > outlook.end for stop in stops) and outlook.schedule.effects == "error":
            # In version 1, where no rate and no strength depends on it, files end their windows anywhere after the run.
            yield f"policies[{number}]", f"its window ends at {max(stops, key=_order)}, and {run}"


def _order(moment: Moment) -> tuple[Fraction, int]:
    return moment.epochs, moment.steps


def rate_left_alone(outlook: Outlook) -> Doubts:
    """The last learning-rate schedule ends before training does, and not on a plateau of its own."""
    windows = [
        (window.stop.step(outlook.steps) - _lag(outlook, policy) * outlook.steps, number, window)
        for number, policy, occasions in outlook.of_kind("lr_scheduler")
        for window in occasions.windows
    ]
    stretches = [entry for entry in windows if entry[2].every is not None]
    stop, number, window = max(stretches, key=lambda entry: entry[:2], default=(outlook.end, 0, None))
    is_followed = any(start >= stop for start, _, other in windows if other.every is None and not other.is_end)
    if window is None or stop >= outlook.end or is_followed or not outlook.is_certain:
        return
    ends = f"ends at epoch {stop / outlook.steps:.4g}, and the run goes on to epoch {outlook.epochs}"
    policy = outlook.rated.get(number)
    if policy is None:
        yield f"policies[{number}]", f"{ends}: the learning rate then stays as it is"
        return
    try:
        held = Rates(list(outlook.rated.values()), outlook.groups, outlook.steps).at(outlook.end - 1)
        later = [Progress(epoch, 0, outlook.steps) for epoch in range(-(-stop // outlook.steps), outlook.epochs)]
        clocks = [policy.clock_at(window, progress) for progress in later]
        if all(policy.schedule.values(clock, policy.groups)[0]["lr"] == held for clock in clocks):
            return
    except SchedEngineError:
        return
    is_relative = not (isinstance(policy.schedule, Shape) and policy.schedule.from_ is not None)
    base = f", if it begins with {outlook.groups[0].lr:g}" if is_relative and not outlook.knows_rate else ""
    yield f"policies[{number}]", f"{ends}: the learning rate then stays at {held:.3g}{base}"


def two_rates(outlook: Outlook) -> Doubts:
    """Two learning-rate schedules at one time."""
    for pair in itertools.combinations(outlook.of_kind("lr_scheduler"), 2):
        (_, _, first), (number, _, second) = pair
        if not _meet(first, second):
            continue
        yield f"policies[{number}]", f"two learning-rate schedules act at one time; {_winner(outlook, pair)}"


def _winner(outlook: Outlook, pair: tuple[tuple[int, Policy, Occasions], tuple[int, Policy, Occasions]]) -> str:
    """Whose rates hold; ``pair`` in the order of the file."""
    (_, one, first), (_, other, second) = pair
    plateau = next((policy for policy in (one, other) if _is_plateau(outlook, policy)), None)
    if plateau is not None:
        return f"what {plateau.instance!r} lowers, {(other if plateau is one else one).instance!r} writes over"
    by_step = [any(not window.is_epochs for window in own.windows) for own in (first, second)]
    if by_step == [True, False]:  # at the beginning of an epoch, what is written per step is written last
        return f"{one.instance!r}, which is written at every step, wins over this one"
    return f"this one, later in the file, wins over {one.instance!r}"


def _is_plateau(outlook: Outlook, policy: Policy) -> bool:
    return isinstance(outlook.schedule.lr_schedulers[policy.instance], Plateau)


def _meet(first: Occasions, second: Occasions) -> bool:
    return any(one.overlaps(other) for one in first.windows for other in second.windows)


def two_pruners(outlook: Outlook) -> Doubts:
    """Two pruners on one parameter at one time."""
    for (_, one, first), (number, other, second) in itertools.combinations(outlook.of_kind("pruner"), 2):
        taken = set(outlook.selected.get(one.instance, ()))
        shared = [name for name in outlook.selected.get(other.instance, ()) if name in taken]
        if one.instance == other.instance or not shared or not _meet(first, second):
            continue
        names = shared[0] + (f" and {len(shared) - 1} more" if len(shared) > 1 else "")
        if outlook.schedule.pruners[other.instance].masks == "replace":
            what = "its masks replace those of the other at every cut"
        else:
            what = "their masks combine, and more may be gone than either target says"
        yield f"policies[{number}]", f"prunes {names} at the same time as {one.instance!r}: {what}"


def no_rate_after_cut(outlook: Outlook) -> Doubts:
    """Cuts with (nearly) no learning rate in the whole epoch after them."""
    rates = outlook.largest_rates
    largest = max((rate for rate in rates if rate is not None), default=0.0)
    idle = {
        epoch
        for epoch, rate in enumerate(rates)
        if rate is not None and rate <= NEARLY_ZERO * largest and outlook.is_certain
    }
    found: dict[int, list[int]] = {}
    for cut in _all_cuts(outlook):
        if cut.epochs and idle.issuperset(cut.epochs):
            found.setdefault(cut.policy, []).append(cut.epochs[0])
    for number, epochs in found.items():
        highest = max(rates[epoch] or 0.0 for epoch in epochs)
        rate = f"at most {highest:.3g}" if highest else "0"
        message = f"cuts at {_listed(epochs)}, and the learning rate is {rate} for the whole epoch after"
        yield f"policies[{number}]", f"{message} (the largest of the run: {largest:.3g})"


def _all_cuts(outlook: Outlook) -> Iterator[Cut]:
    for name in {policy.instance: None for _, policy, _ in outlook.of_kind("pruner")}:
        try:
            yield from outlook.cuts(name)
        except SchedEngineError:  # among the faults
            continue


def no_recovery(outlook: Outlook) -> Doubts:
    """The last cut of a pruner leaves less than an epoch of training."""
    last: dict[str, Cut] = {}
    for cut in _all_cuts(outlook):
        last[outlook.schedule.policies[cut.policy].instance] = cut
    for cut in last.values():
        left = outlook.end - cut.step
        if outlook.is_certain and 0 <= left < outlook.steps:
            what = f"{left} of the {outlook.steps} steps of an epoch" if left else "no training"
            yield f"policies[{cut.policy}]", f"the last cut leaves {what} to recover"


DOUBTS: tuple[Callable[[Outlook], Doubts], ...] = (
    beyond_the_end,
    rate_left_alone,
    two_rates,
    two_pruners,
    no_rate_after_cut,
    no_recovery,
)
"""In the order in which they are told of one line."""
