"""The torch adapter against closed forms, and what it refuses."""

from __future__ import annotations

import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from torch.optim import lr_scheduler

from schedengine.errors import SchedEngineError
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.base import Clock, Group
from schedengine.lr.torch_schedules import FIELDS, TorchSchedule

SGD = (Group(0.1, momentum=0.9),)
ADAM = (Group(0.1, betas=(0.9, 0.999)),)
NAMES = [name for name in LR_SCHEDULES.names() if issubclass(LR_SCHEDULES.get(name), TorchSchedule)]


def make(name: str, **fields: Any) -> Any:
    return TypeAdapter(LR_SCHEDULES.get(name)).validate_python(fields)


def rates(schedule: Any, ticks: int, total: int | None = None) -> list[float]:
    return [schedule.values(Clock(tick, total), SGD)[0]["lr"] for tick in range(ticks)]


def restarts(tick: int) -> float:
    """Periods of 3, 6, 12, ... ticks."""
    length = 3
    while tick >= length:
        tick, length = tick - length, 2 * length
    return 0.01 + 0.09 * (1 + math.cos(math.pi * tick / length)) / 2


CLOSED_FORMS: list[tuple[str, dict[str, Any], Callable[[int], float]]] = [
    ("StepLR", {"step_size": 4, "gamma": 0.5}, lambda k: 0.1 * 0.5 ** (k // 4)),
    ("MultiStepLR", {"milestones": [2, 5, 5]}, lambda k: 0.1 * 0.1 ** ((k >= 2) + 2 * (k >= 5))),
    ("ConstantLR", {"factor": 0.5, "total_iters": 3}, lambda k: 0.05 if k < 3 else 0.1),
    ("LinearLR", {"start_factor": 0.25, "total_iters": 6}, lambda k: 0.1 * (0.25 + 0.75 * min(k, 6) / 6)),
    ("ExponentialLR", {"gamma": 0.9}, lambda k: 0.1 * 0.9**k),
    (
        "CosineAnnealingLR",
        {"T_max": 8, "eta_min": 0.01},
        lambda k: 0.01 + 0.09 * (1 + math.cos(math.pi * k / 8)) / 2,
    ),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}, restarts),
    ("PolynomialLR", {"total_iters": 8, "power": 2}, lambda k: 0.1 * (1 - min(k, 8) / 8) ** 2),
    (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 4},
        lambda k: 0.1 + 0.4 * (1 - abs((k % 8) / 4 - 1)),
    ),
]


@pytest.mark.parametrize(("name", "fields", "closed_form"), CLOSED_FORMS)
def test_stepping_gives_the_closed_form(name: str, fields: dict[str, Any], closed_form: Callable[[int], float]) -> None:
    assert rates(make(name, **fields), 20) == pytest.approx([closed_form(k) for k in range(20)], rel=1e-12, abs=1e-16)


def test_distillers_late_start_reads_the_absolute_epoch() -> None:
    [value] = make("ExponentialLR", gamma=0.9).values(Clock(25), SGD)
    assert value == {"lr": pytest.approx(0.00717897987691853, rel=1e-12)}


def test_one_cycle_begins_peaks_and_ends_where_it_says() -> None:
    schedule = make("OneCycleLR", max_lr=1.0, total_steps=10, pct_start=0.5, div_factor=10.0, final_div_factor=100.0)
    curve = rates(schedule, 10)
    assert [curve[0], curve[4], curve[9]] == pytest.approx([0.1, 1.0, 0.001])  # torch peaks at pct_start * total - 1


def test_one_cycle_takes_its_length_from_the_clock() -> None:
    assert make("OneCycleLR", max_lr=1.0).needs_total
    assert rates(make("OneCycleLR", max_lr=1.0), 9, total=9) == rates(make("OneCycleLR", max_lr=1.0, total_steps=9), 9)


def test_one_cycle_prefers_the_length_in_the_file() -> None:
    schedule = make("OneCycleLR", max_lr=1.0, epochs=3, steps_per_epoch=4)
    assert not schedule.needs_total
    assert rates(schedule, 12, total=99)[11] == pytest.approx(1 / 25 / 1e4)


def test_one_cycle_without_any_length_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="length of the run"):
        rates(make("OneCycleLR", max_lr=1.0), 1)


def test_a_schedule_that_is_over_says_so() -> None:
    with pytest.raises(SchedEngineError, match="OneCycleLR at tick 6: Tried to step 6 times.* 5"):
        make("OneCycleLR", max_lr=1.0, total_steps=5).values(Clock(6), SGD)


