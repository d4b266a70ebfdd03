"""Every class of ``torch.optim.lr_scheduler`` that a file can express, under its own name.

Names and defaults of the fields come from torch's signatures; what a value may be, from the table ``FIELDS``. The
numbers are torch's own: a scheduler is stepped on an optimizer that trains nothing, and its values are remembered tick
by tick. torch multiplies the last rate where a closed form exists, so that only stepping gives its numbers to the last
bit.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from torch.optim import Optimizer, lr_scheduler

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.registry import SPEC


def _in_order(milestones: tuple[int, ...]) -> tuple[int, ...]:
    if list(milestones) != sorted(milestones):
        raise ValueError(f"the milestones {list(milestones)} are not in increasing order")
    return milestones


Ticks = Annotated[int, Field(gt=0, strict=True)]
Factor = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Divisor = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Milestones = Annotated[tuple[Annotated[int, Field(ge=0, strict=True)], ...], AfterValidator(_in_order)]
PerGroup = Factor | tuple[Factor, ...]
PER_GROUP = ("base_lr", "max_lr", "base_momentum", "max_momentum")

FIELDS: dict[str, Any] = {
    **dict.fromkeys(("step_size", "total_iters", "T_max", "T_0", "T_mult", "step_size_up"), Ticks),
    **dict.fromkeys(("step_size_down", "total_steps", "epochs", "steps_per_epoch"), Ticks | None),
    **dict.fromkeys(("gamma", "factor", "start_factor", "end_factor", "eta_min", "power", "pct_start"), Factor),
    **dict.fromkeys(("div_factor", "final_div_factor"), Divisor),
    **dict.fromkeys(PER_GROUP, PerGroup),
    **dict.fromkeys(("cycle_momentum", "three_phase"), Flag),
    "milestones": Milestones,
    "mode": Literal["triangular", "triangular2", "exp_range"],
    "anneal_strategy": Literal["cos", "linear"],
}
"""What each parameter of a torch scheduler may be. A parameter that is not here cannot be written in a file: it is ours
to give (``optimizer``, ``last_epoch``), no more than a deprecated flag (``verbose``), or about a callable
(``scale_fn``, ``scale_mode``)."""

TRIAL_TOTAL = 997
"""The span that a schedule is tried with when it takes its length from the clock; prime, so that no plain share of it
is one tick, a case of its own in OneCycleLR."""


class IdleOptimizer(Optimizer):
    """An optimizer with the groups' hyper-parameters and nothing to train, for a torch scheduler to act on."""

    def __init__(self, groups: Sequence[Group]) -> None:
        known = [{key: value for key, value in vars(group).items() if value is not None} for group in groups]
        # torch asks the defaults, not the groups, whether there is a momentum to cycle
        super().__init__([{"params": [torch.zeros(1, device="cpu")], **values} for values in known], known[0])
        self.momentum_key = "betas" if "betas" in known[0] else "momentum"

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Do nothing (torch warns where a scheduler steps and its optimizer never did)."""
        del closure


class Trajectory:
    """The values of one torch scheduler, tick by tick.

    Args:
        build: an optimizer -> its scheduler.
        groups: what the parameter groups begin with.
        is_cycling: whether the scheduler changes the momentum too.

    Raises:
        ValueError: torch does not take these values.
    """

    def __init__(
        self, build: Callable[[Optimizer], lr_scheduler.LRScheduler], groups: Sequence[Group], *, is_cycling: bool
    ) -> None:
        self._optimizer = IdleOptimizer(groups)
        self._keys = ("lr", self._optimizer.momentum_key) if is_cycling else ("lr",)
        self._numbers = array("d")
        self._growing = threading.Lock()
        self._scheduler = _told_as_value_error(lambda: build(self._optimizer))
        self._optimizer.step()
        self._remember()

    def at(self, tick: int) -> list[dict[str, Any]]:
        """The values after ``tick`` calls of the scheduler's ``step``.

        Raises:
            ValueError: torch has no value for that tick.
        """
        width = len(self._keys) * len(self._optimizer.param_groups)
        with self._growing:
            while len(self._numbers) <= tick * width:
                _told_as_value_error(self._scheduler.step)
                self._remember()
        numbers = iter(self._numbers[tick * width : (tick + 1) * width])
        return [
            {key: self._value(key, group, next(numbers)) for key in self._keys}
            for group in self._optimizer.param_groups
        ]

    def _remember(self) -> None:
        for group in self._optimizer.param_groups:
            self._numbers.extend(float(group[key][0] if key == "betas" else group[key]) for key in self._keys)

    @staticmethod
    def _value(key: str, group: dict[str, Any], number: float) -> Any:
        return (number, *group["betas"][1:]) if key == "betas" else number


def _told_as_value_error(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except ZeroDivisionError as error:
        raise ValueError("a stretch of it has no ticks, and torch divides by zero; make the stretch longer") from error


class TorchSchedule(LearningRate):
    """A scheduler of torch: its value at tick k is what k calls of ``step()`` give.

    Attributes:
        torch_class: whose numbers these are.
    """

    unit: ClassVar[Literal["ep", "st"]] = "ep"
    torch_class: ClassVar[type[lr_scheduler.LRScheduler]]

    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        try:
            return _trajectory(self, clock.span if self.needs_total else None, tuple(groups)).at(clock.elapsed)
        except ValueError as error:
            raise SchedEngineError(f"{type(self).__name__} at tick {clock.elapsed}: {error}") from error

    def arguments(self, total: int | None) -> dict[str, Any]:
        """What torch's constructor is given besides the optimizer.

        Args:
            total: ticks in the span; None unless ``needs_total``.
        """
        del total
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    def trajectory(self, total: int | None, groups: Sequence[Group]) -> Trajectory:
        """The values tick by tick, not yet remembered by anyone.

        Raises:
            ValueError: torch does not take these values.
        """
        arguments = self.arguments(total)
        return Trajectory(
            lambda optimizer: self.torch_class(optimizer, **arguments),
            groups,
            is_cycling=arguments.get("cycle_momentum", False),
        )

    @model_validator(mode="after")
    def _try(self) -> TorchSchedule:
        lists = [value for name in PER_GROUP if isinstance(value := getattr(self, name, None), tuple)]
        groups = [Group(lr=0.1, momentum=0.9)] * max(map(len, lists), default=1)
        self.trajectory(TRIAL_TOTAL if self.needs_total else None, groups)
        return self


class SpanSchedule(TorchSchedule):
    """One that must know its number of ticks, and takes the clock's unless the file gives it."""

    @property
    def needs_total(self) -> bool:
        """Whether the file leaves the number of ticks open."""
        return all(getattr(self, name) is None for name in ("total_steps", "epochs", "steps_per_epoch"))

    def arguments(self, total: int | None) -> dict[str, Any]:
        return super().arguments(total) | ({"total_steps": total} if self.needs_total else {})


