from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from schedengine import load_schedule
from schedengine.criteria.base import Facts
from schedengine.criteria.gradient import Gradient
from schedengine.errors import SchedEngineError, ScheduleError
from schedengine.granularity import Element, Filter, Granularity, Row

WEIGHT = torch.tensor([[3.0, -4.0], [0.0, 2.0]])
GRADIENT = torch.tensor([[1.0, 2.0], [5.0, 0.5]])


def scores(granularity: Granularity, weight: torch.Tensor = WEIGHT, **fields: Any) -> list[float]:
    facts = Facts(gradient=GRADIENT.to(weight.dtype))
    found: list[float] = Gradient(**fields).scores(weight, granularity, key="w/1", facts=facts).tolist()
    return found


def test_a_group_scores_the_absolute_sum_of_weight_times_gradient() -> None:
    assert scores(Row()) == [5, 1]


def test_the_sign_counts_as_in_distiller_where_asked() -> None:
    assert scores(Row(), sign="signed") == [-5, 1]


def test_an_element_scores_its_own_product() -> None:
    assert scores(Element()) == [3, 8, 0, 1]


def test_half_precision_sums_in_single() -> None:
    assert scores(Row(), WEIGHT.half()) == [5, 1]


def test_without_a_gradient_there_is_no_score() -> None:
    with pytest.raises(SchedEngineError, match="w/1: criterion gradient needs the gradient"):
        Gradient().scores(WEIGHT, Row(), key="w/1")


def test_a_gradient_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="not finite"):
        Gradient().scores(WEIGHT, Row(), key="w/1", facts=Facts(gradient=GRADIENT * torch.inf))


def test_of_a_filter_that_is_normalised_the_gradient_of_its_norm_is_taken() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    nn.init.uniform_(model[1].bias)  # type: ignore[arg-type]
    loss = nn.functional.cross_entropy(model(torch.randn(16, 2, 6, 6)), torch.arange(16) % 5)
    loss.backward()  # type: ignore[no-untyped-call]
    of_weights = (model[0].weight * model[0].weight.grad).flatten(1).sum(1)  # type: ignore[operator]
    assert of_weights.abs().max() < 1e-4  # the scale of a filter does not matter, but for eps
    norm = model[1]
    expected = (norm.weight * norm.weight.grad + norm.bias * norm.bias.grad).abs()  # type: ignore[operator]
    facts = Facts(norm=norm, norm_gradients=(norm.weight.grad, norm.bias.grad))  # type: ignore[arg-type]
    found = Gradient(of="norm").scores(model[0].weight, Filter(), key="k", facts=facts)  # type: ignore[arg-type]
    assert torch.allclose(found, expected)


def test_filters_that_are_normalised_are_refused_where_it_is_known() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    text = {
        "version": 2,
        "pruners": {
            "p": {"parameters": "0.weight", "criterion": "gradient", "granularity": "filter",
                  "allocation": "uniform", "sparsity": 0.5}
        },
        "policies": [{"pruner": "p", "at": 1}],
    }  # fmt: skip
    with pytest.raises(ScheduleError, match=r"0\.weight is followed by a batch normalisation.*of: norm"):
        load_schedule(text).bind(model, epochs=2, example_inputs=torch.zeros(2, 2, 6, 6))
