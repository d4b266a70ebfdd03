"""A dry run says what the engine will do: compared with what it does, and with sums done by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from loops import sgd, small_model, train
from matplotlib.figure import Figure
from torch import nn

from schedengine import SchedEngineError, ScheduleError, load_schedule
from schedengine.analysis.plan import Plan, plan_schedule
from schedengine.analysis.rates import Rates
from schedengine.policies.lr import groups_of

CONV, FC = "0.weight", "5.weight"  # 54 and 240 weights
BIMP = """
version: 2
phases:
  - {name: dense, epochs: 4}
  - {name: cycle, epochs: 2, repeat: 2}
pruners:
  imp: {sparsity: {ramp: geometric, to: 0.75}, allocation: uniform}
regularizers:
  pull: {penalty: l1, strength: {ramp: linear, to: 0.4}}
lr_schedulers:
  fall: {class: linear, from: 0.1, to: 0.0}
policies:
  - {pruner: imp, at: cycle}
  - {regularizer: pull, during: dense, until: 2}
  - {lr_scheduler: fall, during: dense}
  - {lr_scheduler: fall, during: cycle}
"""


def plan(text: str = BIMP, model: nn.Module | None = None, **options: Any) -> Plan:
    return plan_schedule(load_schedule(text), model or small_model(), **{"steps_per_epoch": 4, **options})


def pruning(axes: str, when: str = "{pruner: p, at: start}") -> str:
    return f"version: 2\npruners:\n  p: {axes}\npolicies:\n  - {when}\n"


def layer(found: Plan, name: str) -> dict[str, Any]:
    return found.layers.set_index("parameter").loc[name].to_dict()


def test_cuts_have_their_targets_and_times() -> None:
    cuts = plan().events.query("kind == 'cut'")
    assert list(cuts["epoch"]) == [4, 6]
    assert list(cuts["target"]) == pytest.approx([0.5, 0.75])
    assert list(cuts["weights"]) == [27 + 120, 41 + 180]  # 40.5 of 54 rounds half up


def test_phases_come_before_what_policies_do_at_their_start() -> None:
    events = plan().events
    assert list(events[events["epoch"] == 4]["kind"]) == ["phase", "cut", "lr"]
    assert list(events[events["epoch"] == 6]["phase"]) == ["cycle 2/2"] * 3


def test_planned_cuts_are_those_that_the_engine_makes() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(BIMP).bind(model, optimizer, steps_per_epoch=4)
    train(scheduler, model, optimizer)
    cuts = plan().events.query("kind == 'cut'")
    assert [(cut.epoch, cut.target, cut.asked) for cut in scheduler.cuts] == list(
        zip(cuts["epoch"], cuts["target"], cuts["weights"])
    )


@pytest.mark.parametrize("every", ["1", "1st", "2st"])
def test_planned_rates_are_those_that_the_engine_writes(every: str) -> None:
    text = BIMP.replace("fall, during: cycle}", f"fall, during: cycle, every: {every}}}")
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(text).bind(model, optimizer, steps_per_epoch=4)
    rates, seen = Rates(scheduler.policies, groups_of(optimizer), 4), []
    train(scheduler, model, optimizer, after_step=lambda epoch, step: seen.append(optimizer.param_groups[0]["lr"]))
    assert [rates.at(step) for step in range(32)] == seen


def test_of_two_rates_at_one_instant_the_later_in_the_file_is_planned() -> None:
    text = """
version: 2
lr_schedulers:
  low: {class: constant, from: 0.01}
  high: {class: constant, from: 0.5}
policies:
  - {lr_scheduler: low, during: run}
  - {lr_scheduler: high, during: run, from: 1}