@lru_cache(maxsize=64)
def _trajectory(schedule: TorchSchedule, total: int | None, groups: tuple[Group, ...]) -> Trajectory:
    return schedule.trajectory(total, groups)


def adapt(torch_class: type[lr_scheduler.LRScheduler], base: type[TorchSchedule] = TorchSchedule) -> Any:
    """The registered class for a torch scheduler: one field for each parameter of its constructor in ``FIELDS``."""
    parameters = [each for each in inspect.signature(torch_class).parameters.values() if each.name in FIELDS]
    body: dict[str, Any] = {
        "__annotations__": {each.name: FIELDS[each.name] for each in parameters},
        "__doc__": f"``torch.optim.lr_scheduler.{torch_class.__name__}``; torch's documentation explains its fields.",
        "__module__": __name__,
        "torch_class": torch_class,
        **{each.name: each.default for each in parameters if each.default is not each.empty},
    }
    return dataclass(frozen=True, config=SPEC)(type(torch_class.__name__, (base,), body))


StepLR = adapt(lr_scheduler.StepLR)
MultiStepLR = adapt(lr_scheduler.MultiStepLR)
ConstantLR = adapt(lr_scheduler.ConstantLR)
LinearLR = adapt(lr_scheduler.LinearLR)
ExponentialLR = adapt(lr_scheduler.ExponentialLR)
CosineAnnealingLR = adapt(lr_scheduler.CosineAnnealingLR)
CosineAnnealingWarmRestarts = adapt(lr_scheduler.CosineAnnealingWarmRestarts)
CyclicLR = adapt(lr_scheduler.CyclicLR)
OneCycleLR = adapt(lr_scheduler.OneCycleLR, SpanSchedule)
PolynomialLR = adapt(lr_scheduler.PolynomialLR)
