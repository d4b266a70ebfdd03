"""Where to turn a knob next."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from schedengine.schedule.knobs import Knob
from schedengine.training.bracket import Point, miss, next_value

KNOB = Knob("a.b", 1e-5, 1e-1, is_log=True)


def tried(curve: Callable[[float], float], target: float, tolerance: float = 0.005, most: int = 20) -> list[float]:
    """The values until one is near enough."""
    points: list[Point] = []
    while len(points) < most:
        value = next_value(points, KNOB, target)
        assert value is not None
        points.append(Point(value, curve(value)))
        if abs(curve(value) - target) <= tolerance:
            break
    return [point.value for point in points]


def logistic(value: float) -> float:
    """Log odds of the sparsity rise by 2 where the knob is doubled e-fold."""
    return 1 / (1 + (1e-3 / value) ** 2)


def test_ends_come_first_and_then_the_middle() -> None:
    assert tried(logistic, 0.9)[:3] == [1e-5, 1e-1, 1e-3]


def test_a_straight_line_is_met_at_once() -> None:
    values = tried(logistic, 0.9, 1e-4)
    assert len(values) == 4 and values[3] == pytest.approx(3e-3, rel=1e-3)  # odds 9: 1e-3 * sqrt(9)


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize(
    "curve",
    [
        logistic,
        lambda value: math.erf(100 * value),
        lambda value: min(1.0, max(0.0, (math.log10(value) + 3.5) / 1.0)),
        lambda value: 1 - 1 / (1 + (value / 1e-4) ** 0.7),
    ],
    ids=["logistic", "normal", "saturated", "slow"],
)
def test_a_monotone_curve_is_met_within_twelve(curve: Callable[[float], float], target: float) -> None:
    assert len(tried(curve, target)) <= 12


def test_a_falling_curve_is_met_too() -> None:
    assert len(tried(lambda value: 1 - logistic(value), 0.9)) <= 5


def test_four_digits_are_written() -> None:
    assert all(value == float(f"{value:.4g}") for value in tried(logistic, 0.777, 1e-3))


def test_without_an_enclosure_nothing_is_said() -> None:
    ends = [Point(1e-5, 0.1), Point(1e-1, 0.2)]
    assert next_value(ends, KNOB, 0.9) is None
    assert next_value([Point(1e-5, 0.1), Point(1e-1, None)], KNOB, 0.9) is None


def test_a_jump_is_closed_in_on_until_nothing_lies_between() -> None:
    points = [Point(0.001, 0.1), Point(0.001001, 0.99), Point(1e-5, 0.0), Point(1e-1, 1.0)]
    assert next_value(points, KNOB, 0.9) is None


def test_half_and_twice_the_density_miss_by_as_much() -> None:
    assert miss(0.8, 0.9) == pytest.approx(math.log(2)) and miss(0.95, 0.9) == pytest.approx(-math.log(2))
    assert math.isfinite(miss(1.0, 0.9))
