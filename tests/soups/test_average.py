"""The mean of several states of one network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loops import sgd, small_model

from schedengine import SchedEngineError
from schedengine.soups.average import average, average_states

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64]


@given(st.integers(1, 7), st.sampled_from(DTYPES), st.integers(0, 100))
def test_a_soup_of_identical_networks_is_that_network(count: int, dtype: torch.dtype, seed: int) -> None:
    values = (torch.randn(11, generator=torch.Generator().manual_seed(seed)) * 10.0 ** (seed % 5)).to(dtype)
    assert torch.equal(average([{"w": values}] * count)["w"], values)


def test_equal_values_that_arithmetic_would_change_are_their_own_mean() -> None:
    for values in (torch.tensor([-torch.inf, 0.0, torch.inf]), torch.tensor([2**53 + 1])):
        assert torch.equal(average([{"mask": values}] * 3)["mask"], values)


def test_exact_zeros_survive() -> None:
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0])
    found = average([{"w": torch.randn(4) * mask} for _ in range(3)])["w"]
    assert (found == 0).tolist() == [False, True, False, True]


def test_whole_numbers_are_rounded_halves_up() -> None:
    assert average([{"n": torch.tensor(2)}, {"n": torch.tensor(3)}])["n"].item() == 3
    assert average([{"n": torch.tensor(2)}, {"n": torch.tensor(2)}, {"n": torch.tensor(3)}])["n"].dtype == torch.int64


def test_flags_that_differ_have_no_average() -> None:
    with pytest.raises(SchedEngineError, match="'seen' holds flags"):
        average([{"seen": torch.tensor(True)}, {"seen": torch.tensor(False)}])


def test_networks_of_other_shapes_have_no_average() -> None:
    with pytest.raises(SchedEngineError, match="'w' is missing in one of the networks, or misshapen"):
        average([{"w": torch.zeros(2)}, {"w": torch.zeros(3)}])


def test_the_order_does_not_matter_but_for_rounding() -> None:
    states = [{"w": torch.randn(5)} for _ in range(3)]
    torch.testing.assert_close(average(states)["w"], average(states[::-1])["w"])


def test_of_optimizers_the_momenta_are_averaged_and_the_settings_are_the_last_ones() -> None:
    model = small_model()
    states = []
    for value in (1.0, 3.0):
        optimizer = sgd(model, lr=value)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, value)
        optimizer.step()
        states.append(optimizer.state_dict())
    found = average_states(states)
    assert found["state"][0]["momentum_buffer"].unique().tolist() == [2.0]
    assert found["param_groups"][0]["lr"] == 3.0
