"""A schedule as an object: phases, instances, policies. Model-free, immutable, equal to what its own dump reads back.

Phase      a named stretch of the run, repeated or made of phases
Policy     an instance and when it acts
Schedule   the whole document
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, WithJsonSchema, model_validator
from pydantic.dataclasses import dataclass

from schedengine.errors import Mark, Problem
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.lr.shapes import Shape
from schedengine.lr.trace import Trace
from schedengine.policies.recalibration import ALL, Recalibrate
from schedengine.policies.rewind import Rewind
from schedengine.policies.thinning import Thin
from schedengine.progress import Time, TimeField
from schedengine.pruners.pruner import Pruner
from schedengine.registry import SPEC, Component
from schedengine.regularizers.regularizer import Regularizer
from schedengine.soups import SOUPS
from schedengine.soups.recipes import Recipe, Uniform

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from schedengine.criteria.network import LossFunction
    from schedengine.export.forward import Inputs
    from schedengine.scheduler import PruningScheduler
    from schedengine.soups.walk import Evaluate

Positive = Annotated[int, Field(gt=0, strict=True)]
RUN = "run"
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_RESERVED = frozenset({RUN, "start", "end"})
_FACTOR = re.compile(r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)x")


def _phase_name(value: object) -> object:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("a phase's name is a word: letters, digits, _ . - and no digit first")
    if value in _RESERVED:
        raise ValueError(f"{value!r} has a meaning of its own; choose another name")
    return value


@dataclass(frozen=True, config=SPEC)
class Total:
    """Epochs that all repeats of a phase share, those of the groups around it included.

    Each gets the whole part, the last one the remainder too.

    Args:
        total: > 0, at least one for each repeat.
    """

    total: Positive


class Factor(float):
    """How many times something; a file writes ``2x``."""

    @classmethod
    def parse(cls, value: object) -> Factor:
        """Read what a file writes.

        Raises:
            ValueError: not a factor.
        """
        if isinstance(value, Factor):
            return value
        found = _FACTOR.fullmatch(value) if isinstance(value, str) else None
        if found is None or not float(found[1]):
            raise ValueError("write how many times the phase's rates, as in [0.5x, 1x, 2x]")
        return cls(found[1])

    def plain(self) -> str:
        """As a file writes it."""
        return f"{float(self)!r}x".replace(".0x", "x")


def _afterwards(value: object) -> object:
    if isinstance(value, Recalibrate) or value == "none":
        return value
    if value == ALL:
        return Recalibrate(None)
    if isinstance(value, Mapping) and set(value) == {"batches"}:
        return Recalibrate(value["batches"])
    raise ValueError("write all (one pass over the data), {batches: 50}, or none")


AfterwardsField = Annotated[
    InstanceOf[Recalibrate] | Literal["none"],
    BeforeValidator(_afterwards),
    PlainSerializer(lambda value: value if isinstance(value, str) else value.plain()),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [ALL, "none"]},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["batches"],
                    "properties": {"batches": {"type": "integer", "minimum": 1}},
                },
            ]
        }
    ),
]
"""Batches that batch-norm statistics of an average are estimated from."""
FactorField = Annotated[
    InstanceOf[Factor],
    BeforeValidator(Factor.parse),
    PlainSerializer(Factor.plain),
    WithJsonSchema({"type": "string", "pattern": f"^{_FACTOR.pattern}$"}),
]


@dataclass(frozen=True, config=SPEC)
class Vary:
    """How the replicas of a phase differ, beside their random numbers; a value for each of them.

    Args:
        seed: of the order of the data, augmentation and dropout, instead of the run's own; default: the first replica
            draws as the run does, each other one draws something else.
        weight_decay: of the optimizer's first parameter group that decays; others keep their ratio to it.
        epochs: how long each trains; the longest is the phase's ``epochs``. Learning rates fit themselves to it.
        lr: how many times the phase's rates, as in [0.5x, 1x, 2x].
    """

    seed: tuple[Annotated[int, Field(ge=0, strict=True)], ...] = ()
    weight_decay: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = ()
    epochs: tuple[Positive, ...] = ()
    lr: tuple[FactorField, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Vary:
        if not self.lengths:
            raise ValueError("'vary' varies nothing; give each replica a value, as in {weight_decay: [1e-4, 5e-4]}")
        return self

    @property
    def twins(self) -> tuple[int, int] | None:
        """Two replicas with nothing to tell them apart; None if there are none."""
        own = [value for value in (self.seed, self.weight_decay, self.epochs, self.lr) if value]
        seen: dict[Any, int] = {}
        for number, values in enumerate(zip(*own) if self.seed else ()):
            if values in seen:
                return seen[values], number
            seen[values] = number
        return None

    @property
    def lengths(self) -> dict[str, int]:
        """How many values each of its keys has, of those that are there."""
        return {name: len(value) for name, value in vars(self).items() if isinstance(value, tuple) and value}


@dataclass(frozen=True, config=SPEC)
class Phase:
    """A stretch of the run, which copies of the network may go through side by side, to be averaged at its end.

    The copies (replicas) begin with the network as it is after cuts at the start of the phase. Each goes through the
    same epochs; policies at the end of the phase find the average.

    Args:
        name: for policies to refer to.
        epochs: its length, in each repeat; or {total: 30}, shared by the repeats (30 by 4: 7, 7, 7, 9).
        repeat: how often it comes in a row.
        phases: what it is made of, instead of ``epochs``: a group that repeats.
        replicas: how many copies are trained, in each repeat; default: the network itself.
        vary: how they differ; default: in their random numbers.
        soup: which of them are averaged: uniform (all), greedy (those that help, judged by ``evaluate`` of bind).
        masks: shared (the parent's hold; cuts within the phase are refused, and those that only choose anew from
            trained values, as of DPF, wait for the average) or reprune (each cuts by itself, and the average is cut
            again to the same target).
        optimizer: what the network goes on with: average (the mean of what the averaged replicas' optimizers
            remember) or reset.
        recalibrate: batch-norm statistics of an average are estimated anew from so many batches of ``data`` of bind:
            all (one pass), {batches: 50}, or none (they are averaged too).

    Reference: Zimmer, Spiegel and Pokutta, 2024, Sparse Model Soups, arXiv 2306.16788. Their code resets the optimizer
        (each cycle is a process of its own); the mean velocity is that of the mean network, and is what within one
        training makes one replica the same as none.
    """

    name: Annotated[str, BeforeValidator(_phase_name)]
    epochs: Positive | Total | None = None
    repeat: Positive = 1
    phases: tuple[Phase, ...] = ()
    replicas: Positive | None = None
    vary: Vary | None = None
    soup: Annotated[InstanceOf[Recipe], Component(SOUPS)] = Uniform()
    masks: Literal["shared", "reprune"] = "shared"
    optimizer: Literal["average", "reset"] = "average"
    recalibrate: AfterwardsField = Recalibrate(None)

    @model_validator(mode="after")
    def _check(self) -> Phase:
        if (self.epochs is None) == (not self.phases):
            found = "both" if self.phases else "neither"
            raise ValueError(f"a phase has either 'epochs' or 'phases'; {self.name!r} has {found}")
        if isinstance(self.epochs, Total) and self.epochs.total < self.repeat:
            raise ValueError(f"a total of {self.epochs.total} epochs cannot be shared by {self.repeat} repeats")
        self._check_replicas()
        return self

    def _check_replicas(self) -> None:
        if self.replicas is None:
            for key, default in _ALONE.items():
                if getattr(self, key) != default:
                    raise ValueError(f"{key!r} goes with 'replicas', as in 'replicas: 3'")
            return
        for key, count in self.vary.lengths.items() if self.vary else ():
            if count != self.replicas:
                raise ValueError(f"'vary' has {count} values of {key!r} for {self.replicas} replicas; give each one")
        if self.vary and self.vary.twins:
            one, other = self.vary.twins
            raise ValueError(f"'vary' gives replicas {one} and {other} the same seed, and nothing else parts them")
        if self.vary and self.vary.epochs and self.phases:
            what = "is made of phases, whose lengths 'vary' cannot change; give each its replicas"
            raise ValueError(f"{self.name!r} {what}")
        if self.vary and self.vary.epochs and max(self.vary.epochs) != self.epochs:
            most = f"{max(self.vary.epochs)} epoch{'s' * (max(self.vary.epochs) > 1)}"
            raise ValueError(f"the longest replica trains {most}, and 'epochs' says {self.epochs_said}")
        if self.masks == "reprune" and self.soup.is_scored:
            raise ValueError("a greedy soup tries averages under one mask; 'masks: reprune' goes with 'soup: uniform'")

    @property
    def epochs_said(self) -> object:
        """As the file writes them."""
        return f"{{total: {self.epochs.total}}}" if isinstance(self.epochs, Total) else self.epochs


_ALONE: dict[str, Any] = {
    "vary": None,
    "soup": Uniform(),
    "masks": "shared",
    "optimizer": "average",
    "recalibrate": Recalibrate(None),
}


@dataclass(frozen=True)
class Instant:
    """One entry of ``at``: a phase's start or end (each repeat), the run's, or a time from the start of the run.

    Args:
        edge: which side; None for a time.
        phase: its name, or ``run``.
        time: from the start of the run.
    """

    edge: Literal["start", "end"] | None = "start"
    phase: str = RUN
    time: Time | None = None

    @classmethod
    def parse(cls, value: object) -> Instant:
        """Read what a file writes.

        Raises:
            ValueError: not an instant.
        """
        if isinstance(value, Instant):
            return value
        if isinstance(value, Mapping):
            if len(value) != 1 or next(iter(value)) not in ("start", "end"):
                raise ValueError(f"write {{start: PHASE}} or {{end: PHASE}} (got {dict(value)})")
            edge, phase = next(iter(value.items()))
            if not isinstance(phase, str):
                raise ValueError("write {start: PHASE} or {end: PHASE}, with the name of a phase")
            return cls(edge, phase)
        if isinstance(value, str) and value in ("start", "end"):
            return cls(value)  # type: ignore[arg-type]  # narrowed by the line above
        if isinstance(value, str) and _NAME.fullmatch(value):
            return cls("start", value)
        return cls(None, RUN, Time.parse(value))

    def plain(self) -> Any:
        """The shortest form that ``parse`` reads back."""
        if self.time is not None:
            return self.time.plain()
        assert self.edge is not None
        if self.phase == RUN:
            return self.edge
        return self.phase if self.edge == "start" else {"end": self.phase}


def _instants(value: object) -> object:
    if isinstance(value, (list, tuple)) and not value:
        raise ValueError("the list is empty; name at least one instant")
    return tuple(Instant.parse(item) for item in (value if isinstance(value, (list, tuple)) else [value]))


def _phases(value: object) -> object:
    names = value if isinstance(value, (list, tuple)) else [value]
    if not names or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise ValueError("name a phase, a list of phases, or run")
    return tuple(names)


def _one_or_list(items: tuple[Any, ...]) -> Any:
    plain = [item.plain() if hasattr(item, "plain") else item for item in items]
    return plain[0] if len(plain) == 1 else plain


_INSTANT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string"},
        {"type": "object", "additionalProperties": False, "minProperties": 1, "maxProperties": 1,
         "properties": {"start": {"type": "string"}, "end": {"type": "string"}}},
    ]
}  # fmt: skip
InstantsField = Annotated[
    tuple[InstanceOf[Instant], ...],
    BeforeValidator(_instants),
    PlainSerializer(_one_or_list),
    WithJsonSchema(
        {
            "anyOf": [*_INSTANT_SCHEMA["anyOf"], {"type": "array", "items": _INSTANT_SCHEMA, "minItems": 1}],
            "description": "a phase (the start of each repeat), {end: PHASE}, start, end, a time, or a list of these",
        }
    ),
]
PhasesField = Annotated[
    tuple[str, ...],
    BeforeValidator(_phases),
    PlainSerializer(_one_or_list),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "description": "a phase, a list of phases, or run",
        }
    ),
]
KINDS = {"pruner": "pruners", "regularizer": "regularizers", "lr_scheduler": "lr_schedulers"}
"""What a policy names -> the section it is defined in."""
ACTIONS = ("rewind", "release", "thin", "recalibrate", "check_collapse")
"""What a policy may say itself, without a section."""
REFERENCES = {**KINDS, "release": "pruners"}
"""Keys of a policy that hold the name of an instance -> the section it is defined in."""


@dataclass(frozen=True, config=SPEC)
class Policy:
    """An instance or an action, and when it acts; exactly one of the first eight keys.

    Args:
        pruner, regularizer, lr_scheduler: the name of an instance.
        rewind: go back to earlier weights, or to an earlier time of the learning rate: {weights: 2, clock: 2}.
        release: the name of a pruner, whose masks are taken away.
        thin: what is zero is removed from the network: filters (that their layer makes zero), channels (that no layer
            reads), or all.
        recalibrate: batch-norm statistics are estimated anew, from so many batches of ``data`` of bind: {batches: 50},
            or all (one pass). It stands after the pruners that cut at the same moment. An epoch's evaluation comes
            before what happens at its end.
        check_collapse: error or warn, where all weights of a layer that pruners selected are 0, or no path of weights
            leads through the network any more; with ``during`` after every cut of the stretch, and when an epoch of it
            is over. It stands after the pruners that cut at the same moment.
        at: instants: a phase (the start of each repeat), {end: PHASE}, start, end, a time, or a list.
        during: a phase, a list of phases, or run; the policy acts in each repeat.
        from_: from the start of the phase on; default 0.
        until: exclusive, counted from the start of the phase; default: its end.
        every: distance between instants; default: one epoch, for a learning rate of ours one step.
        refresh: a pruner also cuts again, to the same target, at every step of the run that this divides, in epochs
            that begin with a cut.
        keep_mask: when a window of a pruner ends, its masks hold for good; of a regularizer with a threshold, what is
            zero then stays so.
        clock: what a learning rate's time counts from: the start of its window, or of the run.
    """

    pruner: str | None = None
    regularizer: str | None = None
    lr_scheduler: str | None = None
    rewind: Rewind | None = None
    release: str | None = None
    thin: Thin | None = None
    recalibrate: Recalibrate | None = None
    check_collapse: Literal["error", "warn"] | None = None
    at: InstantsField | None = None
    during: PhasesField | None = None
    from_: TimeField | None = None
    until: TimeField | None = None
    every: TimeField | None = None
    refresh: TimeField | None = None
    keep_mask: Annotated[bool, Field(strict=True)] = False
    clock: Literal["window", "run"] = "window"

    @model_validator(mode="after")
    def _check(self) -> Policy:
        named = [kind for kind in (*KINDS, *ACTIONS) if getattr(self, kind) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none"
            raise ValueError(f"a policy has one of {', '.join((*KINDS, *ACTIONS))}; this one has {found}")
        if (self.at is None) == (self.during is None):
            found = "both" if self.at is not None else "neither"
            raise ValueError(f"a policy acts 'at' (instants) or 'during' (a phase, or run); this one has {found}")
        if self.check_collapse is not None and self.every is not None:
            raise ValueError("'check_collapse' looks after every cut of a stretch; remove 'every', or use 'at'")
        if self.kind in ACTIONS and self.check_collapse is None and self.during is not None:
            raise ValueError(
                f"{self.kind!r} happens at instants; use 'at', as in 'at: PHASE' (the start of each repeat)"
            )
        if self.regularizer is not None and self.at is not None:
            raise ValueError("a regularizer acts during a stretch of time; use 'during'")
        if self.lr_scheduler is not None and any(instant.edge == "end" for instant in self.at or ()):
            raise ValueError("no step follows an end, which a learning rate could act on; name the start of a phase")
        if self.regularizer is not None and self.every is not None and self.every.unit != "ep":
            raise ValueError("'every' of a regularizer counts epochs: in which of them it acts")
        for key in ("from", "until", "every"):
            if self.at is not None and getattr(self, "from_" if key == "from" else key) is not None:
                raise ValueError(f"{key!r} goes with 'during'; 'at' names instants")
        for key, kinds in _ONLY_FOR.items():
            if getattr(self, key) != _POLICY_DEFAULTS[key] and named[0] not in kinds:
                raise ValueError(f"{key!r} is for a policy with a {' or a '.join(kinds)}")
        if self.every is not None and self.every.amount == 0:
            raise ValueError("'every' must be more than 0")
        if self.refresh is not None and (self.refresh.unit != "st" or self.refresh.amount == 0):
            raise ValueError("'refresh' is a number of steps, as in \"16st\"")
        self._check_window()
        return self

    def _check_window(self) -> None:
        """What can be said of a window without knowing the length of its phase."""
        if self.from_ is None and self.until is None:
            return
        start = self.from_ or Time(Fraction(0))
        if self.until is None or (self.until.unit != start.unit and start.amount):
            return
        if self.until.amount <= start.amount:
            raise ValueError(f"the window is empty: it begins at {start.plain()} and ends before {self.until.plain()}")
        length = self.until.amount - start.amount
        if self.every is not None and self.every.unit == self.until.unit and self.every.amount > length:
            window = f"from {start.plain()} until {self.until.plain()}"
            raise ValueError(f"'every' ({self.every.plain()}) is longer than the window, {window}")

    @property
    def kind(self) -> str:
        """Which kind of instance it names, or which action it is."""
        return next(kind for kind in (*KINDS, *ACTIONS) if getattr(self, kind) is not None)

    @property
    def instance(self) -> str:
        """The name of its instance; empty for an action that needs none."""
        return str(getattr(self, self.kind)) if self.kind in REFERENCES else ""


_ONLY_FOR = {"refresh": ("pruner",), "keep_mask": ("pruner", "regularizer"), "clock": ("lr_scheduler",)}
_POLICY_DEFAULTS = {"refresh": None, "keep_mask": False, "clock": "window"}


@dataclass(frozen=True, config=SPEC)
class Earlier:
    """The training that the weights had before this run, where they carry no trace of it themselves.

    Args:
        epochs: how long it was.
        lr: its learning rate, a curve over these epochs: {class: step, from: 0.1}.
    """

    epochs: Positive
    lr: Annotated[InstanceOf[LearningRate], Component(LR_SCHEDULES, tag="class")]

    @model_validator(mode="after")
    def _check(self) -> Earlier:
        name = LR_SCHEDULES.name_of(self.lr)
        if not isinstance(self.lr, Shape):
            raise ValueError(f"{name} does not say its rates alone; use constant, linear, cosine, step or polynomial")
        if self.lr.from_ is None:
            raise ValueError(f"the rate that the training began with is missing; write {{class: {name}, from: 0.1}}")
        return self

    def at(self, steps_per_epoch: int) -> Trace:
        """The rates of that training.

        Args:
            steps_per_epoch: of this run.
        """
        steps = range(self.epochs * steps_per_epoch)
        return Trace((self._rate(step, steps_per_epoch) for step in steps), steps_per_epoch)

    def try_ends(self, steps_per_epoch: int) -> None:
        """Ask for the first and the last rate.

        Raises:
            SchedEngineError: the curve does not fit so many epochs.
        """
        for tick in (0, self.epochs * steps_per_epoch - 1):
            self._rate(tick, steps_per_epoch)

    def _rate(self, tick: int, steps_per_epoch: int) -> float:
        clock = Clock(tick, self.epochs * steps_per_epoch, Fraction(steps_per_epoch))
        return float(self.lr.values(clock, [Group(0.0)])[0]["lr"])


@dataclass(frozen=True, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True))
class Schedule:
    """A whole schedule, validated; needs no model. Made by ``load_schedule``; every field is a section of the file.

    Args:
        phases: the stretches of the run in order; none: the run is one stretch, as long as the caller says.
        trace: how the weights were trained before this run, for retraining schedules: {epochs: 160, lr: {class: linear,
            from: 0.1}}; the weights' own record of it comes first.
        pruners, regularizers, lr_schedulers: instances by name.
        policies: in the order in which they fire at one instant.
        effects: whether an effect that misses (a cut, a mask, a target) is an error or a warning; version 1: warn.
        marks: where each part stood in the text; no part of the schedule's value.
        notes: what was legal but doubtful about the text; likewise.
    """

    phases: tuple[Phase, ...] = ()
    trace: Earlier | None = None
    pruners: dict[str, InstanceOf[Pruner]] = field(default_factory=dict)
    regularizers: dict[str, InstanceOf[Regularizer]] = field(default_factory=dict)
    lr_schedulers: dict[str, Annotated[InstanceOf[LearningRate], Component(LR_SCHEDULES, tag="class")]] = field(
        default_factory=dict
    )
    policies: tuple[InstanceOf[Policy], ...] = ()
    effects: Literal["error", "warn"] = "error"
    marks: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)
    notes: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    def problem(self, path: str, message: str) -> Problem:
        """Something wrong with a part of it, at the nearest place that the text has for the path."""
        here = path
        while here and here not in self.marks:
            here = re.sub(r"(\.[^.\[]*|\[\d+\]|^[^.\[]*)$", "", here)
        mark: Mark | None = self.marks.get(here) or self.marks.get("")
        return Problem(message, path, mark)

    @property
    def epochs(self) -> int | None:
        """Length of the run; None where it has no phases and the caller says it."""
        from schedengine.schedule.plan import run_length

        return run_length(self)

    def bind(
        self,
        model: nn.Module,
        optimizer: Optimizer | None = None,
        *,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        trace: Trace | None = None,
        example_inputs: Inputs | None = None,
        data: Iterable[Any] | None = None,
        loss: LossFunction | None = None,
        evaluate: Evaluate | None = None,
    ) -> PruningScheduler:
        """Put it on a model: names resolved, windows placed.

        Args:
            model: wrapped (DataParallel, DistributedDataParallel, torch.compile) or not.
            optimizer: needed by learning-rate schedules and replicas; without it, optimizer state is left alone
                at cuts.
            epochs: length of the run, for a schedule without phases.
            steps_per_epoch: only needed where a time in steps must be placed before the first step is seen.
            trace: learning rates that the weights were trained with before this run, instead of the file's ``trace``.
            example_inputs: a small batch of inputs, (B, ...), for thinning and for criteria that look at the batch
                normalisation that follows a layer.
            data: batches, (inputs, targets) or inputs alone, for criteria that need statistics before the first epoch.
            loss: (outputs, targets) -> the mean loss of a batch, a scalar, for criteria that look at its derivatives
                (snip, grasp, fisher, obs), such as ``torch.nn.functional.cross_entropy``.
            evaluate: model, in evaluation mode -> its metrics on validation images, such as {"loss": 0.3,
                "top1": 91.2}, for greedy soups.

        Raises:
            ScheduleError: everything in it that does not fit the model or the run, each with its place.
        """
        from schedengine.schedule.bind import bind

        return bind(
            self,
            model,
            optimizer,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            trace=trace,
            example_inputs=example_inputs,
            data=data,
            loss=loss,
            evaluate=evaluate,
        )
