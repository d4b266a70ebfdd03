from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from schedengine.criteria.magnitude import Magnitude
from schedengine.errors import SchedEngineError
from schedengine.granularity import Element, Granularity, Row

WEIGHT = torch.tensor([[3.0, -4.0], [0.0, 2.0]])


def scores(granularity: Granularity, weight: torch.Tensor = WEIGHT, **fields: Any) -> list[float]:
    found: list[float] = Magnitude(**fields).scores(weight, granularity, key="fc.weight/1").tolist()
    return found


def test_an_element_scores_its_absolute_value() -> None:
    assert scores(Element()) == [3, 4, 0, 2]


@pytest.mark.parametrize(
    ("norm", "reduce", "expected"),
    [
        ("l1", "sum", [7, 2]),
        ("l1", "mean", [3.5, 1]),
        ("l2", "sum", [5, 2]),
        ("l2", "mean", [12.5**0.5, 2**0.5]),
        ("max", "sum", [4, 2]),
        ("max", "mean", [4, 2]),
    ],
)
def test_a_group_scores_its_norm(norm: str, reduce: str, expected: list[float]) -> None:
    assert scores(Row(), norm=norm, reduce=reduce) == pytest.approx(expected)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_the_mean_does_not_grow_with_the_group(norm: str) -> None:
    for size in (4, 64):
        assert scores(Row(), torch.full((1, size), 0.5), norm=norm) == [0.5]


def test_half_precision_sums_in_single() -> None:
    weight = torch.ones(1, 4096, dtype=torch.bfloat16)
    assert scores(Row(), weight, reduce="sum") == [4096]


def test_a_slice_scores_like_the_whole() -> None:
    assert Magnitude().slice_scores(WEIGHT.flatten()[1:3]).tolist() == scores(Element())[1:3]


def test_scores_carry_no_gradient() -> None:
    weight = WEIGHT.clone().requires_grad_()
    assert not Magnitude().scores(weight, Row(), key="w").requires_grad


@pytest.mark.parametrize("granularity", [Element(), Row()])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_an_error_that_names_it(granularity: Granularity, bad: float) -> None:
    with pytest.raises(SchedEngineError, match="fc.weight/1: 1 of"):
        scores(granularity, torch.tensor([[1.0, bad], [1.0, 1.0]]))


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValidationError):
        Magnitude(norm="l3")  # type: ignore[arg-type]
