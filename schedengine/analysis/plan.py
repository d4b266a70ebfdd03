"""A dry run: what a schedule will do to a model, and when. Needs no data and trains nothing; a model on the meta
device, which has shapes and no values, is enough.

What follows from shapes and time alone is exact. Where one ranking over several parameters decides, or a limit on the
scores, the weights decide: known if they are given (as they are now; training moves them), and said to be open if not.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas
import torch
from torch import Tensor, nn

from schedengine.analysis.assumed import LR, STEPS_PER_EPOCH, check_length, unchanged_groups
from schedengine.analysis.events import EVENTS, Forecast
from schedengine.analysis.first_cuts import impacts_at_start
from schedengine.analysis.macs import multiply_accumulates
from schedengine.analysis.open_ended import open_ended
from schedengine.analysis.outcome import outcome, try_last_cuts_
from schedengine.analysis.rates import Background, Rates
from schedengine.errors import SchedEngineError
from schedengine.lr.trace import Trace
from schedengine.policies.base import Policy
from schedengine.policies.lr import groups_of
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.policies.thinning import ThinPolicy
from schedengine.schedule.budget import rescale
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import load_schedule
from schedengine.schedule.plan import Span, Timeline
from schedengine.schedule.retraining import Course
from schedengine.selection import ParameterTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_OF_IT = 0.9
"""Share of a model's parameters from which on what is left out goes without saying."""


@dataclass(frozen=True)
class Plan:
    """What will happen.

    Args:
        epochs: length of the run.
        steps_per_epoch: optimizer steps in an epoch.
        spans: its phases.
        events: a row an event, in order: ``epoch`` (from the start of the run), ``step`` (likewise), ``phase``,
            ``kind`` (phase, cut, learn, hold, lr, regularizer, masks, rewind, release, thin, check), ``name`` of the
            instance; for a cut its ``number`` out of ``count``, its ``target`` (fraction of the selected weights gone
            after it; nan where a limit decides) and the ``weights`` that this is; ``what`` in words.
        curves: a row a point: ``epoch``, ``kind`` (sparsity, lr, strength), ``name``, ``value``. Sparsity is a
            pruner's target, and holds until its next point (0 where its masks are taken away).
        layers: a row a parameter that is pruned, or could be: ``parameter``, ``module``, ``shape``, ``weights``,
            ``pruners``, and at the end of the run ``sparsity``, ``weights_left``, ``macs`` (multiply-accumulates of one
            example, dense) and ``macs_left``; nan where ``decided`` says that it is open.
        notes: what was assumed.
    """

    epochs: int
    steps_per_epoch: int
    spans: tuple[Span, ...]
    events: pandas.DataFrame
    curves: pandas.DataFrame
    layers: pandas.DataFrame
    notes: tuple[str, ...]

    def figure(self) -> Figure:
        """Sparsity, learning rate, strengths and phases on one time axis."""
        from schedengine.reports.plan_figure import draw_plan

        found = self.events[self.events["kind"].isin(["rewind", "release", "thin"])]
        return draw_plan(self.curves, self.bands(), self.epochs, list(zip(found["epoch"], found["kind"])))

    def bands(self) -> list[tuple[str, int, int, int]]:
        """Phases to draw: name, first epoch, end (exclusive), depth in the nesting of groups."""
        found, around = [], list[Span]()
        for span in self.spans:  # a group comes before what it is made of
            while around and around[-1].stop <= span.start:
                around.pop()
            found.append((span.name, span.start, span.stop, len(around)))
            around.append(span)
        return found