"""
    curve = plan(text, epochs=2).curves.set_index("epoch")["value"]
    assert (curve[0.75], curve[1.0]) == (0.01, 0.5)


def test_the_strength_rises_over_its_window_and_is_zero_outside() -> None:
    curve = plan().curves.query("kind == 'strength'").set_index("epoch")["value"]
    assert [curve[epoch] for epoch in (0.0, 1.0, 1.75, 2.0)] == pytest.approx([0, 0.2, 0.35, 0])


def test_levels_of_layers_are_exact_without_values() -> None:
    with torch.device("meta"):
        model = small_model()
    found = plan(model=model)
    assert layer(found, CONV)["weights_left"] == 13  # 54 - 40.5, half up
    assert layer(found, FC) | {"macs": 0, "macs_left": 0} == {
        "module": "Linear", "shape": "5x48", "weights": 240, "pruners": "imp", "sparsity": 0.75, "weights_left": 60,
        "macs": 0, "macs_left": 0, "decided": "by shapes",
    }  # fmt: skip


def test_a_global_ranking_is_left_open_without_values() -> None:
    found = plan(pruning("{sparsity: 0.5}"), epochs=1)
    assert layer(found, FC)["decided"] == "by the weights"
    assert math.isnan(layer(found, FC)["weights_left"])
    assert found.events.iloc[0]["weights"] == 147


def test_a_global_ranking_is_exact_with_values() -> None:
    model = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 4, bias=False))
    model[0].weight.data = torch.tensor([[1.0, 2.0, 3.0, 9.0]])
    model[1].weight.data = torch.tensor([[4.0], [5.0], [6.0], [7.0]])
    found = plan(pruning("{sparsity: 0.5}"), model, epochs=1, use_values=True)
    assert list(found.layers["weights_left"]) == [1, 3]
    assert model[0].weight.count_nonzero() == 4  # the model is left as it is


def test_targets_start_from_zeros_that_are_there() -> None:
    model = small_model()
    model[5].weight.data.view(-1)[:147] = 0  # half of all 294
    text = pruning("{sparsity: {ramp: linear, to: 0.9}}", "{pruner: p, at: [0, 1]}")
    cuts = plan(text, model, epochs=2, use_values=True).events
    assert list(cuts["target"]) == pytest.approx([0.7, 0.9])


def test_one_parameter_alone_needs_no_ranking_between_parameters() -> None:
    found = plan(pruning("{sparsity: 0.5, parameters: last, granularity: row}"), epochs=1)
    assert layer(found, FC)["weights_left"] == 3 * 48  # 120 of 240 asked: two rows of 48, a third would exceed it
    assert layer(found, CONV)["decided"] == "not pruned"


def test_a_limit_is_left_to_the_weights() -> None:
    cut = plan(pruning("{threshold: {std: 0.5}}"), epochs=1).events.iloc[0]
    assert math.isnan(cut["target"]) and "decided by the weights" in cut["what"]


def test_multiply_accumulates_shrink_with_the_weights() -> None:
    found = plan(inputs=(torch.zeros(1, 2, 6, 6),))
    assert (layer(found, CONV)["macs"], layer(found, FC)["macs"]) == (54 * 16, 240)
    assert layer(found, CONV)["macs_left"] == 13 * 16


def test_cuts_at_the_end_come_after_the_last_step() -> None:
    events = plan(pruning("{sparsity: 0.5}", "{pruner: p, at: end}"), epochs=3).events
    assert list(events["step"]) == [12]


def test_cuts_that_the_run_ends_before_are_not_planned() -> None:
    text = """
version: 1
pruners:
  p: {class: AutomatedGradualPruner, initial_sparsity: 0.1, final_sparsity: 0.5, weights: [5.weight]}
policies:
  - {pruner: {instance_name: p}, starting_epoch: 0, ending_epoch: 4, frequency: 1}
"""
    found = plan(text, epochs=2)
    assert len(found.events) == 2
    assert any("2 cuts come after the end" in note for note in found.notes)


def test_what_is_assumed_is_noted() -> None:
    assert "100 steps" in plan(steps_per_epoch=None).notes[0]
    assert plan().notes == ()


def test_the_length_of_the_run_must_be_known() -> None:
    with pytest.raises(SchedEngineError, match="--epochs"):
        plan(pruning("{sparsity: 0.5}"))


def test_a_schedule_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ScheduleError, match="no parameter"):
        plan(pruning("{sparsity: 0.5, parameters: '9.*'}"), epochs=1)


def test_ranking_values_that_are_not_there_is_an_error() -> None:
    with torch.device("meta"):
        model = small_model()
    with pytest.raises(SchedEngineError, match="no values"):
        plan(pruning("{sparsity: 0.5}"), model, epochs=1, use_values=True)


def test_the_picture_has_a_panel_for_each_kind_and_one_for_the_phases() -> None:
    figure = plan().figure()
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 4


def test_nested_groups_of_phases_lie_one_in_the_other() -> None:
    text = """
version: 2
phases:
  - {name: outer, repeat: 2, phases: [{name: inner, epochs: 1}]}
policies: []
"""
    assert plan(text).bands() == [("outer", 0, 1, 0), ("inner", 0, 1, 1), ("outer", 1, 2, 0), ("inner", 1, 2, 1)]
