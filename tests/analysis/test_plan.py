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
from schedengine.lr.trace import Trace
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


def test_where_groups_are_counted_what_is_left_are_weights_all_the_same() -> None:
    axes = "{sparsity: 0.4, parameters: last, granularity: row, allocation: {global: {count: groups}}}"
    assert layer(plan(pruning(axes), epochs=1), FC)["weights_left"] == 3 * 48  # two of five rows of 48


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
    assert any("2 cuts after the end" in note for note in found.notes)


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


PHASES = "version: 2\nphases: [{name: a, epochs: 2}, {name: b, epochs: 2}]\n"
X, Y = "x: {allocation: uniform, sparsity: 0.8", "y: {allocation: uniform, sparsity: 0.5"


def two(x: str, y: str, policies: str) -> str:
    return f"{PHASES}pruners:\n  {X}{x}}}\n  {Y}{y}}}\npolicies: [{policies}]\n"


def left_by_the_engine(text: str) -> int:
    """Weights of the linear layer that are not 0 at the end of the run."""
    model = small_model()
    optimizer = sgd(model)
    train(load_schedule(text).bind(model, optimizer, steps_per_epoch=4), model, optimizer)
    return int(model[5].weight.count_nonzero())


def test_the_last_cut_is_the_last_in_time_and_not_in_the_file() -> None:
    axes = "{allocation: uniform, sparsity: {ramp: linear, to: 0.8}}"
    text = f"{PHASES}pruners: {{p: {axes}}}\npolicies: [{{pruner: p, during: b}}, {{pruner: p, during: a}}]\n"
    assert layer(plan(text), FC)["weights_left"] == left_by_the_engine(text) == 48
    assert list(plan(text).curves["epoch"]) == [0, 1, 2, 3]


def test_of_two_pruners_the_one_that_replaces_last_decides() -> None:
    text = two(", update: reselect, masks: replace", "", "{pruner: x, at: b}, {pruner: y, at: a}")
    assert layer(plan(text), FC)["weights_left"] == left_by_the_engine(text) == 48


def test_masks_that_add_up_are_left_open() -> None:
    found = layer(plan(two("", "", "{pruner: x, at: a}, {pruner: y, at: b}")), FC)
    assert math.isnan(found["weights_left"]) and "several pruners" in found["decided"]


def test_nested_masks_after_another_pruner_are_noted() -> None:
    found = plan(two("", "", "{pruner: x, at: a}, {pruner: y, at: b}"))
    assert "pruner 'y' begins after 'x' cut" in found.notes[0]


def test_a_rate_per_step_is_written_after_one_per_epoch() -> None:
    text = f"{PHASES}lr_schedulers: {{step: {{class: StepLR, step_size: 1}}, line: {{class: linear, from: 0.1}}}}\n"
    text += "policies: [{lr_scheduler: line, during: run}, {lr_scheduler: step, during: run}]"
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(text).bind(model, optimizer, steps_per_epoch=4)
    rates, seen = Rates(scheduler.policies, groups_of(optimizer), 4), []
    train(scheduler, model, optimizer, after_step=lambda epoch, step: seen.append(optimizer.param_groups[0]["lr"]))
    assert [rates.at(step) for step in range(16)] == seen
    assert list(plan(text).events.query("kind == 'lr'")["name"]) == ["step", "line"]


def test_a_cut_says_what_whole_groups_make_of_its_target() -> None:
    found = plan(pruning("{sparsity: 0.5, allocation: uniform, granularity: filter}"), epochs=1).events.iloc[0]
    assert found["weights"] == 2 * 18 + 3 * 48  # half of 3 and of 5 filters, halves up
    assert "0.6122 of 294 weights are gone (asked: 0.5000)" in found["what"]


def test_a_cut_of_groups_over_several_layers_is_a_bound() -> None:
    assert "up to 0.5000" in plan(pruning("{sparsity: 0.5, granularity: filter}"), epochs=1).events.iloc[0]["what"]


def test_what_must_stay_is_not_planned_to_go() -> None:
    axes = "{sparsity: 0.9, granularity: filter, parameters: 0.weight, optional: true}"
    found = plan(pruning(axes), epochs=1).events.iloc[0]
    assert (found["weights"], found["target"]) == (36, 0.9)  # one of three filters stays


def test_the_largest_rate_of_a_window_is_found_between_the_samples() -> None:
    text = "version: 2\nlr_schedulers: {l: {class: linear, from: 0.1, to: 0.0, warmup: 1}}\n"
    found = plan(text + "policies: [{lr_scheduler: l, during: run}]", epochs=30, steps_per_epoch=97)
    assert found.events.iloc[0]["what"].startswith("from 0 over 0.1 to")


