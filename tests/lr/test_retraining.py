"""Retraining rules against their formulas, step by step (Zimmer, Spiegel and Pokutta, 2023, arXiv 2111.00843)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schedengine.errors import SchedEngineError
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.base import Clock, Group
from schedengine.lr.retraining import Past, Retraining
from schedengine.lr.shapes import Linear
from schedengine.lr.trace import Trace

LINEAR = Trace([0.1 * (1 - step / 20) for step in range(20)], 2)
STEPS = Trace([0.02, 0.06, *[0.1] * 8, *[0.01] * 5, *[0.001] * 5], 2)  # with two steps of warm-up
RESTARTS = ("SLR", "CLR", "LLR", "ALLR", "LayerwiseALLR")
WARMUP = (0, 0.00245, 0.00955, 0.02061, 0.03455, 0.05, 0.06545, 0.07939, 0.09045, 0.09755, 0.1)
lengths = st.integers(1, 60)


def rule(name: str, **fields: Any) -> Retraining:
    made = TypeAdapter(LR_SCHEDULES.get(name)).validate_python(fields)
    assert isinstance(made, Retraining)
    return made


def rates(name: str, steps: int, dense: Trace = STEPS, drop: float | None = 1.0, **fields: Any) -> list[float]:
    """The rate at each step of a phase."""
    curve = rule(name, **fields).after(Past(dense, drop, drop), steps)
    clocks = [Clock(step, steps, Fraction(dense.steps_per_epoch)) for step in range(steps)]
    return [curve.values(clock, [Group(0.5)])[0]["lr"] for clock in clocks]


def rise(peak: float, steps: int) -> list[float]:
    """Half a cosine over the first tenth, rounded down."""
    count = steps // 10
    return [peak * (1 - math.cos(math.pi * step / count)) / 2 for step in range(count)]


# --- each rule at every step -----------------------------------------------------------------------------------------


@given(lengths)
def test_ft_is_the_lowest_rate_after_the_warm_up(steps: int) -> None:
    assert rates("FT", steps) == [0.001] * steps


def test_ft_ignores_a_warm_up_that_began_lower() -> None:
    assert rates("FT", 3, Trace([0.0, 0.05, 0.1, 0.1, 0.02], 1)) == [0.02] * 3


@given(st.integers(1, 20))
def test_lrw_is_the_last_rates_of_the_dense_training(steps: int) -> None:
    assert rates("LRW", steps) == list(STEPS.rates)[20 - steps :]


def test_lrw_cannot_go_back_beyond_the_trace() -> None:
    with pytest.raises(SchedEngineError, match="goes back 10.5 epochs, and the trace of the dense training has 10;"):
        rates("LRW", 21)


@given(lengths)
def test_slr_squeezes_the_whole_trace_with_its_warm_up_at_the_top(steps: int) -> None:
    body = steps - steps // 10
    places = [step * 20 // body for step in range(body)]
    expected = [0.1 if place < 2 else STEPS.rates[place] for place in places]
    assert rates("SLR", steps) == pytest.approx(rise(0.1, steps) + expected, abs=1e-12)


def test_slr_samples_where_the_reference_does() -> None:
    dense = Trace([100.0 - step for step in range(20)], 2)  # a rate tells its index
    indices = [100 - rate for rate in rates("SLR", 10, dense)[1:]]
    assert indices == [0, 2, 4, 6, 8, 11, 13, 15, 17]


@given(lengths)
def test_clr_is_half_a_cosine_to_the_lowest_rate(steps: int) -> None:
    body = steps - steps // 10
    expected = [0.001 + 0.099 * (1 + math.cos(math.pi * step / body)) / 2 for step in range(body)]
    assert rates("CLR", steps) == pytest.approx(rise(0.1, steps) + expected, abs=1e-12)


@given(lengths)
def test_llr_is_a_line_from_the_highest_rate_to_0(steps: int) -> None:
    body = steps - steps // 10
    expected = [0.1 * (1 - step / body) for step in range(body)]
    assert rates("LLR", steps) == pytest.approx(rise(0.1, steps) + expected, abs=1e-12)


@pytest.mark.parametrize("name", ["ALLR", "LayerwiseALLR"])
@given(steps=lengths, drop=st.floats(0, 1.5))
def test_allr_is_llr_from_a_peak_that_fits_cut_and_budget(name: str, steps: int, drop: float) -> None:
    share = min(1, max(drop, steps / 20))
    assert rates(name, steps, drop=drop) == pytest.approx([share * rate for rate in rates("LLR", steps)], abs=1e-12)


@pytest.mark.parametrize(("epochs", "peak"), [(10, 0.0534522), (150, 0.075)])
def test_allr_has_the_published_peaks(epochs: int, peak: float) -> None:
    dense = Trace([0.1] * 200, 1)
    assert max(rates("ALLR", epochs, dense, drop=0.534522)) == pytest.approx(peak, rel=1e-6)


def test_allr_needs_a_cut() -> None:
    with pytest.raises(SchedEngineError, match="from the cut at the start of the phase, and there was none"):
        rates("ALLR", 5, drop=None)


# --- warm-up ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESTARTS)
def test_the_warm_up_is_that_of_the_reference(name: str) -> None:
    found = rates(name, 100, Trace([0.1] * 5 + [0.0] * 5, 1))
    assert found[:11] == pytest.approx(WARMUP, abs=0.02 * 0.1)


def test_the_line_after_the_warm_up_is_that_of_the_reference() -> None:
    found = rates("LLR", 100, Trace([0.1, 0.05], 1))
    assert (found[11], found[12], found[99]) == pytest.approx((0.1, 0.09889, 0.00222), abs=0.02 * 0.1)


@pytest.mark.parametrize("name", RESTARTS)
@pytest.mark.parametrize("steps", [1, 2, 7, 33])
def test_without_a_warm_up_the_first_rate_is_the_peak(name: str, steps: int) -> None:
    assert rates(name, steps, warmup=0)[0] == 0.1


@pytest.mark.parametrize("name", RESTARTS)
def test_a_phase_of_one_step_is_made_at_the_peak(name: str) -> None:
    assert rates(name, 1) == [0.1]


@pytest.mark.parametrize("name", RESTARTS)
def test_a_warm_up_may_take_the_whole_phase(name: str) -> None:
    assert rates(name, 4, warmup="100%") == pytest.approx([0, 0.1 * (2 - 2**0.5) / 4, 0.05, 0.1 * (2 + 2**0.5) / 4])


@pytest.mark.parametrize("name", RESTARTS)
def test_a_warm_up_can_be_given_in_epochs_or_steps(name: str) -> None:
    assert rates(name, 9, warmup=1)[:3] == rates(name, 9, warmup="2st")[:3] == pytest.approx([0, 0.05, 0.1])


def test_a_warm_up_longer_than_the_phase_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="a warm-up of 5 steps does not fit into a phase of 4"):
        rates("LLR", 4, warmup="5st")
    with pytest.raises(SchedEngineError, match=r"a warm-up of 3 does not fit into 2 epochs"):
        rule("LLR", warmup=3).check_length(Fraction(2), Fraction(9))


# --- identities ------------------------------------------------------------------------------------------------------


@given(lengths)
def test_allr_after_the_worst_cut_is_llr(steps: int) -> None:
    assert rates("ALLR", steps, drop=1.0) == rates("LLR", steps)


@given(st.integers(1, 20))
def test_the_least_peak_of_allr_is_where_lrw_begins_on_a_linear_trace(steps: int) -> None:
    assert rates("ALLR", steps, LINEAR, drop=0.0, warmup=0)[0] == pytest.approx(rates("LRW", steps, LINEAR)[0])


@given(st.integers(1, 200))
def test_squeezing_a_line_gives_a_line(steps: int) -> None:
    """Budget-aware conversion of a linear schedule is linear, to the resolution of the trace."""
    line = [Linear(from_=0.1).rate(Clock(step, steps), 0.1) for step in range(steps)]
    assert rates("SLR", steps, LINEAR, warmup=0) == pytest.approx(line, abs=0.1 / 20 + 1e-12)


def test_other_parameter_groups_keep_their_ratio() -> None:
    curve = rule("LLR", warmup=0).after(Past(LINEAR), 4)
    found = curve.values(Clock(1, 4, Fraction(2)), [Group(0.5), Group(0.05)])
    assert [one["lr"] for one in found] == pytest.approx([0.075, 0.0075])


def test_a_rule_alone_has_no_rates() -> None:
    with pytest.raises(SchedEngineError, match="makes its rates from a dense training, and there is none here"):
        rule("FT").values(Clock(0, 4), [Group(0.1)])
