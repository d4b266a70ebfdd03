"""A schedule checked before it runs: every error of the file and of its fit to a model, what is legal and surely not
meant, and what could not be checked. Needs no weights and trains nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from schedengine.analysis.assumed import EPOCHS, LR, STEPS_PER_EPOCH, check_length, unchanged_groups
from schedengine.analysis.doubts import doubts
from schedengine.analysis.open_ended import open_ended
from schedengine.analysis.outlook import Outlook
from schedengine.errors import Mark, Problem, SchedEngineError, ScheduleError, ScheduleWarning
from schedengine.export.forward import Inputs
from schedengine.lr.retraining import Retraining
from schedengine.lr.shapes import Shape
from schedengine.lr.trace import Trace
from schedengine.policies.lr import groups_of
from schedengine.progress import Moment, Time
from schedengine.reports.diagnostics import render
from schedengine.schedule.bind import bind
from schedengine.schedule.budget import rescale
from schedengine.schedule.document import KINDS, Policy, Schedule
from schedengine.schedule.load import load_schedule
from schedengine.schedule.plan import Timeline
from schedengine.schedule.retraining import Course

if TYPE_CHECKING:
    import pandas

Severity = Literal["error", "warning", "note"]
_MOMENTUM = 0.9


@dataclass(frozen=True)
class Finding:
    """One thing said of a schedule.

    Args:
        severity: error: it cannot run; warning: it can, and surely not as meant; note: what was not checked, or was
            assumed.
        problem: what, and where.
    """

    severity: Severity
    problem: Problem


@dataclass(frozen=True)
class Diagnosis:
    """All that was found; as text, what a compiler would print.

    Args:
        findings: in the order of the file; what has no place comes last.
        file: its name, ``<text>`` or ``<dict>``.
        schedule: None where it cannot be read.
        epochs: length of the run; None where it is not known.
        text: of the source, if it did not come from a file.
    """

    findings: tuple[Finding, ...]
    file: str
    schedule: Schedule | None = None
    epochs: int | None = None
    text: str | None = None

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def plain(self) -> list[dict[str, Any]]:
        """A mapping for each finding: severity, file, line, column (from 1; None for no place), path, message."""
        return [self._row(finding.severity, finding.problem) for finding in self.findings]

    def _row(self, severity: Severity, problem: Problem) -> dict[str, Any]:
        mark = problem.mark
        place = {"line": None, "column": None} if mark is None else {"line": mark.line, "column": mark.column}
        return {"severity": severity, "file": self.file, **place, "path": problem.path, "message": problem.message}

    def to_frame(self) -> pandas.DataFrame:
        """A row a finding, with the columns of ``plain``."""
        import pandas

        columns = ["severity", "file", "line", "column", "path", "message"]
        return pandas.DataFrame(self.plain(), columns=columns).astype({"line": "Int64", "column": "Int64"})

    def summary(self) -> str:
        """One line: ``ok: 2 pruners, 1 regularizer, 3 policies, 45 epochs``, or how many errors and warnings."""
        counts = [_counted(self.count(severity), severity) for severity in ("error", "warning") if self.count(severity)]
        if self.schedule is None or self.count("error"):
            return ", ".join(counts)
        return ": ".join([", ".join(["ok", *counts]), self._contents(self.schedule)])

    def _contents(self, schedule: Schedule) -> str:
        words = {"lr_scheduler": "learning-rate schedule"}
        sizes = {words.get(kind, kind): len(getattr(schedule, section)) for kind, section in KINDS.items()}
        parts = [_counted(size, word) for word, size in sizes.items() if size]
        length = "epochs not known" if self.epochs is None else _counted(self.epochs, "epoch")
        return ", ".join([*parts, length])

    def __str__(self) -> str:
        shown = [render(finding.problem, finding.severity, text=self.text) for finding in self.findings]
        return "\n".join([*shown, self.summary()])


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def check_schedule(
    document: str | Path | Mapping[str, Any],
    model: nn.Module | None = None,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    lr: float | None = None,
    budget: int | None = None,
    trace: Trace | None = None,
    inputs: Inputs | None = None,
) -> Diagnosis:
    """Everything that is wrong with a schedule, and everything that is surely not meant.

    Args:
        document: a path, the YAML text itself, or a dict; either dialect.
        model: for names, shapes and targets; one on the meta device is enough. It is not changed.
        epochs: length of the run, for a schedule without phases; None: as long as the last end that a policy names, and
            then nothing is said that hangs on it.
        steps_per_epoch: > 0; None: 100, and a note where times in steps make it matter.
        optimizer: the run's, on the model's parameters; None: SGD with momentum. It is not changed.
        lr: the learning rate that the run begins with, > 0, where no optimizer is given; None: not known.
        budget: check the schedule rescaled to so many epochs; ``epochs`` is then what one without phases is written
            for.
        trace: learning rates that the weights were trained with before this run, where they say so themselves.
        inputs: one example of what the model takes, for schedules that thin it.

    Raises:
        SchedEngineError: the run is too long to be looked at.

    Example:
        >>> text = "version: 2\\npruners: {once: {sparsity: 0.5}}\\npolicies: [{pruner: once, at: end}]\\n"
        >>> print(check_schedule(text, nn.Linear(8, 8), epochs=5))
        <text>:3:12: warning: policies[0]: the last cut leaves no training to recover
          3 | policies: [{pruner: once, at: end}]
            |            ^
        ok, 1 warning: 1 pruner, 5 epochs
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScheduleWarning)
            schedule = load_schedule(document)
    except ScheduleError as error:
        return _diagnosis(document, [("error", error.problems)], error.problems[0].mark)
    try:
        schedule, epochs = (schedule, epochs) if budget is None else (rescale(schedule, budget, epochs), budget)
    except SchedEngineError as error:
        problems = error.problems if isinstance(error, ScheduleError) else [schedule.problem("", str(error))]
        return _diagnosis(document, [("error", problems), ("warning", schedule.notes)], schedule.marks.get(""))
    given = optimizer or _optimizer(model, lr)
    knows_rate = optimizer is not None or lr is not None
    check = _Check(schedule, model, epochs, steps_per_epoch, given, knows_rate, trace, inputs)
    check_length(check.length)
    outlook, errors = check.at(check.length)
    if not check.is_certain:  # what a longer run has no trouble with is no error: the length is only assumed
        lasting = {problem.path for problem in check.at(10 * check.length)[1]}
        errors = [problem for problem in errors if problem.path in lasting]
    errors += check.clash()
    wrong = {problem.path for problem in errors}
    doubtful = [problem for problem in doubts(outlook) if problem.path not in wrong]
    groups: list[tuple[Severity, Iterable[Problem]]] = [
        ("error", errors),
        ("warning", [*schedule.notes, *doubtful]),
        ("note", check.notes()),
    ]
    length = check.length if check.is_certain else None
    return _diagnosis(document, groups, schedule.marks.get(""), schedule, length)


