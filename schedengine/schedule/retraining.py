"""What retraining rates and rewinding need of the phases around them: a dense training, a cut, a stretch that begins.

Pure functions of a schedule on its time axis, asked when a file is loaded and again when it is bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from schedengine.errors import Problem, SchedEngineError
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.retraining import Retraining
from schedengine.policies.base import NO_DENSE
from schedengine.progress import Moment, Occasions, Progress, Window
from schedengine.pruners.pruner import Pruner
from schedengine.schedule.document import Policy, Schedule
from schedengine.schedule.plan import Timeline, default_every, settled


@dataclass(frozen=True)
class Course:
    """A schedule on its time axis.

    Args:
        schedule: whose policies these are.
        timeline: where they lie.
        earlier: epochs that the weights were trained before this run; None if that is not known yet.
    """

    schedule: Schedule
    timeline: Timeline
    earlier: Fraction | None = None

    def windows(self, policy: Policy) -> tuple[Window, ...]:
        """Of a policy; none where they cannot be placed, which is told elsewhere."""
        try:
            return self.timeline.occasions(policy, default_every(self.schedule, policy)).windows
        except ValueError:
            return ()

    @cached_property
    def cuts(self) -> list[tuple[int, Window]]:
        """The windows of all pruners that remove something, with the place of their policy in the file; of one that
        learns, the moment when that is settled."""
        found = []
        for number, policy, pruner in self._pruning():
            windows = self.windows(policy)
            if pruner.is_learned and windows:
                windows = (settled(Occasions.of(windows)),)
            found += [(number, window) for window in windows if not pruner.is_edit]
        return found

    def _pruning(self) -> Iterator[tuple[int, Policy, Pruner]]:
        for number, policy in enumerate(self.schedule.policies):
            if policy.kind == "pruner" and policy.instance in self.schedule.pruners:
                yield number, policy, self.schedule.pruners[policy.instance]

    @cached_property
    def begins(self) -> list[Moment]:
        """When pruners cut, or begin to learn."""
        learning = [one for _, policy, pruner in self._pruning() if pruner.is_learned for one in self.windows(policy)]
        return [window.start for window in [*(cut for _, cut in self.cuts), *learning]]

    @cached_property
    def dense(self) -> Moment:
        """The length of the dense phase: all that comes before the first cut, or before a pruner begins to learn; the
        run, if nothing is cut."""
        first = min(self.begins, key=_order, default=None)
        return Moment(Fraction(self.timeline.epochs or 0)) if first is None else first

    def snapshots(self) -> dict[str, Moment]:
        """The moments whose weights policies go back to, by the name of the snapshot."""
        found = {}
        for policy in self.schedule.policies:
            if policy.rewind is not None and policy.rewind.weights is not None:
                found[str(policy.rewind.snapshot)] = policy.rewind.weights.length(self.dense)
        return found

    def offsets(self) -> dict[Moment, Moment]:
        """Start of a stretch -> the time on the learning rate's clock that it begins with, where a policy says so."""
        return {
            window.start: policy.rewind.clock.length(self.dense)
            for policy in self.schedule.policies
            if policy.rewind is not None and policy.rewind.clock is not None
            for window in self.windows(policy)
        }

    def problems(self) -> list[Problem]:
        """What is missing."""
        found = []
        for number, policy in enumerate(self.schedule.policies):
            rule = self.schedule.lr_schedulers.get(policy.instance) if policy.kind == "lr_scheduler" else None
            said = [*self._rewinding(number, policy), *self._releasing(number, policy)]
            if isinstance(rule, Retraining):
                said += self._retraining(number, policy, rule)
            found += [self.schedule.problem(f"policies[{number}]{key}", message) for key, message in said]
        return found

    def _retraining(self, number: int, policy: Policy, rule: Retraining) -> Iterator[tuple[str, str]]:
        name = LR_SCHEDULES.name_of(rule)
        if policy.during is None:
            yield ".at", f"{name} fits its rates into a stretch of time; use 'during', as in 'during: PHASE'"
            return
        for key, value in (("every", policy.every), ("clock", policy.clock if policy.clock == "run" else None)):
            if value is not None:
                yield f".{key}", f"{name} acts at every step, from the start of its window on; remove {key!r}"
        for window in self.windows(policy):
            problem = self._stretch(number, name, rule, window)
            if problem is not None:
                yield "", problem
                return

    def _stretch(self, number: int, name: str, rule: Retraining, window: Window) -> str | None:
        chosen = {place for place, _, pruner in self._pruning() if not pruner.is_learned}
        here = [(before, cut) for before, cut in self.cuts if before in chosen and _cuts_at(cut, window.start)]
        if rule.needs_cut and here and all(before > number and not cut.is_epochs for before, cut in here):
            return f"{name} takes its peak from the cut at {window.start}, whose policy stands after it; swap them"
        if rule.needs_cut and not here:
            advice = "let a pruner cut there ('at: PHASE'), or use LLR, which needs no cut"
            return f"{name} takes its peak from a cut at {window.start}, and no pruner cuts then; {advice}"
        if self.earlier is None or window.start.steps or window.stop.steps or self.dense.steps:
            return None
        dense = self.earlier + min(window.start.epochs, self.dense.epochs)
        if dense == 0:
            return f"{name}: {NO_DENSE}"
        try:
            rule.check_length(window.stop.epochs - window.start.epochs, dense)
        except SchedEngineError as error:
            return str(error)
        return None

    def _rewinding(self, number: int, policy: Policy) -> Iterator[tuple[str, str]]:
        rewind = policy.rewind
        if rewind is None:
            return
        instants = self.windows(policy)
        for key, time in (("weights", rewind.weights), ("clock", rewind.clock)):
            if time is not None and time.unit == "%" and self.dense.steps:
                what = f"is a share of the dense phase, which ends at {self.dense}, not at an epoch"
                yield f".rewind.{key}", f"{what}; write epochs or steps"
        if rewind.weights is not None:
            moment = rewind.weights.length(self.dense)
            taken = Window(moment, moment)  # before anything else that begins there
            early = [window.start for window in instants if _comes_before((number, window), (-1, taken))]
            if early:
                yield ".rewind.weights", f"goes back to the weights of {moment}, and does so at {early[0]}, before them"
        if rewind.shuffle == "masks":
            first = min(self.cuts, key=_place, default=(-1, Window(self.dense, self.dense)))
            early = [window.start for window in instants if _comes_before((number, window), first)]
            if early:
                yield ".rewind.shuffle", f"acts at {early[0]}, before the first cut, and there are no masks yet"
        if rewind.clock is not None:
            yield from self._clock(rewind.clock.length(self.dense), instants)

    def _releasing(self, number: int, policy: Policy) -> Iterator[tuple[str, str]]:
        if policy.release is None:
            return
        cuts = [cut for cut in self.cuts if self.schedule.policies[cut[0]].pruner == policy.release]
        first = min(cuts, key=_place, default=None)
        instants = self.windows(policy)
        early = [one.start for one in instants if first is None or _comes_before((number, one), first)]
        if early:
            what = "no policy cuts with it" if first is None else f"its first cut is at {first[1].start}"
            what += ", which comes after" if first is not None and first[1].start == early[0] else ""
            yield ".release", f"takes the masks of {policy.release!r} away at {early[0]}, and {what}"
            return
        at_once = [one.start for one in instants if any(_is_right_after((number, one), cut) for cut in cuts)]
        if at_once:
            what = f"takes the masks of {policy.release!r} away at {at_once[0]}, where it has just cut"
            yield ".release", f"{what}; name a later phase"

    def _clock(self, place: Moment, instants: tuple[Window, ...]) -> Iterator[tuple[str, str]]:
        if _is_before(self.dense, place):
            yield (
                ".rewind.clock",
                f"goes back to {place} of the rates, and the dense phase ends at {self.dense}",
            )
            return
        rates = [policy for policy in self.schedule.policies if policy.kind == "lr_scheduler"]
        for instant in instants:
            begin = [one for one in rates if any(window.start == instant.start for window in self.windows(one))]
            if not begin:
                what = "no learning rate's window begins there, whose clock could go back"
                yield ".rewind.clock", f"acts at {instant.start}, and {what}; name the phases in its 'during'"
                return
            for policy in begin:
                rule = self.schedule.lr_schedulers.get(policy.instance)
                if isinstance(rule, Retraining) or policy.clock == "run":
                    is_run = policy.clock == "run"
                    what = "counts from the start of the run" if is_run else "fits its rates into the phase by itself"
                    advice = "remove 'clock' there" if is_run else "remove 'clock' here, or use a curve such as linear"
                    what = f"{policy.instance!r}, which begins at {instant.start}, {what}; {advice}"
                    yield ".rewind.clock", what
                    return
                every = policy.every or default_every(self.schedule, policy)
                if every.unit == "ep" and every.amount.denominator == 1 and not place.is_epoch:
                    what = f"counts whole epochs, and the clock is to go back to {place}; write whole epochs"
                    yield ".rewind.clock", f"{policy.instance!r}, which begins at {instant.start}, {what}"
                    return