def plan_schedule(
    schedule: Schedule | str | Path,
    model: nn.Module,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    inputs: tuple[Tensor, ...] | None = None,
    use_values: bool = False,
    budget: int | None = None,
    trace: Trace | None = None,
) -> Plan:
    """Say what a schedule will do to a model.

    Args:
        schedule: from ``load_schedule``, or what it takes.
        model: left as it is; may be on the meta device.
        epochs: length of the run, for a schedule without phases.
        steps_per_epoch: optimizer steps in an epoch; None for 100, which a note says.
        optimizer: the one that will train it, for the rates it begins with; None for SGD at 0.1.
        inputs: one example, for multiply-accumulates, and for what must trace the network; None leaves them open.
        use_values: rank the model's weights as they are, where shapes do not decide.
        budget: rescale the schedule to so many epochs; ``epochs`` then says what one without phases was written for.
        trace: learning rates that the weights were trained with before this run, instead of the file's ``trace``.

    Raises:
        ScheduleError: the schedule does not fit the model or the run, or cannot be rescaled.
        SchedEngineError: the length of the run is not known or beyond reason, or ``use_values`` without values.
    """
    schedule = schedule if isinstance(schedule, Schedule) else load_schedule(schedule)
    notes = (
        []
        if steps_per_epoch
        else [f"an epoch is taken to have {STEPS_PER_EPOCH} steps; say how many it has (--steps-per-epoch)"]
    )
    steps = steps_per_epoch or STEPS_PER_EPOCH
    if budget is not None:
        notes.append(f"rescaled from {schedule.epochs or epochs} epochs to {budget}")
        schedule, epochs = rescale(schedule, budget, epochs), budget
    if schedule.epochs is None and epochs is None:
        raise SchedEngineError("the schedule has no phases to say how long the run is; give the epochs (--epochs N)")
    if use_values and any(parameter.is_meta for parameter in model.parameters()):
        raise SchedEngineError("the model has no values yet (meta device); load the weights first, or do not use them")
    timeline = Timeline.of(schedule, epochs)
    assert timeline.epochs is not None
    check_length(timeline.epochs)
    subject = copy.deepcopy(model) if use_values else model
    if not any(True for _ in model.parameters()):
        raise SchedEngineError("the model has no parameters, so there is nothing to plan")
    used = optimizer or torch.optim.SGD(model.parameters(), lr=LR)
    with unchanged_groups(used):
        scheduler = schedule.bind(
            subject, used, epochs=epochs, steps_per_epoch=steps, trace=trace, example_inputs=inputs
        )
    table, pruners = ParameterTable(subject), scheduler.pruners
    zeros = None
    if use_values:
        zeros = {one.name: one.first_zeros({name: table[name] for name in one.names}) for one in pruners.values()}
    course = Course(schedule, timeline)
    impacts = impacts_at_start(schedule, model, timeline.epochs, steps) if use_values else {}
    rates = Rates(scheduler.policies, groups_of(used), steps, Background.of(course, steps, trace, impacts))
    forecast = Forecast(course, scheduler.policies, rates, table, steps, zeros)
    events, curves = forecast.events(), forecast.curves()
    counted = try_last_cuts_(scheduler.masks, table, pruners, forecast.last_cuts) if use_values else None
    macs = None if inputs is None else multiply_accumulates(model, inputs)
    regularized = _regularized(scheduler.policies)
    if scheduler.walk.forks:
        notes.append(f"{scheduler.all_epochs} epochs are trained in all, those of every replica counted")
    open_notes = [f"{path}: {message}" for path, message in open_ended(schedule)]
    layers = outcome(table, pruners, forecast.last_cuts, counted, macs, forecast.released, regularized)
    return Plan(
        timeline.epochs,
        steps,
        timeline.spans,
        pandas.DataFrame(events, columns=list(EVENTS)).astype(EVENTS),
        pandas.DataFrame(curves, columns=["epoch", "kind", "name", "value"]),
        layers,
        (*notes, *forecast.notes, *open_notes, *_left_out(table, layers), *_thinned(scheduler.policies)),
    )


def _regularized(policies: Sequence[Policy]) -> dict[str, str]:
    """Parameters of which a regularizer keeps zero what it has made zero, and its name."""
    keeping = [one for one in policies if isinstance(one, RegularizationPolicy) and one.keep_mask]
    return {name: one.regularizer.name for one in keeping for name in one.regularizer.names}


def _thinned(policies: Sequence[Policy]) -> list[str]:
    if not any(isinstance(one, ThinPolicy) for one in policies):
        return []
    return ["sparsities are those of the masks: thinning also takes the channels that read a filter that goes"]


def _left_out(table: ParameterTable, layers: pandas.DataFrame) -> list[str]:
    """What a reader of sparsities must know of a network most of which no pruner can reach."""
    weights = sum(table[name].numel() for name in table.names)
    share = layers["weights"].sum() / weights if len(layers) else 0.0
    if share >= _MOST_OF_IT:
        return []
    return [
        f"the weights listed are {share:.1%} of the model's {weights:,} parameters; the others (recurrent, embedding, "
        "attention, ...) are pruned only where a pruner names them"
    ]
