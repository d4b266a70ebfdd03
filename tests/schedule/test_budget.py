"""A schedule in another number of epochs (budget-aware conversion)."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import schedules

from schedengine import SchedEngineError, ScheduleError, load_schedule
from schedengine.errors import ScheduleWarning
from schedengine.lr.distiller_schedules import DistillerPolynomialLR, MultiStepMultiGammaLR
from schedengine.lr.plateau import Plateau
from schedengine.lr.retraining import Retraining
from schedengine.lr.shapes import Shape
from schedengine.schedule.budget import rescale
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import to_document
from schedengine.schedule.plan import expand

DENSE = {"name": "dense", "epochs": 60}
CYCLE = {"name": "cycle", "epochs": 10, "repeat": 4}


def lengths(phases: list[dict[str, Any]], budget: int) -> list[int]:
    """Epochs of every stretch that is not a group, in order."""
    schedule = rescale(load_schedule({"version": 2, "phases": phases, "policies": []}), budget)
    groups = {phase.name for phase in schedule.phases if phase.phases}
    return [span.stop - span.start for span in expand(schedule.phases) if span.name not in groups]


def rescaled(budget: int, phases: Any = (DENSE, CYCLE), epochs: int | None = None, **sections: Any) -> dict[str, Any]:
    """What a file becomes, as a file."""
    document = {"version": 2, "policies": [], **({"phases": list(phases)} if phases else {}), **sections}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)
        return to_document(rescale(load_schedule(document), budget, epochs))


def policy(budget: int, written: dict[str, Any], phases: Any = (DENSE, CYCLE)) -> dict[str, Any]:
    """What a pruner's policy becomes."""
    pruners = {"p": {"sparsity": 0.5}}
    found: dict[str, Any] = rescaled(budget, phases, pruners=pruners, policies=[{"pruner": "p", **written}])
    return {key: value for key, value in found["policies"][0].items() if key != "pruner"}


# --- phases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(60, [36, 6, 6, 6, 6]), (50, [30, 5, 5, 5, 5]), (63, [37, 6, 6, 6, 8]), (100, [60, 10, 10, 10, 10]),
     (200, [120, 20, 20, 20, 20])],
)  # fmt: skip
def test_phases_keep_their_shares_and_the_last_repeat_gets_the_rest(budget: int, expected: list[int]) -> None:
    assert lengths([DENSE, CYCLE], budget) == expected


@pytest.mark.parametrize(("cycles", "expected"), [((36, 3), [12, 12, 12]), ((30, 4), [7, 7, 7, 9])])
def test_the_published_splits(cycles: tuple[int, int], expected: list[int]) -> None:
    total, repeat = cycles
    phases = [{"name": "dense", "epochs": 90 - total}, {"name": "cycle", "epochs": {"total": total}, "repeat": repeat}]
    twice = [{**phases[0], "epochs": 2 * (90 - total)}, {**phases[1], "epochs": {"total": 2 * total}}]
    assert lengths(phases, 90)[1:] == lengths(twice, 90)[1:] == expected


def test_groups_are_rescaled_with_all_that_they_hold() -> None:
    inner = [{"name": "prune", "epochs": 2}, {"name": "tune", "epochs": 8}]
    phases = [{"name": "dense", "epochs": 20}, {"name": "cycle", "repeat": 2, "phases": inner}]
    assert lengths(phases, 20) == [10, 1, 4, 1, 4]
    assert lengths(phases, 25) == [12, 1, 5, 1, 6]


def test_a_short_phase_keeps_an_epoch_for_each_repeat() -> None:
    assert lengths([{"name": "dense", "epochs": 98}, {"name": "a", "epochs": 1, "repeat": 2}, CYCLE], 20) == [
        14, 1, 1, 1, 1, 1, 1,
    ]  # fmt: skip


def test_a_budget_too_small_is_an_error_with_its_line() -> None:
    text = (
        "version: 2\nphases:\n  - {name: dense, epochs: 60}\n  - {name: cycle, epochs: 10, repeat: 4}\npolicies: []\n"
    )
    with pytest.raises(
        ScheduleError, match=r"3:3: phases: a budget of 4 epochs is too small for the phases, which need 5"
    ):
        rescale(load_schedule(text), 4)