def _diagnosis(
    document: object,
    groups: Sequence[tuple[Severity, Iterable[Problem]]],
    mark: Mark | None,
    schedule: Schedule | None = None,
    epochs: int | None = None,
) -> Diagnosis:
    """The findings in order, with the name that marks have for the document."""
    found = [Finding(severity, problem) for severity, problems in groups for problem in problems]
    ordered = sorted(found, key=lambda one: (one.problem.mark is None, one.problem.mark or 0))
    file = "<dict>" if mark is None else mark.file
    return Diagnosis(tuple(ordered), file, schedule, epochs, str(document) if file == "<text>" else None)


def _optimizer(model: nn.Module | None, lr: float | None) -> torch.optim.Optimizer:
    parameters = list(model.parameters()) if model is not None else []
    return torch.optim.SGD(parameters or [torch.zeros(1)], lr=LR if lr is None else lr, momentum=_MOMENTUM)


@dataclass(frozen=True)
class _Check:
    """One check: what was given, and what is assumed for what was not."""

    schedule: Schedule
    model: nn.Module | None
    epochs: int | None
    steps_per_epoch: int | None
    optimizer: torch.optim.Optimizer
    knows_rate: bool
    trace: Trace | None
    inputs: Inputs | None

    @property
    def is_certain(self) -> bool:
        """Whether the length of the run is known."""
        return (self.schedule.epochs or self.epochs) is not None

    @property
    def length(self) -> int:
        """Epochs of the run: by the phases, the caller, or the last time that a policy names."""
        return self.schedule.epochs or self.epochs or self._last_named or EPOCHS

    @property
    def _last_named(self) -> int | None:
        return max((epoch for policy in self.schedule.policies for epoch in self._named(policy)), default=None)

    def _named(self, policy: Policy) -> Iterator[int]:
        """The epochs that a run must have for the times of a policy to lie in it."""
        begins = [instant.time for instant in policy.at or () if instant.time is not None]
        for time, more in ((policy.until, 0), (policy.from_, 1), *((begin, 1) for begin in begins)):
            if time is not None and time.unit == "ep":
                yield math.ceil(time.amount) + more
            elif time is not None and time.unit == "st":
                yield math.ceil(time.amount / (self.steps_per_epoch or STEPS_PER_EPOCH)) + more

    def at(self, length: int) -> tuple[Outlook, list[Problem]]:
        """The schedule in a run of so many epochs, and all that keeps it from running."""
        with unchanged_groups(self.optimizer):
            groups = groups_of(self.optimizer)
        selected, problems = self._bound(length)
        outlook = Outlook(
            self.schedule,
            Timeline.of(self.schedule, length if self.schedule.epochs is None else None),
            self.steps_per_epoch or STEPS_PER_EPOCH,
            self.is_certain,
            groups,
            self.knows_rate,
            selected,
            self.trace,
        )
        if self._assumes_steps:
            return outlook, problems
        said = {problem.path for problem in problems}
        return outlook, [*problems, *(fault for fault in outlook.faults() if fault.path not in said)]

    def clash(self) -> tuple[Problem, ...]:
        """The phases against the length that was asked for."""
        try:
            Timeline.of(self.schedule, self.epochs)
        except ScheduleError as error:
            return error.problems
        return ()

    def _bound(self, length: int) -> tuple[dict[str, list[str]], list[Problem]]:
        """Each pruner's parameters, or why it cannot be bound. Without a model, what is said of time counts."""
        steps = None if self._assumes_steps else self.steps_per_epoch or STEPS_PER_EPOCH
        try:
            with unchanged_groups(self.optimizer):
                model = nn.Module() if self.model is None else self.model
                bound = bind(
                    self.schedule,
                    model,
                    self.optimizer,
                    epochs=length,
                    steps_per_epoch=steps,
                    trace=self.trace,
                    example_inputs=self.inputs,
                )
        except ScheduleError as error:
            of_time = [one for one in error.problems if one.path.startswith(("policies", "phases"))]
            return {}, list(error.problems) if self.model is not None else of_time
        except SchedEngineError as error:
            return {}, [self.schedule.problem("policies", str(error))]
        return {name: pruner.names for name, pruner in bound.pruners.items()}, []

    @cached_property
    def _assumes_steps(self) -> bool:
        """Whether it matters how many steps an epoch has, and nobody says. Then it is no ground for errors."""
        rates = self.schedule.lr_schedulers.values()
        shapes = [schedule for schedule in rates if isinstance(schedule, Shape)]
        ramps = [pruner.sparsity for pruner in self.schedule.pruners.values() if pruner.sparsity is not None]
        times: list[Time | None] = [time for schedule in shapes for time in schedule.times()]
        times += [ramp.every for ramp in ramps]
        times += [time for rate in rates if isinstance(rate, Retraining) for time in (getattr(rate, "warmup", None),)]
        for policy in self.schedule.policies:
            times += [policy.from_, policy.until, *(instant.time for instant in policy.at or ())]
            times += [policy.every] if policy.kind == "pruner" else []
            times += [] if policy.rewind is None else [policy.rewind.weights, policy.rewind.clock]
        is_placed = any(time is not None and (time.unit == "st" or time.amount.denominator != 1) for time in times)
        return is_placed and self.steps_per_epoch is None

    def notes(self) -> Iterator[Problem]:
        """What was not checked, or assumed."""
        if self.model is None:
            yield Problem("names, shapes and reachable targets are not checked without a model; give --model")
        if not self.is_certain:
            named = "the last that its policies name" if self._last_named else "as nothing names an end"
            yield Problem(
                f"the schedule has no phases: times are checked as if the run had {_counted(self.length, 'epoch')}, "
                f"{named}, and nothing is said of its end; give --epochs"
            )
        if self._assumes_steps:
            yield Problem(
                f"times in steps, or within epochs, are placed as if an epoch had {STEPS_PER_EPOCH} steps; "
                "give --steps-per-epoch"
            )
        for path, message in open_ended(self.schedule):
            yield self.schedule.problem(path, message)
        if self._asks_weights:
            yield Problem(
                "the weights that the run starts from may tell how they were trained (those of `train` do); give "
                "--weights"
            )

    @property
    def _asks_weights(self) -> bool:
        """Whether rates come from a training before the run, of which nothing is known here."""
        course = Course(self.schedule, Timeline.of(self.schedule, None if self.schedule.epochs else self.length))
        rates = [self.schedule.lr_schedulers[one.instance] for one in self.schedule.policies if one.lr_scheduler]
        is_made = any(isinstance(rate, Retraining) for rate in rates)
        return is_made and course.dense == Moment() and self.trace is None and self.schedule.trace is None
