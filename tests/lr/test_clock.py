"""Ticks, shares of a span, and progress along it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock
from schedengine.progress import Time


@pytest.mark.parametrize(("time", "ticks"), [(2, 200), ("2.5ep", 250), ("30st", 30), ("10%", 100), ("0.05%", 1)])
def test_times_are_counted_in_steps(time: object, ticks: int) -> None:
    assert Clock(0, 1000, Fraction(100)).ticks(Time.parse(time)) == ticks


def test_halves_of_a_tick_round_up() -> None:
    assert Clock(0, 5).ticks(Time.parse("50%")) == 3


def test_a_share_of_an_unknown_span_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="length of the run"):
        Clock(0).ticks(Time.parse("10%"))


def test_progress_runs_from_0_to_1_and_stays_there() -> None:
    assert [Clock(elapsed, 4).progress() for elapsed in (0, 1, 4, 9)] == [0, 0.25, 1, 1]


def test_progress_counts_from_the_end_of_the_warm_up() -> None:
    assert [Clock(elapsed, 10).progress(2) for elapsed in (2, 6, 10)] == [0, 0.5, 1]


def test_progress_over_a_span_of_no_ticks_is_1() -> None:
    assert Clock(0, 0).progress() == 1
