from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schedengine.errors import SchedEngineError
from schedengine.progress import Time
from schedengine.sparsity import RAMPS
from schedengine.sparsity.ramps import Constant, Cubic, Drawn, Geometric, Linear, Listed, Polynomial, Ramp, Remaining

RISING: list[type[Any]] = [Constant, Linear, Cubic, Geometric, Polynomial]


def targets(ramp: Ramp, cuts: int, **given: float) -> list[float]:
    return [ramp.at(cut, cuts, **given) for cut in range(1, cuts + 1)]


@pytest.mark.parametrize(
    ("to", "cuts", "expected"),
    [
        (0.9, 2, [0.6838, 0.9]),
        (0.9, 3, [0.5358, 0.7846, 0.9]),
        (0.98, 3, [0.7286, 0.9263, 0.98]),
        (0.95, 4, [0.5271, 0.7764, 0.8943, 0.95]),
        (0.9, 5, [0.369, 0.6019, 0.7488, 0.8415, 0.9]),
    ],
)
def test_geometric_removes_the_same_fraction_each_time(to: float, cuts: int, expected: list[float]) -> None:
    assert targets(Geometric(to=to), cuts) == pytest.approx(expected, abs=5e-5)


def test_geometric_continues_from_a_sparse_network() -> None:
    assert targets(Geometric(to=0.875), 2, start=0.5) == pytest.approx([0.75, 0.875])


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [
        (8, [0.2971, 0.5203, 0.6803, 0.7875, 0.8525, 0.8859, 0.8982, 0.9]),
        (5, [0.4392, 0.7056, 0.8424, 0.8928, 0.9]),
    ],
)
def test_cubic_is_the_gradual_schedule(cuts: int, expected: list[float]) -> None:
    assert targets(Cubic(to=0.9), cuts) == pytest.approx(expected, abs=5e-5)


def test_first_from_puts_the_first_cut_at_from() -> None:
    ramp = Cubic(to=0.85, from_=0.05, first="from")
    assert targets(ramp, 3) == pytest.approx([0.05, 0.85 - 0.8 / 8, 0.85])


@pytest.mark.parametrize("kind", [Linear, Cubic, Geometric, Polynomial])
def test_a_single_cut_reaches_the_target(kind: type[Any]) -> None:
    assert kind(to=0.7, first="from").at(1, 1) == kind(to=0.7).at(1, 1) == 0.7


def test_linear_takes_equal_steps() -> None:
    assert targets(Linear(to=0.9, from_=0.1), 4) == pytest.approx([0.3, 0.5, 0.7, 0.9])


def test_polynomial_with_power_3_is_cubic() -> None:
    assert targets(Polynomial(to=0.8, power=3), 5) == targets(Cubic(to=0.8), 5)


def test_constant_is_at_its_target_at_once() -> None:
    assert targets(Constant(0.5), 3) == [0.5, 0.5, 0.5]


def test_remaining_takes_20_percent_of_what_is_left() -> None:
    assert targets(Remaining(0.2), 3) == pytest.approx([0.2, 0.36, 0.488])
    assert targets(Remaining(0.5), 2, start=0.5) == pytest.approx([0.75, 0.875])


def test_a_list_has_one_value_for_each_cut() -> None:
    assert targets(Listed((0.5, 0.75)), 2) == [0.5, 0.75]
    with pytest.raises(SchedEngineError, match="2 values for 3 cuts"):
        Listed((0.5, 0.75)).at(1, 3)


@pytest.mark.parametrize("kind", RISING)
def test_a_level_of_a_parameter_takes_the_place_of_the_target(kind: type[Any]) -> None:
    assert kind(to=0.9).at(3, 3, to=0.4) == 0.4
    assert kind().at(3, 3, to=0.4) == 0.4


def test_a_level_below_from_is_not_overshot() -> None:
    assert targets(Linear(to=0.9, from_=0.5), 3, to=0.2) == pytest.approx([0.2, 0.2, 0.2])


@pytest.mark.parametrize("kind", RISING)
def test_a_missing_target_is_an_error(kind: type[Any]) -> None:
    with pytest.raises(SchedEngineError, match="no target"):
        kind().at(1, 2)


@pytest.mark.parametrize("ramp", [Remaining(0.2), Listed((0.5,))])
def test_ramps_without_a_target_refuse_levels(ramp: Ramp) -> None:
    with pytest.raises(SchedEngineError, match="takes no target"):
        ramp.at(1, 1, to=0.5)


@given(st.sampled_from(RISING), st.floats(0, 0.99), st.floats(0, 0.99), st.integers(1, 20))
def test_targets_never_fall_nor_go_below_the_start(kind: type[Any], to: float, start: float, cuts: int) -> None:
    found = targets(kind(to=to), cuts, start=start)
    assert found[0] >= start
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(found))
    assert found[-1] == max(to, start)


@pytest.mark.parametrize("to", [1, 1.0, -0.1, "0.5", True])
def test_a_target_is_a_number_from_0_to_below_1(to: Any) -> None:
    with pytest.raises(ValidationError):
        Cubic(to=to)


def test_a_ramp_that_falls_is_refused() -> None:
    with pytest.raises(ValidationError, match="does not fall"):
        Linear(to=0.5, from_=0.6)


@pytest.mark.parametrize("name", RAMPS.names())
def test_every_ramp_may_be_coarser_than_its_cuts(name: str) -> None:
    needed: dict[str, dict[str, Any]] = {"list": {"values": [0.5]}, "remaining": {"fraction": 0.2}}
    assert RAMPS.get(name)(every="16st", **needed.get(name, {})).every == Time.parse("16st")


# --- targets that are drawn ------------------------------------------------------------------------------------------


def test_drawn_targets_fill_their_range_evenly() -> None:
    """The mean of 400 draws from [0.2, 0.6) has the deviation 0.4 / sqrt(12 * 400)."""
    ramp = Drawn(to=0.6, from_=0.2)
    targets = [ramp.at(cut, 400) for cut in range(1, 401)]
    assert all(0.2 <= target < 0.6 for target in targets) and len(set(targets)) == 400
    assert abs(sum(targets) / 400 - 0.4) < 4 * 0.4 / (12 * 400) ** 0.5


def test_the_same_event_has_the_same_target() -> None:
    assert Drawn(to=0.6).at(2, 5) == Drawn(to=0.6).at(2, 9) != Drawn(to=0.6, seed=1).at(2, 5)
    assert Drawn(to=0.6).at(2, 5, key="a") == Drawn(to=0.6).at(3, 5, key="a") != Drawn(to=0.6).at(2, 5, key="b")


def test_a_drawn_target_is_not_below_the_start() -> None:
    assert Drawn(to=0.6).at(1, 1, start=0.9) == 0.9


def test_a_level_takes_the_place_of_the_highest_target() -> None:
    assert 0.1 <= Drawn(from_=0.1).at(1, 1, to=0.11) < 0.11
    with pytest.raises(SchedEngineError, match="no target sparsity"):
        Drawn().at(1, 1)


def test_a_drawn_range_that_is_upside_down_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0.5 is above to 0.3"):
        Drawn(to=0.3, from_=0.5)
