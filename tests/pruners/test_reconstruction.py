from __future__ import annotations

import pytest
import torch
from torch import Tensor

from schedengine.errors import SchedEngineError
from schedengine.pruners.reconstruction import reconstructed

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(50, 3, generator=GENERATOR)


def mask(*columns: bool) -> Tensor:
    return torch.tensor([columns] * 2)


def test_a_channel_that_is_the_sum_of_others_is_not_missed() -> None:
    """x2 = x0 + 2 x1, so that w2 goes to w0 once and to w1 twice."""
    rows = torch.stack([ROWS[:, 0], ROWS[:, 1], ROWS[:, 0] + 2 * ROWS[:, 1]], dim=1)
    weight = torch.tensor([[1.0, 0.0, 3.0], [0.5, -1.0, 1.0]])
    found = reconstructed(weight, weight, mask(True, True, False), rows)
    assert found.weight[:, :2].tolist() == [pytest.approx([4, 6]), pytest.approx([1.5, 1])]
    assert found.after < 1e-6 < 0.1 < found.before
    assert (found.samples, found.unknowns) == (50, 2)


def test_what_went_keeps_the_value_that_is_kept_under_the_mask() -> None:
    shown, kept = torch.tensor([[1.0, 0.0, 3.0]] * 2), torch.tensor([[1.0, 7.0, 3.0]] * 2)
    found = reconstructed(shown, kept, mask(True, False, False), ROWS)
    assert found.weight[:, 1:].tolist() == [[7, 3]] * 2


def test_equal_channels_share_what_is_asked_of_them() -> None:
    rows = ROWS[:, [0, 0, 1]]
    weight = torch.tensor([[4.0, 0.0, 0.0]] * 2)
    found = reconstructed(weight, weight, mask(True, True, False), rows)
    assert found.weight[0].tolist() == pytest.approx([2, 2, 0], abs=1e-5)


def test_errors_are_relative_to_the_outputs() -> None:
    rows = torch.eye(3)  # independent: nothing can take over
    weight = torch.tensor([[3.0, 0.0, 4.0]] * 2)
    found = reconstructed(weight, weight, mask(True, True, False), rows)
    assert found.before == pytest.approx(0.8) and found.after == pytest.approx(0.8)


def test_fewer_samples_than_unknowns_are_an_error() -> None:
    weight = torch.ones(2, 3)
    with pytest.raises(SchedEngineError, match="1 samples of its inputs for 2 unknowns; gather more"):
        reconstructed(weight, weight, mask(True, True, False), ROWS[:1])


def test_inputs_that_are_not_finite_are_an_error() -> None:
    weight = torch.ones(2, 3)
    with pytest.raises(SchedEngineError, match="inputs are not finite"):
        reconstructed(weight, weight, mask(True, True, False), ROWS * torch.inf)