def test_the_smallest_budget_is_an_epoch_a_repeat() -> None:
    """By shares, 10 + 10 epochs in three repeats would leave 2 of 4 for the repeats."""
    phases = [{"name": "dense", "epochs": 10}, {"name": "cycle", "epochs": {"total": 10}, "repeat": 3}]
    found = rescale(load_schedule({"version": 2, "phases": phases, "policies": []}), 4)
    assert [(span.name, span.start, span.stop) for span in expand(found.phases)] == [
        ("dense", 0, 1), ("cycle", 1, 2), ("cycle", 2, 3), ("cycle", 3, 4)
    ]  # fmt: skip


def test_a_schedule_without_phases_needs_its_own_length() -> None:
    with pytest.raises(SchedEngineError, match=r"no phases to say what it was written for; give .*--epochs N"):
        rescaled(30, None)


# --- times -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at", "expected"), [
    ("cycle", "cycle"), ({"end": "dense"}, {"end": "dense"}), (30, 18), (60, 36), (70, 42), (75, 45), (100, 60),
    ("25%", "25%"), ("1000st", "600st"), (5, 3), (1, "0.6ep"),
])  # fmt: skip
def test_instants_move_with_the_phase_that_they_lie_in(at: Any, expected: Any) -> None:
    assert policy(60, {"at": at}) == {"at": expected}


def test_instants_keep_their_place_where_phases_are_rounded() -> None:
    assert policy(63, {"at": 60}) == {"at": 37}
    assert policy(63, {"at": 65}) == {"at": 40}


def test_windows_and_their_distances_scale_with_their_phase() -> None:
    written = {"during": "dense", "from": 10, "until": 50, "every": 5}
    assert policy(60, written) == {"during": "dense", "from": 6, "until": 30, "every": 3}


def test_distances_in_steps_stay_and_places_in_steps_move() -> None:
    written = {"during": "dense", "from": "100st", "until": "400st", "every": "16st"}
    assert policy(60, written) == {"during": "dense", "from": "60st", "until": "240st", "every": "16st"}


def test_cuts_once_an_epoch_still_come_once_an_epoch() -> None:
    assert policy(60, {"during": "dense"}) == {"during": "dense"}


def test_a_window_that_filled_a_repeat_still_fits_into_each() -> None:
    """41 epochs in 4 repeats are 10, 10, 10 and 11; the shortest decides."""
    phases = ({"name": "dense", "epochs": 40}, {**CYCLE, "epochs": 15})
    assert policy(67, {"during": "cycle", "until": 15}, phases) == {"during": "cycle", "until": 10}


def test_a_regularizer_acts_in_whole_epochs_still() -> None:
    written = {"during": "dense", "every": 2, "until": 30}
    found = rescaled(
        60, regularizers={"r": {"penalty": "l1", "strength": 0.1}}, policies=[{"regularizer": "r", **written}]
    )
    assert found["policies"] == [{"regularizer": "r", "during": "dense", "until": 18, "every": 2}]


def test_a_ramp_that_moves_more_slowly_does_so_still() -> None:
    pruners = {"p": {"sparsity": {"ramp": "cubic", "to": 0.9, "every": 10}}}
    found = rescaled(50, pruners=pruners, policies=[{"pruner": "p", "during": "run", "every": "16st"}])
    assert found["pruners"]["p"]["sparsity"] == {"ramp": "cubic", "to": 0.9, "every": 5}


def test_rewinding_goes_back_to_the_same_part_of_the_dense_phase() -> None:
    lr = {"a": {"class": "linear"}}
    policies = [{"pruner": "p", "at": "cycle"}, {"rewind": {"weights": 10, "clock": "50%"}, "at": "cycle"},
                {"lr_scheduler": "a", "during": ["dense", "cycle"]}]  # fmt: skip
    found = rescaled(60, lr_schedulers=lr, policies=policies, pruners={"p": {"sparsity": 0.5}})
    assert found["policies"][1]["rewind"] == {"weights": 6, "clock": "50%"}


def test_times_within_learning_rates_scale_with_where_they_are_used() -> None:
    rates = {"a": {"class": "linear", "warmup": 5}, "b": {"class": "step", "drops": [2, "50%"]}}
    policies = [{"lr_scheduler": "a", "during": "dense"}, {"lr_scheduler": "b", "during": "cycle"}]
    found = rescaled(60, lr_schedulers=rates, policies=policies)["lr_schedulers"]
    assert found == {"a": {"class": "linear", "warmup": 3}, "b": {"class": "step", "drops": ["1.2ep", "50%"]}}


def test_a_run_without_phases_is_rescaled_from_the_length_that_is_given() -> None:
    pruners = {"p": {"sparsity": {"ramp": "cubic", "to": 0.9}}}
    policies = [{"pruner": "p", "during": "run", "until": 20, "every": 2}]
    found = rescaled(30, None, epochs=60, pruners=pruners, policies=policies)
    assert found["policies"] == [{"pruner": "p", "during": "run", "until": 10, "every": 1}]


