"""What will happen in a run, event by event, and the curves that its schedules follow. Nothing is trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from schedengine.analysis.rates import Rates, strength
from schedengine.policies.base import Policy
from schedengine.policies.lr import LRPolicy, PlateauPolicy
from schedengine.policies.pruning import PruningPolicy
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.progress import Moment, Progress, Window
from schedengine.pruners.bound import Aim, BoundPruner
from schedengine.pruners.cutting import removable_groups
from schedengine.schedule.document import Schedule
from schedengine.schedule.plan import Span
from schedengine.selection import ParameterTable
from schedengine.sparsity.selection import removal_count

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
Placed = tuple[tuple[int, int, int], dict[str, Any]]
"""What events are sorted by (step, ends before the rest, order in the file), and a row of the table."""


@dataclass(frozen=True)
class LastCut:
    """The last cut of a pruner within the run.

    Args:
        at: when.
        number, count: of its target among the moves of the target.
    """

    at: Progress
    number: int
    count: int


class Forecast:
    """A bound schedule, asked about the future.

    Args:
        schedule: for the names of its instances.
        policies: bound, in the same order.
        table: the model's parameters, of which only shapes are read.
        spans: the phases.
        epochs: length of the run.
        steps: optimizer steps in an epoch.
        zeros: by pruner, of each parameter before its first cut; None for a dense start.

    Attributes:
        notes: what the events leave out; filled by ``events``.
        last_cuts: by pruner; filled by ``events``.
    """

    def __init__(
        self,
        schedule: Schedule,
        policies: Sequence[Policy],
        table: ParameterTable,
        spans: Sequence[Span],
        epochs: int,
        steps: int,
        zeros: dict[str, dict[str, int]] | None = None,
    ) -> None:
        self.schedule = schedule
        self.policies = policies
        self.table = table
        self.spans = spans
        self.epochs = epochs
        self.steps = steps
        self.zeros = zeros
        self.notes: list[str] = []
        self.last_cuts: dict[str, LastCut] = {}

    def events(self) -> list[dict[str, Any]]:
        """All of them, in order of time; at one moment ends first, then phases, then policies as in the file."""
        found = [*self._phases(), *self._policies()]
        return [row for _, row in sorted(found, key=lambda pair: pair[0])]

    def _row(self, moment: Moment, order: int, *, is_end: bool = False, **said: Any) -> Placed:
        step = moment.step(self.steps)
        epoch = step / self.steps
        phase = self._phase(math.ceil(epoch) - 1 if is_end else int(epoch))
        row = {**dict.fromkeys(EVENTS), "epoch": epoch, "step": step, "phase": phase, **said}
        return (step, 0 if is_end else 1, order), row

    def _phase(self, epoch: int) -> str:
        """The phase that an epoch lies in, the innermost, with its repeat."""
        span = next((span for span in reversed(self.spans) if span.start <= epoch < span.stop), None)
        return "" if span is None else title(span, self.spans)

    def _phases(self) -> Iterator[Placed]:
        for number, span in enumerate(self.spans):
            length = span.stop - span.start
            what = f"{title(span, self.spans)} begins: {length} epoch{'s' * (length != 1)}"
            order = number - len(self.spans)
            yield self._row(Moment(Fraction(span.start)), order, kind="phase", name=span.name, what=what)

    def _policies(self) -> Iterator[Placed]:
        for order, policy in enumerate(self.policies):
            if isinstance(policy, PruningPolicy):
                yield from self._cuts(order, policy)
            elif isinstance(policy, LRPolicy):
                yield from self._lr(order, policy)
            elif isinstance(policy, PlateauPolicy):
                yield from self._plateau(order, policy)
            elif isinstance(policy, RegularizationPolicy):
                yield from self._regularization(order, policy)

    def _cuts(self, order: int, policy: PruningPolicy) -> Iterator[Placed]:
        missed = 0
        for window in policy.own.windows:
            for moment in window.moments(self.steps):
                if moment.step(self.steps) - window.is_end >= self.epochs * self.steps:
                    missed += 1
                    continue
                yield self._row(moment, order, is_end=window.is_end, **self._cut(policy, window, moment))
            if policy.keep_mask:
                stop = (
                    window.stop
                    if window.every or window.is_end
                    else Moment(Fraction(math.floor(window.stop.epochs) + 1))
                )
                what = "its masks hold for good; kept values are dropped"
                yield self._row(stop, order, is_end=True, kind="masks", name=policy.pruner.name, what=what)
        if missed:
            self.notes.append(f"pruner {policy.pruner.name!r}: {missed} cuts come after the end of the run")

    def _cut(self, policy: PruningPolicy, window: Window, moment: Moment) -> dict[str, Any]:
        at, pruner = self._progress(window, moment), policy.pruner
        occasion = policy.every.at_end(at) if window.is_end else policy.every.at(at)
        assert occasion is not None
        last = self.last_cuts[pruner.name] = LastCut(at, *policy.target_number(occasion, at))
        aim = pruner.aim(pruner.shapes(self.table), last.number, last.count, (self.zeros or {}).get(pruner.name))
        weights = sum(self.table[name].numel() for name in pruner.names)
        cut = {"kind": "cut", "name": pruner.name, "number": occasion.number, "count": occasion.count}
        if aim is None:
            return {
                **cut,
                "what": f"cut {occasion.number} of {occasion.count}: what the limit says; decided by the weights",
            }
        removed = asked_weights(pruner, pruner.shapes(self.table), aim)
        again = "" if policy.refresh is None else f", again every {policy.refresh.steps} steps of this epoch"
        what = f"cut {occasion.number} of {occasion.count}: {aim.total:.4f} of {weights:,} weights are gone{again}"
        return {**cut, "target": aim.total, "weights": removed, "what": what}

    def _progress(self, window: Window, moment: Moment) -> Progress:
        """Where the scheduler is when an instant fires."""
        if window.is_end:
            return Progress(int(moment.epochs) - 1, None, self.steps)
        if window.is_epochs:
            return Progress(int(moment.epochs), None, self.steps)
        return Progress(*divmod(moment.step(self.steps), self.steps), self.steps)

    def _lr(self, order: int, policy: LRPolicy) -> Iterator[Placed]:
        name, run = self.schedule.policies[order].instance, self.epochs * self.steps
        for window in policy.own.windows:
            first, last = window.start.step(self.steps), min(window.stop.step(self.steps), run) - 1
            if first >= run:
                continue
            rates, until = self._rates(policy, first, last), (last + 1) / self.steps
            what = f"from {rates[0]:.4g}{_peak(rates)} to {rates[-1]:.4g}, until epoch {until:.4g}"
            yield self._row(window.start, order, kind="lr", name=name, what=what)

    def _rates(self, policy: LRPolicy, first: int, last: int) -> list[float]:
        """Rates from the first to the last step of a window, some hundred of them."""
        alone = Rates([policy], policy.groups, self.steps)
        return [alone.at(step) for step in (*range(first, last, max(1, (last - first) // 100)), max(first, last))]

    def _plateau(self, order: int, policy: PlateauPolicy) -> Iterator[Placed]:
        name = self.schedule.policies[order].instance
        self.notes.append(f"lr_scheduler {name!r} follows the metrics of the run; its changes are not drawn")
        for window in policy.own.windows:
            yield self._row(window.start, order, kind="lr", name=name, what="lowers the rate when a metric says so")

    def _regularization(self, order: int, policy: RegularizationPolicy) -> Iterator[Placed]:
        regularizer, run = policy.regularizer, self.epochs * self.steps
        for window in policy.own.windows:
            first, stop = window.start.step(self.steps), min(window.stop.step(self.steps), run)
            ends = (first, max(first, stop - 1))
            values = [strength(policy, Progress(*divmod(step, self.steps), self.steps)) for step in ends]
            shown = f"{values[0]:.4g}" if values[0] == values[1] else f"{values[0]:.4g} to {values[1]:.4g}"
            what = f"strength {shown} on {len(regularizer.names)} parameters, until epoch {stop / self.steps:.4g}"
            yield self._row(window.start, order, kind="regularizer", name=regularizer.name, what=what)

    def curves(self, rates: Rates) -> Iterator[tuple[float, str, str, float]]:
        """Points of sparsity (each cut), learning rate and strengths (sampled, with the steps where windows end)."""
        for policy in self.policies:
            if isinstance(policy, PruningPolicy):
                yield from self._targets(policy)
        if any(isinstance(policy, LRPolicy) for policy in self.policies):
            for step in self._sampled(LRPolicy):
                yield step / self.steps, "lr", "lr", rates.at(step)
        for policy in self.policies:
            if isinstance(policy, RegularizationPolicy):
                for step in self._sampled(RegularizationPolicy):
                    at = Progress(*divmod(step, self.steps), self.steps)
                    yield step / self.steps, "strength", policy.regularizer.name, strength(policy, at)

    def _targets(self, policy: PruningPolicy) -> Iterator[tuple[float, str, str, float]]:
        for _, row in self._cuts(0, policy):
            if row["kind"] == "cut" and row["target"] is not None:
                yield row["epoch"], "sparsity", row["name"], row["target"]

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


def _peak(rates: Sequence[float]) -> str:
    """Where a curve goes beyond its ends."""
    most = max(rates)
    return f" over {most:.4g}" if most > max(rates[0], rates[-1]) else ""


def asked_weights(pruner: BoundPruner, shapes: dict[str, tuple[int, ...]], aim: Aim) -> int:
    """How many weights a cut asks to be gone."""
    if aim.levels is not None:
        return sum(exact_weights(pruner, shapes, aim, name) or 0 for name in shapes)
    return removal_count(aim.total, sum(map(math.prod, shapes.values())), pruner.spec.rounding)


def exact_weights(pruner: BoundPruner, shapes: dict[str, tuple[int, ...]], aim: Aim, name: str) -> int | None:
    """How many weights of one parameter a cut removes; None where scores decide between parameters."""
    groups, size = pruner.spec.granularity.groups(shapes[name]), pruner.spec.granularity.size(shapes[name])
    if aim.levels is not None:
        return removable_groups(pruner.spec, groups, aim.levels[name]) * size
    if len(shapes) > 1:
        return None
    wanted = removal_count(aim.total, groups * size, pruner.spec.rounding) // size
    return min(wanted, max(0, groups - pruner.spec.min_keep)) * size


def title(span: Span, spans: Sequence[Span]) -> str:
    """A phase's name, with its repeat where there are several."""
    repeats = sum(other.name == span.name for other in spans)
    return span.name if repeats == 1 else f"{span.name} {span.repeat + 1}/{repeats}"