def _order(moment: Moment) -> tuple[Fraction, int]:
    return moment.epochs, moment.steps


def _is_before(one: Moment, other: Moment) -> bool:
    """Whether it is, however many steps an epoch has."""
    return one != other and one.epochs <= other.epochs and one.steps <= other.steps


def _place(one: tuple[int, Window]) -> tuple[Fraction, int, int, int]:
    """What a policy's instants are sorted by, given with its place in the file.

    At one moment the end of an epoch comes first, then the beginning of the next, then its first step.
    """
    number, window = one
    return *_order(window.start), 0 if window.is_end else 2 - window.is_epochs, number


def _comes_before(one: tuple[int, Window], other: tuple[int, Window]) -> bool:
    """Whether a policy's instant does, however many steps an epoch has; each with its place in the file."""
    if one[1].start == other[1].start:
        return _place(one) < _place(other)
    return _is_before(one[1].start, other[1].start)


def _is_right_after(one: tuple[int, Window], cut: tuple[int, Window]) -> bool:
    """Whether an instant falls on a cut, and comes after it, with no step between."""
    return one[1].start == cut[1].start and not _comes_before(one, cut)


def _cuts_at(cuts: Window, moment: Moment) -> bool:
    """Whether one of the cuts falls on a moment; where steps decide, whether it may."""
    if cuts.start == moment:
        return True
    if not cuts.is_epochs and cuts.every is not None:
        return not _is_before(moment, cuts.start) and not _is_before(cuts.stop, moment) and cuts.stop != moment
    if not cuts.is_epochs or not moment.is_epoch:
        return False
    epoch = int(moment.epochs)
    if cuts.is_end:
        return epoch > 0 and cuts.index_at_end(Progress(epoch - 1)) is not None
    return cuts.index(Progress(epoch)) is not None


def check_retraining(schedule: Schedule) -> list[Problem]:
    """What the phases tell; nothing without phases."""
    return Course(schedule, Timeline.of(schedule)).problems() if schedule.phases else []
