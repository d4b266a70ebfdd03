"""Levels as users write them."""

from __future__ import annotations

import pytest

from schedengine.analysis.sensitivity.levels import parse_levels
from schedengine.errors import SchedEngineError


def test_a_range_includes_its_stop_and_has_no_float_noise() -> None:
    assert parse_levels("0:0.95:0.05") == (
        0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45,
        0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95,
    )  # fmt: skip


def test_a_range_whose_step_misses_the_stop_ends_before_it() -> None:
    assert parse_levels("0:0.5:0.2") == (0.0, 0.2, 0.4)


def test_numbers_and_ranges_mix_and_come_out_ascending_and_once() -> None:
    assert parse_levels("0.9, 0.1:0.3:0.1, 0.2") == (0.1, 0.2, 0.3, 0.9)


def test_numbers_of_python_are_levels() -> None:
    assert parse_levels([0.9, 3 * 0.05]) == (0.15, 0.9) and parse_levels(0.5) == (0.5,)


@pytest.mark.parametrize("levels", ["0:1:0.5", "-0.1", [1.0], "0.5,95", [float("nan")]])
def test_a_level_outside_0_to_1_is_refused(levels: str | list[float]) -> None:
    with pytest.raises(SchedEngineError, match=r"outside \[0, 1\)"):
        parse_levels(levels)


@pytest.mark.parametrize("levels", ["", "a", "0:0.5", "0:0.5:0.1:2", "nan", "0,,0.5", "5 %"])
def test_what_is_no_level_is_refused_with_an_example(levels: str) -> None:
    with pytest.raises(SchedEngineError, match="cannot read .* as in 0:0.95:0.05"):
        parse_levels(levels)


@pytest.mark.parametrize("levels", ["0.5:0.1:0.1", "0:0.5:0", "0:0.5:-0.1"])
def test_a_step_that_leads_nowhere_is_refused(levels: str) -> None:
    with pytest.raises(SchedEngineError, match="has no levels"):
        parse_levels(levels)


def test_no_levels_and_too_many_are_refused() -> None:
    with pytest.raises(SchedEngineError, match="none given"):
        parse_levels([])
    with pytest.raises(SchedEngineError, match="9,001 levels; at most 1,000"):
        parse_levels("0:0.9:0.0001")