def test_torchs_classes_count_epochs_themselves_and_are_refused_with_their_line() -> None:
    text = """\
version: 2
phases: [{name: dense, epochs: 60}]
lr_schedulers:
  drops: {class: StepLR, step_size: 30}
policies: [{lr_scheduler: drops, during: run}]
"""
    with pytest.raises(ScheduleError, match=r"4:10: lr_schedulers.drops: StepLR counts epochs in arguments of its own"):
        rescale(load_schedule(text), 30)


def test_a_window_that_gets_too_short_for_its_distances_in_steps_is_an_error_with_its_line() -> None:
    text = (
        "version: 2\nphases: [{name: dense, epochs: 60}]\npruners: {p: {sparsity: 0.5}}\npolicies:\n"
        "  - {pruner: p, during: dense, until: 100st, every: 16st}\n"
    )
    message = r"5:5: policies\[0\]: with a budget of 6 epochs, 'every' \(16st\) is longer than the window"
    with pytest.raises(ScheduleError, match=message):
        rescale(load_schedule(text), 6)


def test_a_length_that_is_not_that_of_the_phases_is_refused() -> None:
    with pytest.raises(ScheduleError, match="the phases last 100 epochs, and the run is to last 90; change one"):
        rescaled(60, epochs=90)


# --- properties ------------------------------------------------------------------------------------------------------


def fits(schedule: Schedule) -> bool:
    rates = schedule.lr_schedulers.values()
    return all(isinstance(one, (Shape, Retraining, Plateau)) for one in rates)


def test_the_classes_that_are_refused_are_torchs_and_distillers() -> None:
    assert not issubclass(MultiStepMultiGammaLR, Shape) and not issubclass(DistillerPolynomialLR, Shape)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedules())
def test_the_same_length_changes_nothing(schedule: Schedule) -> None:
    assume(fits(schedule))
    length = schedule.epochs or 7
    assert rescale(schedule, length, None if schedule.phases else 7) == schedule


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedules(), st.integers(1, 400))
def test_the_epochs_are_those_of_the_budget(schedule: Schedule, budget: int) -> None:
    assume(fits(schedule) and schedule.phases)
    try:
        found = rescale(schedule, budget)
    except ScheduleError as error:
        assert "too small" in str(error)
    else:
        assert found.epochs == budget and len(expand(found.phases)) == len(expand(schedule.phases))


def test_what_counts_whole_epochs_is_not_moved_into_one() -> None:
    policies = [{"regularizer": "r", "during": "run", "from": 3, "until": 9, "every": 2}]
    document = {"version": 2, "regularizers": {"r": {"penalty": "l1", "strength": 0.1}}, "policies": policies}
    with pytest.raises(ScheduleError, match="a budget of 5 epochs its window begins or ends within an epoch"):
        rescale(load_schedule(document), 5, 10)


def test_limits_that_move_with_the_epochs_keep_their_pace() -> None:
    text = """
version: 2
phases: [{name: run1, epochs: 20}]
pruners:
  rnn: {parameters: 0.weight, threshold: {rising: {by_name: 0.2, after: 10}}}
  dns: {parameters: 0.weight, threshold: {spread: {by_name: 1.0, growth: 0.1}}, update: splice, pruned: dense}
policies: [{pruner: rnn, during: run, until: 10}, {pruner: dns, during: run, from: 10}]
"""
    pruners = rescale(load_schedule(text), 10).pruners
    assert pruners["rnn"].threshold.after == 5  # type: ignore[union-attr]
    assert pruners["dns"].threshold.growth == 0.2  # type: ignore[union-attr]


FORKED = """
version: 2
phases: [{name: dense, epochs: 4}, {name: cycle, epochs: 8, repeat: 2, replicas: 2, vary: {epochs: [4, 8]}}]
policies: []
"""


def test_replicas_of_several_lengths_keep_their_ratio() -> None:
    cycle = rescale(load_schedule(FORKED), 10).phases[1]
    assert cycle.vary is not None
    assert (cycle.epochs, cycle.vary.epochs) == (4, (2, 4))


def test_replicas_of_several_lengths_need_repeats_of_one_length() -> None:
    with pytest.raises(ScheduleError, match="2 repeats of 'cycle' share 9, which does not divide"):
        rescale(load_schedule(FORKED), 11)
