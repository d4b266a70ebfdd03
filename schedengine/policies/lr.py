"""When learning rates are written into the optimizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor

from schedengine.errors import CheckpointError
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.lr.plateau import Plateau
from schedengine.lr.retraining import Retraining
from schedengine.policies.base import Context, Policy
from schedengine.progress import Moment, Occasions, Progress, Window, known


def groups_of(optimizer: torch.optim.Optimizer) -> list[Group]:
    """What the optimizer's parameter groups begin with; remembered in them, as torch's schedulers do, for a resume."""
    found = []
    for group in optimizer.param_groups:
        rate = group.setdefault("initial_lr", float(group["lr"]))
        betas = group.get("betas")
        found.append(Group(float(rate), group.get("momentum"), None if betas is None else tuple(map(float, betas))))
    return found


def write_(optimizer: torch.optim.Optimizer, values: Sequence[Mapping[str, Any]]) -> None:
    """Give each parameter group its values. A rate that is a tensor (a capturable optimizer's) is filled in place."""
    for group, new in zip(optimizer.param_groups, values, strict=True):
        for key, value in new.items():
            if isinstance(group.get(key), Tensor):
                group[key].fill_(value)
            else:
                group[key] = value


class LRPolicy(Policy):
    """Writes a schedule's rates at its instants.

    The clock counts epochs or steps, whichever ``own`` is in, from the start of the window, or of the run.

    Args:
        schedule: time -> rates.
        own: when rates are written.
        groups: what the optimizer's groups began with.
        clock: what the schedule's time counts from.
        offsets: start of a window -> the time at which its clock starts, where it is not 0; the span is so much longer.
    """

    def __init__(
        self,
        schedule: LearningRate,
        own: Occasions,
        groups: Sequence[Group],
        *,
        clock: Literal["window", "run"],
        run: Moment,
        offsets: Mapping[Moment, Moment] | None = None,
    ) -> None:
        self.schedule = schedule
        self.own = own
        self.groups = groups
        self.clock = clock
        self.run = run
        self.offsets = dict(offsets or {})
        self._curve: tuple[Window, LearningRate] | None = None
        self._drops: tuple[Moment, float | None, float | None] | None = None

    def on_epoch_begin(self, context: Context) -> None:
        self._act(context)

    def on_minibatch_begin(self, context: Context) -> None:
        self._act(context)

    def _act(self, context: Context) -> None:
        occasion = self.own.at(context.progress)
        if occasion is not None:
            assert context.optimizer is not None
            clock = self.clock_at(occasion.window, context.progress)
            values = self._curve_in(occasion.window, clock, context).values(clock, self.groups)
            if context.rate_factor != 1.0:
                values = [{**value, "lr": value["lr"] * context.rate_factor} for value in values]
            write_(context.optimizer, values)

    def _curve_in(self, window: Window, clock: Clock, context: Context) -> LearningRate:
        """The schedule, or what a retraining makes of it at the start of the window; remembered until the next one."""
        if not isinstance(self.schedule, Retraining):
            return self.schedule
        if self._curve is None or self._curve[0] != window:
            past = context.past(window.start)
            if self._drops is not None and self._drops[0] == window.start:  # resumed: the cut may be forgotten
                past = replace(past, drop=self._drops[1], layer_drop=self._drops[2])
            self._drops = (window.start, past.drop, past.layer_drop)
            self._curve = (window, self.schedule.after(past, clock.span))
        return self._curve[1]

    def try_first(self, steps_per_epoch: int | None) -> None:
        """Ask for the rates at the start of each window, where it can be placed.

        Raises:
            SchedEngineError: the schedule does not fit a window, or the optimizer.
        """
        for window in self.own.windows if not isinstance(self.schedule, Retraining) else ():
            if window.is_epochs and self._counts_epochs(window):
                progress = Progress(int(window.start.epochs))
            elif steps_per_epoch is not None:
                epoch, step = divmod(window.start.step(steps_per_epoch), steps_per_epoch)
                progress = Progress(epoch, step, steps_per_epoch)
            else:
                continue
            self.schedule.values(self.clock_at(window, progress), self.groups)

    def clock_at(self, window: Window, progress: Progress) -> Clock:
        """The time that the schedule is told at an instant."""
        start, stop = (Moment(), self.run) if self.clock == "run" else (window.start, window.stop)
        start -= self.offsets.get(window.start, Moment())
        if self._counts_epochs(window):
            length = stop - start
            total = int(length.epochs) if length.steps == 0 and length.epochs > 0 else None
            return Clock(int(progress.epoch - start.epochs), total)
        steps = known(progress.steps_per_epoch)
        total = stop.step(steps) - start.step(steps)
        return Clock(progress.moment.step(steps) - start.step(steps), total if total > 0 else None, Fraction(steps))

    def _counts_epochs(self, window: Window) -> bool:
        """The unit of ``every``; of an instant, the schedule's own, where it falls on the beginning of an epoch."""
        if window.every is None:
            return self.schedule.unit == "ep" and window.is_epochs
        return window.every.is_epoch

    def state_dict(self) -> dict[str, Any]:
        drops: list[Any] = []
        if self._drops is not None:
            start, *found = self._drops
            drops = [start.epochs.numerator, start.epochs.denominator, start.steps, *found]
        groups = [[group.lr, group.momentum, list(group.betas or ())] for group in self.groups]
        return {"groups": groups, "drops": drops}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if len(state["groups"]) != len(self.groups):
            raise CheckpointError(
                f"the checkpoint's optimizer has {len(state['groups'])} parameter groups, this one {len(self.groups)}"
            )
        self.groups = [Group(lr, momentum, tuple(betas) or None) for lr, momentum, betas in state["groups"]]
        self._curve, self._drops = None, None
        if state["drops"]:
            over, under, steps, *found = state["drops"]
            self._drops = (Moment(Fraction(over, under), steps), found[0], found[1])


class PlateauPolicy(Policy):
    """Lowers the rate when a metric stops improving; looks at each epoch's evaluation in its windows.

    Args:
        schedule: what counts as improvement.
        own: the epochs after which it looks.
        groups: what the optimizer's groups began with.
    """

    def __init__(self, schedule: Plateau, own: Occasions, groups: Sequence[Group]) -> None:
        self.schedule = schedule
        self.own = own
        self._state = schedule.start(groups)

    def on_epoch_end(self, context: Context) -> None:
        if self.own.at(Progress(context.progress.epoch, None, context.progress.steps_per_epoch)) is None:
            return
        assert context.optimizer is not None
        # As torch's: lowers the rate that the optimizer has, which another policy may have set.
        rates = [float(group["lr"]) for group in context.optimizer.param_groups]
        self._state = self.schedule.react({**self._state, "lr": rates}, context.metrics)
        write_(context.optimizer, self.schedule.values_of(self._state))

    def state_dict(self) -> dict[str, Any]:
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._state = dict(state)
