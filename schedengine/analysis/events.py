"""What will happen in a run, event by event, and the curves that its schedules follow. Nothing is trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import Any

from schedengine.analysis.aims import asked_weights, is_exact
from schedengine.analysis.rates import Rates, sample, strength
from schedengine.lr.retraining import Retraining
from schedengine.policies.base import Policy
from schedengine.policies.collapse import CollapsePolicy
from schedengine.policies.edits import EditPolicy
from schedengine.policies.learning import LearningPolicy
from schedengine.policies.lr import LRPolicy, PlateauPolicy
from schedengine.policies.pruning import PruningPolicy
from schedengine.policies.recalibration import RecalibratePolicy
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.policies.release import ReleasePolicy
from schedengine.policies.rewind import Rewind, RewindPolicy
from schedengine.policies.thinning import ThinPolicy
from schedengine.progress import Moment, Occasions, Progress, Window
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.pruned import Decay
from schedengine.pruners.updates import Reselect, Shrink
from schedengine.schedule.forking import Forking
from schedengine.schedule.plan import Span
from schedengine.schedule.retraining import Course
from schedengine.selection import ParameterTable
from schedengine.soups.fork import Fork
from schedengine.sparsity.allocation import Global, Shapes

SAMPLES = 1000
"""Points at which learning rates and strengths are drawn, at most."""
EVENTS = {
    "epoch": "float",
    "step": "int",
    "phase": "object",
    "kind": "object",
    "name": "object",
    "number": "Int64",
    "count": "Int64",
    "target": "float",
    "weights": "Int64",
    "what": "object",
}
"""The columns, and what they hold; only cuts have numbers, targets and weights."""
When = tuple[int, int, int]
"""What events are sorted by: step, hook of the loop, order in the file."""
Placed = tuple[When, dict[str, Any]]
"""When, and a row of the table."""
_END, _PHASE, _EPOCH, _STEP, _LOSS = range(5)
"""What comes at one moment, in this order: the end of an epoch, phases, the beginning of an epoch, a step, its loss."""


@dataclass(frozen=True)
class LastCut:
    """The last cut of a pruner within the run.

    Args:
        at: where the scheduler is then.
        number, count: of its target among the moves of the target.
    """

    at: Progress
    number: int
    count: int


class Forecast:
    """A bound schedule, asked about the future.

    Args:
        course: the schedule, for the names of its instances, and its time axis.
        policies: bound, in the same order.
        rates: of these policies.
        table: the model's parameters, of which only shapes are read.
        steps: optimizer steps in an epoch.
        zeros: by pruner, of each parameter before its first cut; None for a dense start.

    Attributes:
        notes: what the events leave out; filled by ``events``.
        last_cuts: by pruner, in order of time; none of a pruner whose masks are taken away after it.
        released: these pruners.
    """

    def __init__(
        self,
        course: Course,
        policies: Sequence[Policy],
        rates: Rates,
        table: ParameterTable,
        steps: int,
        zeros: dict[str, dict[str, int]] | None = None,
    ) -> None:
        assert course.timeline.epochs is not None
        self.course = course
        self.schedule = course.schedule
        self.policies = policies
        self.rates = rates
        self.table = table
        self.spans = course.timeline.spans
        self.epochs = course.timeline.epochs
        self.steps = steps
        self.zeros = zeros
        self.notes: list[str] = []
        self.last_cuts: dict[str, LastCut] = {}
        self.released: set[str] = set()
        self._pruners = {one.pruner.name: one.pruner for one in policies if isinstance(one, PruningPolicy)}
        self._titles = titles(self.spans)
        self._forking = Forking(course, steps)
        self._forks = {(fork.phase, fork.start): fork for fork in self._forking.forks}
        self._phases_of_epochs = [""] * self.epochs
        for span, title in zip(self.spans, self._titles):  # inner phases come after the group that they are in
            self._phases_of_epochs[span.start : span.stop] = [title] * (span.stop - span.start)

    def events(self) -> list[dict[str, Any]]:
        """All of them, in the order in which the loop meets them; of one hook, policies as in the file."""
        found = [*self._cuts, *self._phases(), *self._policies()]
        return [row for _, row in sorted(found, key=lambda pair: pair[0])]

    def _row(self, moment: Moment, order: int, hook: int, **said: Any) -> Placed:
        step = moment.step(self.steps)
        place = -(-step // self.steps) - 1 if hook == _END else step // self.steps
        phase = self._phases_of_epochs[place] if 0 <= place < self.epochs else ""
        row = {**dict.fromkeys(EVENTS), "epoch": step / self.steps, "step": step, "phase": phase, **said}
        return (step, hook, order), row

    def _phases(self) -> Iterator[Placed]:
        for number, (span, title) in enumerate(zip(self.spans, self._titles)):
            length = span.stop - span.start
            what = f"{title} begins: {length} epoch{'s' * (length != 1)}"
            fork = self._forks.get((span.name, span.start))
            if fork is not None:
                what += f", by each of {fork.replicas} replicas; then their average goes on"
            yield self._row(Moment(Fraction(span.start)), number, _PHASE, kind="phase", name=span.name, what=what)

    def _policies(self) -> Iterator[Placed]:
        for order, policy in enumerate(self.policies):
            if isinstance(policy, PruningPolicy):
                yield from self._keeping(order, policy)
            elif isinstance(policy, LearningPolicy):
                yield from self._learning(order, policy)
            elif isinstance(policy, EditPolicy):
                yield from self._edit(order, policy)
            elif isinstance(policy, LRPolicy):
                yield from self._lr(order, policy)
            elif isinstance(policy, PlateauPolicy):
                yield from self._plateau(order, policy)
            elif isinstance(policy, RegularizationPolicy):
                yield from self._regularization(order, policy)
            elif isinstance(policy, RewindPolicy):
                yield from self._rewind(order, policy)
            elif isinstance(policy, ThinPolicy):
                yield from self._thinning(order, policy)
            elif isinstance(policy, RecalibratePolicy):
                yield from self._recalibration(order, policy)
            elif isinstance(policy, CollapsePolicy):
                yield from self._collapse(order, policy)

    @cached_property
    def _cuts(self) -> list[Placed]:
        """Cuts and releases within the run, in order of time; notes those after it, and each pruner's last cut."""
        found = []
        for order, policy in enumerate(self.policies):
            if isinstance(policy, (PruningPolicy, ReleasePolicy)):
                word = "cut" if isinstance(policy, PruningPolicy) else "release"
                found += self._instants(order, policy.own, f"pruner {policy.pruner.name!r}", word)
        found = self._rested(sorted(found, key=lambda one: one[0]))
        placed = [
            self._cut(*one) if isinstance(self.policies[one[0][2]], PruningPolicy) else self._release(*one)
            for one in found
        ]
        return self._gathered(placed)

    def _rested(self, found: list[tuple[When, Window, Moment]]) -> list[tuple[When, Window, Moment]]:
        """Of the choices that wait while replicas train only the last is made, from their average."""
        last: dict[tuple[int, int], tuple[When, Window, Moment]] = {}
        kept = []
        for when, window, moment in found:
            fork = self._waits(when, window)
            if fork is None:
                kept.append((when, window, moment))
            else:
                last[fork.stop, when[2]] = ((fork.stop * self.steps, _END, when[2]), window, moment)
        return sorted([*kept, *last.values()], key=lambda one: one[0])

    def _waits(self, when: When, window: Window) -> Fork | None:
        """The fork whose end an instant waits for."""
        policy = self.policies[when[2]]
        if not isinstance(policy, PruningPolicy) or window.is_end:
            return None
        for fork in self._forks.values():
            resting = {self.schedule.policies[number].instance for number in self._forking.resting(fork)}
            start = fork.start * self.steps + (when[1] == _EPOCH)  # what falls on the first epoch precedes the fork
            if policy.pruner.name in resting and start <= when[0] < fork.stop * self.steps:
                return fork
        return None

    def _gathered(self, placed: list[Placed]) -> list[Placed]:
        """One row for all the cuts in a row that only choose anew at the target of the one before."""
        kept: list[Placed] = []
        again: Counter[int] = Counter()
        last: dict[str, int] = {}
        for one in placed:
            row = one[1]
            before = kept[last[row["name"]]][1] if row["name"] in last else None
            if row["kind"] == "cut" and before is not None and self._repeats(before, row):
                again[last[row["name"]]] += 1
                before["until"] = row["epoch"]
                continue
            last[row["name"]] = len(kept)
            kept.append(one)
        for number, count in again.items():
            row = kept[number][1]
            row["what"] += f"; chosen anew {count:,} time{'s' * (count != 1)} until epoch {row.pop('until'):.4g}"
        return kept

    def _repeats(self, before: dict[str, Any], row: dict[str, Any]) -> bool:
        pruner = self._pruners[row["name"]]
        is_anew = pruner.spec.pruned.keeps and isinstance(pruner.spec.update, Reselect)
        return is_anew and before["kind"] == "cut" and row["target"] is not None and before["target"] == row["target"]

    def _instants(self, order: int, own: Occasions, name: str, word: str) -> list[tuple[When, Window, Moment]]:
        """Those within the run; notes how many are not."""
        instants = [(window, moment) for window in own.windows for moment in window.moments(self.steps)]
        within = [one for one in instants if one[1].step(self.steps) - one[0].is_end < self.epochs * self.steps]
        if missed := len(instants) - len(within):
            self.notes.append(f"{name}: {missed} {word}{'s' * (missed != 1)} after the end of the run")
        return [((moment.step(self.steps), _hook(window), order), window, moment) for window, moment in within]

    def _release(self, when: When, window: Window, moment: Moment) -> Placed:
        del window
        policy = self.policies[when[2]]
        assert isinstance(policy, ReleasePolicy)
        name = policy.pruner.name
        if when[0] < self.epochs * self.steps:  # what is released at the end of the run stays 0: nothing trains it
            self.last_cuts.pop(name, None)
            self.released.add(name)
        return self._row(moment, when[2], when[1], kind="release", name=name, what=f"masks of {name!r} are taken away")

    def _learning(self, order: int, policy: LearningPolicy) -> Iterator[Placed]:
        name, names = policy.pruner.name, policy.pruner.names
        word = policy.pruner.spec.treatment
        for window, _, stop in self._within(policy.own, f"pruner {name!r}"):
            count, until = policy.learned.values.numel(), f"until epoch {stop / self.steps:.4g}"
            what = f"{word} with {count:,} learned values on {len(names)} parameters, {until}"
            yield self._row(window.start, order, _EPOCH, kind="learn", name=name, what=what)
        end = policy.own.windows[-1].stop
        if end.step(self.steps) <= self.epochs * self.steps:
            epoch = -(-end.step(self.steps) // self.steps)
            what = "what was learned is settled: zeros stay, the rest are plain weights"
            yield self._row(Moment(Fraction(epoch)), order, _END, kind="masks", name=name, what=what)

    def _edit(self, order: int, policy: EditPolicy) -> Iterator[Placed]:
        pruner = policy.pruner
        shapes = pruner.shapes(self.table)
        held = "are decayed, the others are not" if isinstance(pruner.spec.pruned, Decay) else "get no gradient"
        count = policy.every.count(self.steps)
        for window, _, stop in self._within(policy.own, f"pruner {pruner.name!r}"):
            number = min(count, max(1, policy.every.reached(self._progress(window, window.start))))
            last = min(count, number + window.count(self.steps) - 1)
            aims = [pruner.aim(shapes, one, count) for one in (number, last)]
            shares = [f"{aim.total:.4f}" for aim in aims if aim is not None]
            share = shares[0] if shares[0] == shares[-1] else f"{shares[0]} to {shares[-1]}"
            weights = sum(map(math.prod, shapes.values()))
            what = f"{share} of {weights:,} weights {held}, until epoch {stop / self.steps:.4g}; none is removed"
            yield self._row(window.start, order, _STEP, kind="hold", name=pruner.name, what=what)

    def _rewind(self, order: int, policy: RewindPolicy) -> Iterator[Placed]:
        what = self._back(policy.spec)
        for _, window, moment in self._instants(order, policy.own, "rewind", "instant"):
            yield self._row(moment, order, _hook(window), kind="rewind", name="", what=what)

    def _thinning(self, order: int, policy: ThinPolicy) -> Iterator[Placed]:
        what = "filters and channels" if policy.spec.what == "all" else policy.spec.what
        for _, window, moment in self._instants(order, policy.own, "thin", "instant"):
            yield self._row(
                moment, order, _hook(window), kind="thin", name="", what=f"{what} that are zero are removed"
            )

    def _recalibration(self, order: int, policy: RecalibratePolicy) -> Iterator[Placed]:
        count = policy.spec.batches
        source = "all batches of the data" if count is None else f"{count:,} batch{'es' * (count > 1)}"
        what = f"batch-norm statistics are estimated anew from {source}"
        for _, window, moment in self._instants(order, policy.own, "recalibrate", "instant"):
            yield self._row(moment, order, _hook(window), kind="recalibrate", name="", what=what)

    def _collapse(self, order: int, policy: CollapsePolicy) -> Iterator[Placed]:
        then = "an error" if policy.severity == "error" else "a warning"
        what = f"{then} if a layer that is pruned, or every way through the network, is all 0"
        if not policy.is_stretch:
            for _, window, moment in self._instants(order, policy.own, "check_collapse", "instant"):
                yield self._row(moment, order, _hook(window), kind="check_collapse", name="", what=what)
            return
        for window, _, stop in self._within(policy.own, "check_collapse"):
            until = f"after every cut and epoch until epoch {stop / self.steps:.4g}: {what}"
            yield self._row(window.start, order, _hook(window), kind="check_collapse", name="", what=until)

    def _back(self, spec: Rewind) -> str:
        """What goes back, and where to."""
        dense, parts = self.course.dense, []
        if spec.weights is not None:
            parts.append(f"weights back to {spec.weights.length(dense)}")
        if spec.clock is not None:
            parts.append(f"the learning rate's clock to {spec.clock.length(dense)}")
        if spec.shuffle is not None:
            shuffled = "values of each parameter" if spec.shuffle == "weights" else "each mask"
            parts.append(f"{shuffled} in random order")
        states = {"keep": "kept", "mask": "masked", "reset": "reset"}
        is_told = spec.momentum != "keep" or spec.weights is not None or spec.optimizer is not None
        return ", ".join([*parts, *([f"optimizer {states[spec.momentum]}"] if is_told else [])])

    def _cut(self, when: When, window: Window, moment: Moment) -> Placed:
        policy, at = self.policies[when[2]], self._progress(window, moment)
        assert isinstance(policy, PruningPolicy)
        occasion, pruner = policy.every.at_end(at) if window.is_end else policy.every.at(at), policy.pruner
        assert occasion is not None
        if self.last_cuts.pop(pruner.name, None) is None and isinstance(pruner.spec.update, Shrink):
            self._note_earlier(pruner)
        last = self.last_cuts[pruner.name] = LastCut(at, *policy.target_number(occasion, at))
        shapes = pruner.shapes(self.table)
        # Weights that were released train again, and are no zeros to begin with.
        zeros = None if pruner.name in self.released else (self.zeros or {}).get(pruner.name)
        aim = pruner.aim(shapes, last.number, last.count, zeros)
        said: dict[str, Any] = {"number": occasion.number, "count": occasion.count}
        gone = "what the limit says; decided by the weights"
        if aim is not None:
            said["target"] = aim.total
            if pruner.spec.draw == "bernoulli":
                groups = sum(number for number, _ in pruner.counts(shapes).values())
                gone = f"each of {groups:,} groups goes with probability {aim.total:.4g}"
            elif isinstance(pruner.spec.allocation, Global) and pruner.spec.allocation.count == "groups":
                groups = sum(number for number, _ in pruner.counts(shapes).values())
                gone = f"{aim.total:.4f} of {groups:,} groups are gone"
            else:
                said["weights"] = asked_weights(pruner, shapes, aim)
                gone = _gone(said["weights"], aim.total, shapes, is_exact=is_exact(pruner, shapes, aim))
        if pruner.spec.lasts == "step":
            gone += ", for one step"
        again = "" if policy.refresh is None else f", again every {policy.refresh.steps} steps of this epoch"
        said["what"] = f"cut {occasion.number} of {occasion.count}: {gone}{again}"
        if when[1] == _END and not window.is_end:
            said["what"] += ", chosen from the average"
            moment = Moment(Fraction(when[0], self.steps))
        return self._row(moment, when[2], when[1], kind="cut", name=pruner.name, **said)

    def _note_earlier(self, pruner: BoundPruner) -> None:
        """What nested masks begin with counts as gone already, and other pruners' cuts are not added up here."""
        before = [name for name in self.last_cuts if set(pruner.names) & set(self._pruners[name].names)]
        if before:
            self.notes.append(
                f"pruner {pruner.name!r} begins after {', '.join(map(repr, before))} cut some of its parameters; its "
                "targets never go below what is gone by then, which is left out here"
            )

    def _keeping(self, order: int, policy: PruningPolicy) -> Iterator[Placed]:
        """The ends of windows after which masks hold for good: with the epoch that a window ends in."""
        for window in policy.own.windows if policy.keep_mask else ():
            is_instant = window.every is None and not window.is_end
            stop = window.stop.step(self.steps)
            epoch = stop // self.steps + 1 if is_instant else -(-stop // self.steps)
            if epoch > self.epochs:
                self.notes.append(f"pruner {policy.pruner.name!r}: a window ends after the run, and keeps no masks")
                continue
            what = "its masks hold for good; kept values are dropped"
            yield self._row(Moment(Fraction(epoch)), order, _END, kind="masks", name=policy.pruner.name, what=what)

    def _progress(self, window: Window, moment: Moment) -> Progress:
        """Where the scheduler is when an instant fires."""
        if window.is_end:
            return Progress(int(moment.epochs) - 1, None, self.steps)
        if window.is_epochs:
            return Progress(int(moment.epochs), None, self.steps)
        return Progress(*divmod(moment.step(self.steps), self.steps), self.steps)

    def _lr(self, order: int, policy: LRPolicy) -> Iterator[Placed]:
        name = self.schedule.policies[order].instance
        is_open = False
        for window, first, stop in self._within(policy.own, f"lr_scheduler {name!r}"):
            rates, until = _over(self.rates, policy, first, stop - 1), f"until epoch {stop / self.steps:.4g}"
            what = f"from {rates[0]:.4g}{_peak(rates)} to {rates[-1]:.4g}, {until}"
            what = f"{rates[0]:.4g} from here on" if window.every is None else what
            least = self._least(policy, first, stop)
            if least < max(rates):
                is_open, what = True, f"peak {least:.4g} to {max(rates):.4g}, decided by the cut, {until}"
            yield self._row(window.start, order, _hook(window), kind="lr", name=name, what=what)
        if is_open:
            self.notes.append(f"lr_scheduler {name!r}: peaks that the cuts decide are drawn at their largest")

    def _least(self, policy: LRPolicy, first: int, stop: int) -> float:
        """The lowest that a peak may be which a cut decides; infinite for other rates."""
        if not (isinstance(policy.schedule, Retraining) and policy.schedule.needs_cut):
            return math.inf
        return max(_over(self._least_rates, policy, first, stop - 1))

    @cached_property
    def _least_rates(self) -> Rates:
        return self.rates.supposing(0.0)

    def _within(self, own: Occasions, name: str) -> Iterator[tuple[Window, int, int]]:
        """Windows that begin in the run, with their first step in it, and the step after their last."""
        run = self.epochs * self.steps
        for window in own.windows:
            first, stop = window.start.step(self.steps), min(window.stop.step(self.steps), run)
            if first < run:
                yield window, first, max(first + 1, stop)
            else:
                self.notes.append(f"{name}: a window begins after the run, at epoch {first / self.steps:.4g}")

    def _plateau(self, order: int, policy: PlateauPolicy) -> Iterator[Placed]:
        name = self.schedule.policies[order].instance
        self.notes.append(f"lr_scheduler {name!r} follows the metrics of the run; its changes are not drawn")
        for window, _, _ in self._within(policy.own, f"lr_scheduler {name!r}"):
            what = "lowers the rate when a metric says so"
            yield self._row(window.start, order, _hook(window), kind="lr", name=name, what=what)

    def _regularization(self, order: int, policy: RegularizationPolicy) -> Iterator[Placed]:
        regularizer = policy.regularizer
        for window, first, stop in self._within(policy.own, f"regularizer {regularizer.name!r}"):
            ends = (first, self._last_active(window, stop))
            low, high = (strength(policy, Progress(*divmod(step, self.steps), self.steps)) for step in ends)
            shown = f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
            most = "up to " if len(set((regularizer.by_name or {}).values())) > 1 else ""
            every = f", every {window.every.epochs} epochs" if window.every and _skips(window) else ""
            what = f"strength {most}{shown} on {len(regularizer.names)} parameters{every}, "
            what += f"until epoch {stop / self.steps:.4g}"
            yield self._row(window.start, order, _LOSS, kind="regularizer", name=regularizer.name, what=what)

    def _last_active(self, window: Window, stop: int) -> int:
        """The last step before ``stop`` in an epoch in which the window acts."""
        epoch = (stop - 1) // self.steps
        active = next((one for one in range(epoch, -1, -1) if window.is_active(Progress(one, 0, self.steps))), epoch)
        return stop - 1 if active == epoch else (active + 1) * self.steps - 1

    def curves(self) -> Iterator[tuple[float, str, str, float]]:
        """Points of sparsity (each cut), learning rate and strengths (sampled, with the steps where windows end)."""
        drawn = set()
        for _, cut in self._cuts:
            if cut["kind"] == "cut" and cut["target"] is not None:
                drawn.add(cut["name"])
                yield cut["epoch"], "sparsity", cut["name"], cut["target"]
            elif cut["kind"] == "release" and cut["name"] in drawn:
                yield cut["epoch"], "sparsity", cut["name"], 0.0
        if any(isinstance(policy, LRPolicy) for policy in self.policies):
            last, steps = self.epochs * self.steps - 1, self._sampled(LRPolicy)
            for step, rate in sample(self.rates.at, 0, last, SAMPLES, steps).items():
                yield step / self.steps, "lr", "lr", rate
        for policy in self.policies:
            if isinstance(policy, RegularizationPolicy):
                for step in self._sampled(RegularizationPolicy):
                    at = Progress(*divmod(step, self.steps), self.steps)
                    yield step / self.steps, "strength", policy.regularizer.name, strength(policy, at)

    def _sampled(self, kind: type) -> list[int]:
        """Steps to ask at: evenly spaced, and the first and last of every window."""
        run = self.epochs * self.steps
        policies: Sequence[Any] = [policy for policy in self.policies if isinstance(policy, kind)]
        edges = [
            step
            for policy in policies
            for window in policy.own.windows
            for edge in (window.start.step(self.steps), window.stop.step(self.steps))
            for step in (edge - 1, edge)
        ]
        spaced = range(0, run, max(1, run // SAMPLES))
        return sorted({step for step in (*spaced, *edges, run - 1) if 0 <= step < run})


def _over(rates: Rates, policy: LRPolicy, first: int, last: int) -> list[float]:
    """Rates of one policy from the first to the last step of a window: some hundred of them."""
    return list(sample(partial(rates.at, only=policy), first, last, 100).values())


def _peak(rates: Sequence[float]) -> str:
    """Where a curve goes beyond its ends."""
    most = max(rates)
    return f" over {most:.4g}" if most > max(rates[0], rates[-1]) else ""


def _hook(window: Window) -> int:
    """Where in the loop a policy acts at an instant."""
    if window.is_end:
        return _END
    return _EPOCH if window.is_epochs else _STEP


def _skips(window: Window) -> bool:
    return window.is_epochs and window.every is not None and window.every.epochs > 1


def _gone(most: int, target: float, shapes: Shapes, *, is_exact: bool) -> str:
    """What a cut leaves gone, and what it asks for where that is another number."""
    weights = sum(map(math.prod, shapes.values()))
    asked, gone = f"{target:.4f}", f"{most / weights:.4f}"
    said = f"{'' if is_exact else 'up to '}{gone} of {weights:,} weights are gone"
    return said if asked == gone else f"{said} (asked: {asked})"


def titles(spans: Sequence[Span]) -> list[str]:
    """The phases' names, with their repeat where there are several."""
    repeats = Counter(span.name for span in spans)
    seen: Counter[str] = Counter()
    found = []
    for span in spans:
        seen[span.name] += 1
        found.append(span.name if repeats[span.name] == 1 else f"{span.name} {seen[span.name]}/{repeats[span.name]}")
    return found
