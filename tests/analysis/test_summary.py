"""Zeros, norms and costs, against numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from schedengine.analysis.summary import draw_weights, summarize, totals
from schedengine.errors import ModelError
from schedengine.zoo.models import build_model


def layer(weight: torch.Tensor) -> nn.Module:
    """A layer without bias that has this weight."""
    out, into = weight.shape[:2]
    made: Any = (
        nn.Linear(into, out, bias=False) if weight.dim() == 2 else nn.Conv2d(into, out, 3, padding=1, bias=False)
    )
    with torch.no_grad():
        made.weight.copy_(weight)
    return nn.Sequential(made)


def row(model: nn.Module, name: str = "0.weight", **inputs: Any) -> dict[str, Any]:
    return summarize(model, **inputs).set_index("parameter").loc[name].to_dict()


def test_zero_groups_of_a_convolution_are_counted_at_every_granularity() -> None:
    weight = torch.ones(4, 2, 3, 3)
    weight[0] = 0  # a filter, and its two kernels
    weight[:, 1] = 0  # a channel: three kernels more
    found = row(layer(weight))
    assert found["sparsity_element"] == 45 / 72
    assert found["sparsity_kernel"] == 5 / 8
    assert found["sparsity_filter"] == found["sparsity_row"] == 1 / 4
    assert found["sparsity_channel"] == found["sparsity_column"] == 1 / 2
    assert (found["weights"], found["nonzero"], found["sparsity_tensor"]) == (72, 27, 0)


def test_the_sparsities_of_distillers_example_come_out() -> None:
    weight = torch.tensor([[1.0, 2, 0], [4, 0, 0], [0, 0, 0], [0, 0, 0]])
    weight[0, 2] = 3  # 4 of 12 are left, in 2 of 4 rows, and in all columns
    found = row(layer(weight))
    assert (found["sparsity_element"], found["sparsity_row"], found["sparsity_column"]) == (8 / 12, 1 / 2, 0)


def test_a_granularity_that_makes_no_sense_for_the_shape_is_missing() -> None:
    frame = summarize(nn.Linear(3, 2)).set_index("parameter")
    assert math.isnan(frame.loc["weight", "sparsity_kernel"])
    assert frame.loc["bias", [f"sparsity_{kind}" for kind in ("row", "column", "filter", "channel")]].isna().all()
    assert frame.loc["bias", "sparsity_element"] == 0


def test_norms_count_zeros_too() -> None:
    found = row(layer(torch.tensor([[3.0, -4.0, 0.0, 0.0]])))
    assert [found[key] for key in ("mean", "mean_abs", "max_abs", "l1", "l2")] == [-0.25, 1.75, 4, 7, 5]
    assert found["std"] == pytest.approx(math.sqrt(25 / 4 - 1 / 16))


def test_equal_weights_have_no_spread_at_all() -> None:
    assert row(layer(torch.full((64, 64), 0.1)))["std"] == 0


def test_norms_of_half_precision_do_not_overflow() -> None:
    found = row(layer(torch.full((1, 4), 60_000.0)).half())
    assert found["l2"] == pytest.approx(120_000, rel=1e-3) and found["mean"] == found["max_abs"]


def test_what_is_not_finite_is_counted_and_its_norms_are_unknown() -> None:
    found = row(layer(torch.tensor([[1.0, float("nan"), float("-inf"), 0.0]])))
    assert (found["non_finite"], found["nonzero"], found["sparsity_element"]) == (2, 3, 0.25)
    assert math.isnan(found["l1"]) and math.isnan(found["mean"]) and math.isnan(found["max_abs"])


def test_a_layer_without_weights_left_is_collapsed_and_a_bias_of_zeros_is_not() -> None:
    model = nn.Linear(3, 2)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    assert summarize(model)["collapsed"].tolist() == [True, False]


def test_costs_scale_with_the_weights_that_are_left() -> None:
    weight = torch.ones(4, 2, 3, 3)
    weight[0] = 0
    found = row(layer(weight), inputs=[torch.zeros(1, 2, 5, 5)])
    assert (found["macs"], found["macs_effective"]) == (72 * 25, 54 * 25)


def test_without_inputs_costs_are_unknown_not_zero() -> None:
    frame = summarize(nn.Linear(3, 2))
    assert frame[["macs", "macs_effective"]].isna().all(axis=None)
    summed = totals(frame)
    assert summed[["macs", "macs_effective", "speedup"]].isna().all(axis=None)
    assert summed["macs_unknown"].tolist() == [1, 1]


def test_biases_cost_nothing() -> None:
    frame = summarize(nn.Linear(3, 2), [torch.zeros(1, 3)])
    assert frame["macs"].isna().tolist() == [False, True]


def test_the_theoretical_speedup_weighs_layers_by_their_cost() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(18, 10))  # 18 and 180
    with torch.no_grad():
        model[0].weight[0] = 0  # 9 of 18 are left
        model[2].weight[:, :9] = 0  # 90 of 180
        model[2].weight[:9] = 0  # 9 of 180
    summed = totals(summarize(model, [torch.zeros(1, 1, 3, 3)])).set_index("scope")
    assert summed.loc["Conv and Linear weights", "speedup"] == 198 / 18
    assert summed.loc["Conv and Linear weights", "sparsity"] == (1 + 171) / 182
    assert summed.loc["all parameters", "weights"] == 192


def test_a_network_of_nothing_but_zeros_has_no_speedup() -> None:
    model = layer(torch.zeros(2, 2))
    assert totals(summarize(model, [torch.zeros(1, 2)]))["speedup"].isna().all()


def test_the_norm_of_all_is_that_of_one_long_vector() -> None:
    model = nn.Sequential(layer(torch.tensor([[3.0]])), layer(torch.tensor([[-4.0]])))
    summed = totals(summarize(model)).iloc[0]
    assert (summed["l2"], summed["mean_abs"]) == (5, 3.5)


class Halved(nn.Module):
    """Its first row gone."""

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * (torch.arange(len(weight)) > 0)[:, None]


def test_the_weight_that_the_layer_computes_with_is_measured() -> None:
    model = nn.Linear(3, 2)
    parametrize.register_parametrization(model, "weight", Halved())
    found = row(nn.DataParallel(model), "weight", inputs=[torch.zeros(1, 3)])
    assert (found["sparsity_row"], found["macs"], found["macs_effective"]) == (0.5, 6, 3)


def test_looking_changes_nothing() -> None:
    model = nn.Sequential(spectral_norm(nn.Linear(3, 3)), nn.BatchNorm1d(3))  # in training mode both would move
    before = {name: value.clone() for name, value in model.state_dict().items()}
    summarize(model, [torch.ones(1, 3)])
    draw_weights(model)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_tied_weight_is_one_row_and_costs_twice() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    frame = summarize(nn.Sequential(first, second), [torch.zeros(1, 3)])
    assert frame[["parameter", "macs"]].values.tolist() == [["0.weight", 18]]


def test_weights_without_values_are_refused() -> None:
    with pytest.raises(ModelError, match="conv1.weight: is on the meta device and has no values"):
        summarize(build_model("digits_cnn", meta=True))


def test_a_model_without_parameters_has_a_table_without_rows() -> None:
    frame = summarize(nn.ReLU(), [torch.zeros(1, 3)])
    assert frame.empty and totals(frame)["weights"].tolist() == [0, 0]


def test_numbers_are_numbers_in_a_file() -> None:
    frame = summarize(build_model("digits_cnn"), [torch.zeros(1, 1, 8, 8)])
    assert all(pd.api.types.is_integer_dtype(frame[key]) for key in ("weights", "nonzero", "non_finite", "macs"))


def test_the_device_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    for read in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__"):
        original = getattr(torch.Tensor, read)
        counted = lambda *given, read=read, original=original: (waits.append(read), original(*given))[1]  # noqa: E731
        monkeypatch.setattr(torch.Tensor, read, counted)
    summarize(build_model("resnet8_cifar"))
    assert waits == ["tolist"]


def test_there_must_be_a_weight_to_draw() -> None:
    with pytest.raises(ModelError, match="no weight to draw"):
        draw_weights(nn.BatchNorm2d(3))