def test_a_strength_that_skips_epochs_does_not_fall_to_zero() -> None:
    text = "version: 2\nregularizers: {l: {penalty: l1, strength: {0.weight: 0.1, 5.weight: 0.2}}}\n"
    found = plan(text + "policies: [{regularizer: l, during: run, every: 2}]", epochs=4)
    what = "strength up to 0.2 on 2 parameters, every 2 epochs, until epoch 4"
    assert found.events.iloc[0]["what"] == what


@pytest.mark.parametrize(("until", "epoch"), [("6st", 2), ("8st", 2), ("9st", 3)])
def test_masks_are_kept_from_the_end_of_the_epoch_that_the_window_ends_in(until: str, epoch: int) -> None:
    when = f"{{pruner: p, during: run, every: 3st, until: {until}, keep_mask: true}}"
    found = plan(pruning("{sparsity: 0.5, pruned: dense, update: reselect}", when), epochs=4).events
    assert list(found.query("kind == 'masks'")["epoch"]) == [epoch]


def test_what_lies_after_the_run_is_noted_once_and_is_no_event() -> None:
    axes = "{sparsity: {ramp: linear, to: 0.5}, pruned: dense, update: reselect, optional: true}"
    found = plan(pruning(axes, "{pruner: p, during: run, until: 6, keep_mask: true}"), epochs=4)
    assert set(found.events["kind"]) == {"cut"}
    assert found.notes == (
        "pruner 'p': 2 cuts after the end of the run",
        "pruner 'p': a window ends after the run, and keeps no masks",
    )


def test_a_rate_that_is_set_once_holds() -> None:
    text = "version: 2\nlr_schedulers: {l: {class: constant, from: 0.01}}\npolicies: [{lr_scheduler: l, at: 1}]"
    assert plan(text, epochs=3).events.iloc[0]["what"] == "0.01 from here on"


def test_repeats_of_a_phase_in_a_group_are_counted_through() -> None:
    text = "version: 2\nphases:\n  - {name: outer, repeat: 2, phases: [{name: inner, epochs: 1}]}\npolicies: []\n"
    assert [what.partition(" begins")[0] for what in plan(text).events["what"]] == [
        "outer 1/2", "inner 1/2", "outer 2/2", "inner 2/2",
    ]  # fmt: skip


def test_hundreds_of_repeats_are_planned_in_a_moment() -> None:
    text = BIMP.replace("repeat: 2", "repeat: 300")
    found = plan(text)
    assert len(found.events.query("kind == 'cut'")) == 300


def test_a_run_beyond_reason_is_refused() -> None:
    with pytest.raises(SchedEngineError, match="a run of 1,000,000 epochs"):
        plan(pruning("{sparsity: 0.5}"), epochs=1_000_000)


def test_a_path_or_a_text_is_loaded() -> None:
    assert len(plan_schedule(BIMP, small_model(), steps_per_epoch=4).events) == len(plan().events)


def test_what_no_pruner_reaches_by_default_is_said() -> None:
    model = nn.ModuleDict({"lstm": nn.LSTM(8, 8), "head": nn.Linear(8, 2)})
    found = plan(pruning("{sparsity: 0.5}"), model, epochs=1)
    assert any("2.7% of the model's 594 parameters" in note for note in found.notes)


def test_a_model_without_parameters_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="no parameters"):
        plan(pruning("{sparsity: 0.5}"), nn.ReLU(), epochs=1)


# --- retraining, rewinding, releasing --------------------------------------------------------------------------------

RETRAINED = """
version: 2
phases: [{name: dense, epochs: 8}, {name: cycle, epochs: 2, repeat: 2}]
pruners: {imp: {sparsity: {ramp: geometric, to: 0.75}, allocation: uniform}}
lr_schedulers: {dense: {class: linear, from: 0.1}, retrain: {class: ALLR}}
policies:
  - {pruner: imp, at: cycle}
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: retrain, during: cycle}
"""


def said(found: Plan, kind: str) -> list[str]:
    return list(found.events[found.events["kind"] == kind]["what"])


def test_a_peak_that_a_cut_decides_is_a_range_and_drawn_at_its_largest() -> None:
    """At least 2 epochs of 8 (d2) of the dense training's largest rate."""
    found = plan(RETRAINED)
    assert said(found, "lr")[1] == "peak 0.025 to 0.1, decided by the cut, until epoch 10"
    assert found.curves.query("kind == 'lr' and epoch >= 8")["value"].max() == pytest.approx(0.1)
    assert found.notes == ("lr_scheduler 'retrain': peaks that the cuts decide are drawn at their largest",)


def test_a_phase_as_long_as_the_dense_training_leaves_the_cut_nothing_to_decide() -> None:
    found = plan(RETRAINED.replace("epochs: 8", "epochs: 2"))
    assert not any("decided" in what for what in said(found, "lr")) and found.notes == ()


def test_a_trace_of_the_weights_counts_as_dense_training() -> None:
    trace = Trace([0.4] * 32, steps_per_epoch=4)  # 8 epochs before the run's own 8: 2 of 16
    assert said(plan(RETRAINED, trace=trace), "lr")[1].startswith("peak 0.05 to 0.4, ")


