"""The record of a dense training's learning rates."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedengine.errors import CheckpointError, ModelError
from schedengine.lr.trace import Recorder, Trace

rates = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def optimizer(rate: float | torch.Tensor = 0.1) -> torch.optim.Optimizer:
    return torch.optim.Adam([torch.zeros(2, requires_grad=True)], lr=rate, capturable=isinstance(rate, torch.Tensor))


def recorded(*noted: float, earlier: Trace | None = None) -> Recorder:
    recorder = Recorder(earlier)
    for step, rate in enumerate(noted):
        recorder.record(step, optimizer(rate))
    return recorder


def test_a_rate_on_a_device_is_read_from_it_once() -> None:
    recorder, rate = Recorder(), torch.tensor(0.5)
    recorder.record(0, optimizer(rate))
    rate.fill_(0.25)
    assert recorder.trace(1) == Trace([0.5], 1)
    assert recorder._rates == [0.5] and recorder.state_dict()["own"].tolist() == [0.5]


# --- the trace -------------------------------------------------------------------------------------------------------


def test_the_lowest_rate_is_that_after_the_warm_up() -> None:
    trace = Trace([0.0, 0.05, 0.1, 0.1, 0.02], 1)
    assert (trace.highest, trace.warmup, trace.lowest) == (0.1, 2, 0.02)


def test_rates_that_fall_before_the_highest_are_no_warm_up() -> None:
    trace = Trace([0.05, 0.01, 0.1, 0.02], 1)
    assert (trace.warmup, trace.lowest) == (0, 0.01)


def test_a_training_at_one_rate_has_no_warm_up() -> None:
    trace = Trace([0.1] * 4, 2)
    assert (trace.warmup, trace.lowest, trace.epochs) == (0, 0.1, Fraction(2))


def test_more_steps_an_epoch_repeat_rates_and_fewer_skip_some() -> None:
    trace = Trace([4.0, 3.0, 2.0, 1.0], 2)
    assert list(trace.at(4).rates) == [4, 4, 3, 3, 2, 2, 1, 1]
    assert list(trace.at(1).rates) == [4, 2]


@given(rates, st.integers(1, 9), st.integers(1, 40))
def test_a_trace_is_as_long_whatever_the_steps_of_an_epoch(noted: list[float], old: int, new: int) -> None:
    seen = Trace(noted, old).at(new)
    assert abs(seen.epochs - Fraction(len(noted), old)) <= Fraction(1, new)
    assert seen.rates[0] == noted[0] and seen.highest <= max(noted)


def test_two_trainings_are_one_after_the_other() -> None:
    both = Trace([0.3, 0.2], 2).then(Trace([0.1], 2))
    assert list(both.rates) == [0.3, 0.2, 0.1] and both.epochs == Fraction(3, 2)


@given(rates, st.integers(1, 1000))
def test_text_gives_the_trace_back_bit_for_bit(noted: list[float], steps: int) -> None:
    trace = Trace(noted, steps)
    assert Trace.from_text(trace.to_text()) == trace


@pytest.mark.parametrize("text", ["", "3", "{}", "not json", '{"steps_per_epoch": 2, "rates": "x"}', "null"])
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="learning-rate trace .* is damaged"):
        Trace.from_text(text)


@pytest.mark.parametrize("broken", [Trace([], 2), Trace([-0.1], 2), Trace([float("nan")], 2), Trace([0.1], 0)])
def test_a_text_that_says_what_no_training_had_is_refused(broken: Trace) -> None:
    with pytest.raises(ModelError, match="is damaged"):
        Trace.from_text(broken.to_text())


def test_a_text_cut_short_is_refused() -> None:
    content = json.loads(Trace([0.1, 0.2, 0.3], 2).to_text())
    with pytest.raises(ModelError, match="is damaged"):
        Trace.from_text(json.dumps({**content, "rates": content["rates"][:8]}))


# --- the recorder ----------------------------------------------------------------------------------------------------


def test_nothing_recorded_is_no_trace() -> None:
    assert Recorder().trace(4) is None


def test_what_was_before_the_run_comes_first() -> None:
    trace = recorded(0.2, 0.1, earlier=Trace([0.4, 0.3], 1)).trace(2)
    assert trace == Trace([0.4, 0.4, 0.3, 0.3, 0.2, 0.1], 2)


def test_a_trace_can_end_before_a_step() -> None:
    assert recorded(0.3, 0.2, 0.1).trace(1, until=2) == Trace([0.3, 0.2], 1)
    assert recorded(0.3, 0.2, 0.1).trace(1, until=9) == Trace([0.3, 0.2, 0.1], 1)


def test_a_loop_that_goes_back_writes_over_what_it_wrote() -> None:
    recorder = recorded(0.3, 0.2, 0.1)
    recorder.record(1, optimizer(0.5))
    assert recorder.trace(1) == Trace([0.3, 0.5], 1)


def test_a_tensor_rate_is_copied_where_it_is() -> None:
    rate = torch.tensor(0.5)
    recorder, owner = Recorder(), optimizer(rate)
    recorder.record(0, owner)
    rate.fill_(0.25)
    recorder.record(1, owner)
    assert recorder.trace(1) == Trace([0.5, 0.25], 1)


def test_a_recorder_goes_on_from_its_state() -> None:
    file = io.BytesIO()
    torch.save(recorded(0.2, 0.1, earlier=Trace([0.4], 1)).state_dict(), file)
    file.seek(0)
    again = Recorder()
    again.load_state_dict(torch.load(file, weights_only=True))
    again.record(2, optimizer(0.05))
    assert again.trace(1) == Trace([0.4, 0.2, 0.1, 0.05], 1)


def test_a_damaged_state_is_refused() -> None:
    with pytest.raises(CheckpointError, match="learning-rate trace is damaged"):
        Recorder().load_state_dict({"own": None, "earlier": None})


def test_the_warm_up_of_a_training_that_was_appended_is_not_its_smallest_rate() -> None:
    joined = Trace([0.2, 0.1], 1).then(Trace([0.0, 0.1, 0.05], 1))
    assert (joined.lowest, joined.highest, joined.epochs) == (0.05, 0.2, 5)
    assert Trace.from_text(joined.to_text()).lowest == 0.05
    assert joined.at(2).starts == (0, 4)