def test_momentum_is_cycled_against_the_rate() -> None:
    schedule = make("CyclicLR", base_lr=0.1, max_lr=0.5, step_size_up=2)
    momenta = [schedule.values(Clock(tick), SGD)[0]["momentum"] for tick in range(5)]
    assert momenta == pytest.approx([0.9, 0.85, 0.8, 0.85, 0.9])


def test_adam_has_its_first_beta_cycled() -> None:
    [value] = make("CyclicLR", base_lr=0.1, max_lr=0.5, step_size_up=2).values(Clock(2), ADAM)
    assert value == {"lr": pytest.approx(0.5), "betas": (pytest.approx(0.8), 0.999)}


def test_cycling_a_momentum_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="cycle_momentum"):
        make("CyclicLR", base_lr=0.1, max_lr=0.5).values(Clock(0), (Group(0.1),))


def test_groups_go_their_own_ways() -> None:
    values = make("StepLR", step_size=1, gamma=0.5).values(Clock(2), (Group(0.4), Group(0.8)))
    assert values == [{"lr": pytest.approx(0.1)}, {"lr": pytest.approx(0.2)}]


def test_a_list_of_rates_must_have_one_for_each_group() -> None:
    with pytest.raises(SchedEngineError, match="max_lr"):
        make("OneCycleLR", max_lr=[0.1, 0.2], total_steps=9).values(Clock(0), SGD)


def test_any_tick_can_be_asked_first() -> None:
    schedule = make("CosineAnnealingLR", T_max=7)
    late = schedule.values(Clock(30), (Group(0.3),))
    assert schedule.values(Clock(2), (Group(0.3),)) == [{"lr": pytest.approx(0.15 * (1 + math.cos(math.pi * 2 / 7)))}]
    assert schedule.values(Clock(30), (Group(0.3),)) == late


def test_an_answer_that_is_changed_does_not_change_the_next_one() -> None:
    schedule = make("ExponentialLR", gamma=0.5)
    schedule.values(Clock(1), SGD)[0]["lr"] = 7.0
    assert schedule.values(Clock(1), SGD) == [{"lr": pytest.approx(0.05)}]


def test_what_was_remembered_is_no_part_of_equality() -> None:
    asked, fresh = make("StepLR", step_size=3), make("StepLR", step_size=3)
    rates(asked, 5)
    assert asked == fresh and pickle.loads(pickle.dumps(asked)) == fresh
    assert asked != make("StepLR", step_size=4)


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_ours_to_give_cannot_be_written(name: str) -> None:
    parameters = set(inspect.signature(getattr(lr_scheduler, name)).parameters)
    assert parameters - set(FIELDS) <= {"optimizer", "last_epoch", "verbose", "scale_fn", "scale_mode"}


@pytest.mark.parametrize("name", NAMES)
def test_the_json_schema_lists_the_fields_and_no_others(name: str) -> None:
    schema = TypeAdapter(LR_SCHEDULES.get(name)).json_schema()
    assert set(schema["properties"]) == set(inspect.signature(getattr(lr_scheduler, name)).parameters) & set(FIELDS)
    assert schema["additionalProperties"] is False


REFUSED_VALUES: list[tuple[str, dict[str, Any], str]] = [
    ("StepLR", {"step_sise": 3}, "step_sise"),
    ("StepLR", {}, "step_size"),
    ("StepLR", {"step_size": "3"}, "valid integer"),
    ("StepLR", {"step_size": 2.5}, "valid integer"),
    ("StepLR", {"step_size": True}, "valid integer"),
    ("StepLR", {"step_size": 0}, "greater than 0"),
    ("ExponentialLR", {"gamma": math.inf}, "finite"),
    ("MultiStepLR", {"milestones": [30, 10]}, "not in increasing order"),
    ("LinearLR", {"start_factor": 0.0}, "Starting multiplicative factor"),
    ("ConstantLR", {"factor": 2.0}, "Constant multiplicative factor"),
    ("OneCycleLR", {"max_lr": 1.0, "epochs": 3}, "total_steps OR"),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 9, "pct_start": 2.0}, "pct_start"),
    ("OneCycleLR", {"max_lr": 1.0, "total_steps": 10, "pct_start": 0.1}, "no ticks"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "mode": "square"}, "triangular"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 1.0, "scale_fn": "abs"}, "scale_fn"),
    ("CyclicLR", {"base_lr": [0.1], "max_lr": [1.0, 2.0]}, "same length"),
]


@pytest.mark.parametrize(("name", "fields", "message"), REFUSED_VALUES)
def test_what_torch_could_not_run_is_refused_at_once(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(name, **fields)


def test_a_whole_number_will_do_for_a_fraction() -> None:
    assert make("OneCycleLR", max_lr=1, total_steps=9, pct_start=0).pct_start == 0.0