def test_a_schedule_is_planned_in_another_budget() -> None:
    found = plan(RETRAINED, budget=24)
    assert [(span.name, span.stop - span.start) for span in found.spans] == [("dense", 16), ("cycle", 4), ("cycle", 4)]
    assert "rescaled from 12 epochs to 24" in found.notes


def test_what_goes_back_is_said_where_it_does() -> None:
    text = RETRAINED.replace(", retrain: {class: ALLR}", "").replace("retrain", "dense")
    text = text.replace("at: cycle}\n", "at: cycle}\n  - {rewind: {weights: 2, clock: 25%}, at: cycle}\n", 1)
    events = plan(text).events
    what = "weights back to epoch 2, the learning rate's clock to epoch 2, optimizer reset"
    assert list(events[events["kind"] == "rewind"]["what"]) == [what, what]
    assert list(events[events["epoch"] == 8]["kind"]) == ["phase", "cut", "rewind", "lr"]


@pytest.mark.parametrize(
    ("rewind", "what"),
    [
        ("{clock: 0}", "the learning rate's clock to epoch 0"),
        ("{optimizer: mask}", "optimizer masked"),
        ("{weights: 0, optimizer: keep}", "weights back to epoch 0, optimizer kept"),
        ("{shuffle: masks}", "each mask in random order"),
        ("{weights: 0, shuffle: weights}", "weights back to epoch 0, values of each parameter in random order, "
         "optimizer reset"),
    ],
)  # fmt: skip
def test_a_rewind_says_what_it_does_and_no_more(rewind: str, what: str) -> None:
    text = f"""
version: 2
phases: [{{name: a, epochs: 2}}, {{name: b, epochs: 2}}]
pruners: {{p: {{sparsity: 0.5}}}}
lr_schedulers: {{fall: {{class: linear}}}}
policies: [{{pruner: p, at: 1}}, {{rewind: {rewind}, at: b}}, {{lr_scheduler: fall, during: [a, b]}}]
"""
    assert said(plan(text), "rewind") == [what]


RELEASED = """
version: 2
phases: [{name: dense, epochs: 2}, {name: sparse, epochs: 2}, {name: again, epochs: 2}]
pruners: {p: {sparsity: 0.5, allocation: uniform}}
policies:
  - {pruner: p, at: sparse}
  - {release: p, at: again}
"""


def test_a_pruner_that_is_released_leaves_nothing_pruned() -> None:
    found = plan(RELEASED)
    assert said(found, "release") == ["masks of 'p' are taken away"]
    assert (layer(found, FC)["sparsity"], layer(found, FC)["decided"]) == (0, "masks taken away")
    points = found.curves[["epoch", "value"]].to_numpy().tolist()
    assert points == [[2.0, 0.5], [4.0, 0.0]]


def test_values_change_nothing_about_what_is_released() -> None:
    assert layer(plan(RELEASED, use_values=True), FC)["weights_left"] == 240


def test_a_pruner_that_cuts_again_after_its_release_leaves_that() -> None:
    found = plan(RELEASED.replace("{pruner: p, at: sparse}", "{pruner: p, at: [sparse, 5]}"))
    assert layer(found, FC)["weights_left"] == 120


def test_what_is_released_at_the_end_of_the_run_stays_zero() -> None:
    assert layer(plan(RELEASED.replace("at: again", "at: end")), FC)["weights_left"] == 120


def test_the_picture_names_rewinds_and_releases() -> None:
    texts = {text.get_text() for axes in plan(RELEASED).figure().axes for text in axes.texts}
    assert "release" in texts


def test_a_phase_with_replicas_says_how_many() -> None:
    schedule = load_schedule(
        "version: 2\nphases: [{name: cycle, epochs: 2, replicas: 3}]\npruners: {p: {sparsity: 0.5}}\n"
        "policies: [{pruner: p, at: cycle}]"
    )
    events = plan_schedule(schedule, small_model()).events
    assert "by each of 3 replicas" in events["what"].iloc[0]


def test_choices_that_wait_while_replicas_train_are_made_once_from_their_average() -> None:
    schedule = load_schedule(
        "version: 2\nphases: [{name: cycle, epochs: 3, repeat: 2, replicas: 2}]\n"
        "pruners: {dpf: {sparsity: {ramp: linear, to: 0.6}, update: reselect, pruned: dense}}\n"
        "policies: [{pruner: dpf, during: cycle, every: 1}]"
    )
    events = plan_schedule(schedule, small_model()).events
    cuts = events[events["kind"] == "cut"]
    assert cuts["epoch"].tolist() == [0, 3, 3, 6] and cuts["number"].tolist() == [1, 3, 4, 6]
    assert cuts["what"].str.contains("from the average").tolist() == [False, True, False, True]
