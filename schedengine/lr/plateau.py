"""ReduceLROnPlateau: the one schedule that reacts to how training goes, and so has a state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch.optim.lr_scheduler import ReduceLROnPlateau

from schedengine.errors import SchedEngineError, did_you_mean
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.lr.torch_schedules import IdleOptimizer
from schedengine.registry import SPEC

Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
COUNTERS = ("best", "num_bad_epochs", "cooldown_counter")
METRICS = {"min": ("min", "loss"), "max": ("max", "top1")}


@dataclass(frozen=True, config=SPEC)
class Plateau(LearningRate):
    """``torch.optim.lr_scheduler.ReduceLROnPlateau``: multiplies the rate by ``factor`` when a metric stops improving.

    Nothing is remembered here: ``start`` gives a state of plain values, ``react`` the next one.

    Args:
        mode: whether the metric should fall (``min``) or rise (``max``).
        factor: in [0, 1).
        patience: evaluations without improvement that are tolerated.
        threshold: what counts as improvement, relative (``rel``) or absolute (``abs``) as ``threshold_mode`` says.
        cooldown: evaluations after a reduction in which none is counted.
        min_lr: no group goes below it; one number, or one for each parameter group.
        eps: a reduction smaller than this is not made.
        metric: which metric; None for the first one there is of ``min`` (Distiller's key) and ``loss``, or ``max`` and
            ``top1``.
    """

    unit: ClassVar[Literal["ep", "st"]] = "ep"

    mode: Literal["min", "max"] = "min"
    factor: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.1
    patience: Count = 10
    threshold: Number = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Count = 0
    min_lr: Number | tuple[Number, ...] = 0.0
    eps: Number = 1e-8
    metric: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Plateau:
        if self.min_lr == ():
            raise ValueError("min_lr is empty; give one number, or one for each parameter group")
        return self

    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        """What the groups began with: all that is known before a metric is (a plan can draw no more)."""
        del clock
        return self.values_of(self.start(groups))

    def start(self, groups: Sequence[Group]) -> dict[str, Any]:
        """The state before the first evaluation: the rates, the best metric, and two counters.

        Raises:
            SchedEngineError: ``min_lr`` has not one number for each group.
        """
        return _state_of(self._scheduler([group.lr for group in groups]))

    def react(self, state: Mapping[str, Any], metrics: Mapping[str, float]) -> dict[str, Any]:
        """The state after one more evaluation; the one given is left as it is.

        Raises:
            SchedEngineError: the metric is not among those given.
        """
        scheduler = self._scheduler(state["lr"])
        scheduler.load_state_dict({name: state[name] for name in COUNTERS})
        scheduler.step(self._pick(metrics))
        return _state_of(scheduler)

    def values_of(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """For each parameter group its ``lr``."""
        return [{"lr": rate} for rate in state["lr"]]

    def _pick(self, metrics: Mapping[str, float]) -> float:
        wanted = METRICS[self.mode] if self.metric is None else (self.metric,)
        for name in wanted:
            if name in metrics:
                return float(metrics[name])
        raise SchedEngineError(
            f"ReduceLROnPlateau (mode {self.mode}) needs the metric {' or '.join(wanted)}; on_epoch_end was given "
            f"{', '.join(metrics) or 'none'}: {did_you_mean(wanted[-1], metrics)}"
        )

    def _scheduler(self, rates: Sequence[float]) -> ReduceLROnPlateau:
        try:
            return ReduceLROnPlateau(
                IdleOptimizer([Group(rate) for rate in rates]),
                mode=self.mode,
                factor=self.factor,
                patience=self.patience,
                threshold=self.threshold,
                threshold_mode=self.threshold_mode,
                cooldown=self.cooldown,
                min_lr=list(self.min_lr) if isinstance(self.min_lr, tuple) else self.min_lr,
                eps=self.eps,
            )
        except ValueError as error:
            raise SchedEngineError(f"ReduceLROnPlateau, {len(rates)} parameter groups: {error}") from error


def _state_of(scheduler: ReduceLROnPlateau) -> dict[str, Any]:
    rates = [float(group["lr"]) for group in scheduler.optimizer.param_groups]
    return {"lr": rates, **{name: getattr(scheduler, name) for name in COUNTERS}}
