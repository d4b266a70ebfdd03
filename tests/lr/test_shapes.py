"""Our own schedules against numbers worked by hand and the published warm-up table."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from schedengine.errors import SchedEngineError
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.base import Clock, Group
from schedengine.lr.shapes import Constant, Cosine, Linear, Polynomial, Shape, Step

SHAPES = ["constant", "linear", "cosine", "step", "polynomial"]


def make(name: str, **fields: Any) -> Shape:
    schedule = TypeAdapter(LR_SCHEDULES.get(name)).validate_python(fields)
    assert isinstance(schedule, Shape)
    return schedule


def curve(schedule: Shape, total: int | None, ticks: int, base: float = 1.0) -> list[float]:
    return [schedule.rate(Clock(tick, total, Fraction(2)), base) for tick in range(ticks)]


def test_linear_falls_to_zero_at_the_end_which_is_not_run() -> None:
    assert curve(Linear(), 4, 5) == [1, 0.75, 0.5, 0.25, 0]


def test_linear_runs_between_the_rates_of_the_file() -> None:
    assert curve(Linear(from_=0.5, to=0.1), 4, 5) == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_cosine_is_half_a_wave() -> None:
    assert curve(Cosine(to=0.2), 4, 5) == pytest.approx(
        [1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2]
    )


def test_polynomial_of_power_two_is_a_parabola() -> None:
    assert curve(Polynomial(power=2.0), 4, 5) == [1, 0.5625, 0.25, 0.0625, 0]


def test_constant_needs_no_length() -> None:
    assert curve(Constant(from_=0.3), None, 3) == [0.3, 0.3, 0.3]
    assert not Constant().needs_total


def test_step_drops_at_its_places_by_gamma() -> None:
    schedule = make("step", drops=[1, "3st", "4st"], gamma=0.5)  # two ticks an epoch
    assert curve(schedule, None, 6) == [1, 1, 0.5, 0.25, 0.125, 0.125]


def test_step_drops_at_half_and_three_quarters_unless_told() -> None:
    assert curve(Step(), 8, 8) == pytest.approx([1] * 4 + [0.1] * 2 + [0.01] * 2)


def test_drops_count_from_the_start_of_the_span_not_the_end_of_the_warm_up() -> None:
    schedule = make("step", drops=["4st"], warmup="2st")
    assert curve(schedule, None, 6) == pytest.approx([0, 0.5, 1, 1, 0.1, 0.1])


def test_warm_up_rises_from_zero_to_the_peak_and_the_body_takes_the_rest() -> None:
    assert curve(make("linear", warmup="20%"), 10, 11) == pytest.approx(
        [0, 0.5, 1] + [(8 - k) / 8 for k in range(1, 9)]
    )


def test_cosine_warm_up_is_the_published_one() -> None:
    schedule = make("linear", from_=0.1, warmup="10%", warmup_shape="cosine")
    published = [0, 0.00245, 0.00955, 0.02061, 0.03455, 0.05, 0.06545, 0.07939, 0.09045, 0.09755, 0.1]
    assert curve(schedule, 100, 11) == pytest.approx(published, abs=5e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_a_span_of_one_tick_has_the_peak(name: str) -> None:
    assert curve(make(name, warmup="10%"), 1, 1) == [1]


@pytest.mark.parametrize("name", SHAPES)
def test_no_warm_up_and_one_of_zero_are_the_same(name: str) -> None:
    assert curve(make(name, warmup="0st"), 7, 9) == curve(make(name), 7, 9)


@pytest.mark.parametrize("name", SHAPES)
def test_a_warm_up_may_fill_the_whole_span(name: str) -> None:
    assert curve(make(name, warmup="100%"), 2, 2) == [0, 0.5]


def test_a_warm_up_longer_than_the_span_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="warm-up of 6 ticks does not fit into a span of 5"):
        curve(make("linear", warmup=3), 5, 1)


@pytest.mark.parametrize("name", ["linear", "cosine", "polynomial"])
def test_a_body_that_spans_the_run_needs_its_length(name: str) -> None:
    assert make(name).needs_total
    with pytest.raises(SchedEngineError, match="length of the run"):
        curve(make(name), None, 1)


@pytest.mark.parametrize(("fields", "needed"), [({"warmup": 1}, False), ({"warmup": "1%"}, True)])
def test_a_share_needs_the_length(fields: dict[str, Any], needed: bool) -> None:
    assert make("constant", **fields).needs_total is needed
    assert make("step", drops=[1], **fields).needs_total is needed


def test_other_groups_keep_their_ratio_to_the_first() -> None:
    groups = [Group(0.1), Group(0.05), Group(0)]
    values = Linear(from_=1.0).values(Clock(1, 2), groups)
    assert [value["lr"] for value in values] == pytest.approx([0.5, 0.25, 0])


def test_a_first_group_at_zero_leaves_the_others_no_ratio() -> None:
    with pytest.raises(SchedEngineError, match="is 0"):
        Constant(from_=1.0).values(Clock(0), [Group(0), Group(0.1)])


def test_a_single_group_may_begin_at_zero() -> None:
    assert Constant(from_=1.0).values(Clock(0), [Group(0)]) == [{"lr": 1.0}]


@pytest.mark.parametrize(
    "fields",
    [{"from_": -1.0}, {"to": "0"}, {"to": math.nan}, {"warmup": "fast"}, {"warmup_shape": "steep"}, {"form": 0.1}],
)
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make("linear", **fields)


@given(st.sampled_from(SHAPES), st.integers(1, 60), st.integers(0, 100), st.integers(0, 70))
def test_rates_stay_between_zero_and_the_peak(name: str, total: int, share: int, tick: int) -> None:
    rate = make(name, from_=0.5, warmup=f"{share}%").rate(Clock(tick, total), 1.0)
    assert 0 <= rate <= 0.5
