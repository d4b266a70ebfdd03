"""Levels for all parameters, chosen from what each loses alone."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
import pytest
import torch
from torch import nn

from schedengine.analysis.sensitivity.joint import joint_drop, pruned
from schedengine.analysis.sensitivity.sizes import with_sizes
from schedengine.analysis.sensitivity.suggest import suggest_levels
from schedengine.errors import DataError, ModelError, SchedEngineError
from schedengine.schedule.load import load_schedule
from schedengine.selection import ParameterTable

RISES = {"cheap.weight": (0.0, 0.01, 0.02), "dear.weight": (0.0, 0.5, 3.0), "small.weight": (0.0, 0.001, 0.4)}
SIZES = {"cheap.weight": 1000.0, "dear.weight": 1000.0, "small.weight": 10.0}
MACS = {"cheap.weight": 1000.0, "dear.weight": 9000.0, "small.weight": 10.0}


def sweep(**more: object) -> pd.DataFrame:
    """Ten points are lost for a rise of 1."""
    rows = [
        {"parameter": name, "sparsity": level, "top1": 90 - 10 * rise, "loss": 0.5 + rise, "samples": 100,
         "granularity": "filter", "criterion": "magnitude", "weights": SIZES[name], "macs": MACS[name]}
        for name, rises in RISES.items()
        for level, rise in zip((0.0, 0.5, 0.9), rises)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(**more)


def additive(levels: Mapping[str, float]) -> float:
    """A network in which rises add up."""
    return sum(10 * RISES[name][(0.0, 0.5, 0.9).index(level)] for name, level in levels.items())


def test_a_target_is_met_where_it_costs_least() -> None:
    found = suggest_levels(sweep(), target=0.45)
    # 904 and 905 of 2,010 are short of 0.45 (904.5)
    assert found.levels == {"cheap.weight": 0.9, "small.weight": 0.5}
    assert (found.weights, found.removed) == (2010, 905) and found.sparsity == pytest.approx(905 / 2010)
    assert found.predicted[0] == pytest.approx(0.21)


def test_multiply_accumulates_are_another_currency() -> None:
    found = suggest_levels(sweep(), target=0.45, by="macs")
    assert found.levels["dear.weight"] == 0.5 and found.macs == 10_010
    assert found.macs_left <= 0.55 * found.macs


def test_single_weights_go_at_levels_between_those_that_were_measured() -> None:
    found = suggest_levels(sweep(granularity="element"), target=0.45)
    # 905 of 2,010: 0.9 of cheap costs 0.02, and half of small 0.001; 0.89 and 0.75 would cost 0.2 more.
    assert found.levels["cheap.weight"] == 0.9 and found.removed >= 904.5
    assert suggest_levels(sweep(granularity="element"), target=0.2).levels["cheap.weight"] == pytest.approx(
        0.4, abs=0.011
    )


def test_a_drop_is_kept_and_used_up() -> None:
    found = suggest_levels(sweep(), drop=0.25)
    assert found.levels == {"cheap.weight": 0.9, "small.weight": 0.5} and found.predicted[1] <= 0.25
    assert suggest_levels(sweep(), drop=6.0).levels["dear.weight"] == 0.5


def test_a_drop_of_nothing_takes_what_costs_nothing() -> None:
    assert suggest_levels(sweep(), drop=0.0).levels == {}
    free = sweep()
    free.loc[free["parameter"] == "cheap.weight", "loss"] = 0.5
    assert suggest_levels(free, drop=0.0).levels == {"cheap.weight": 0.9}


def test_with_a_measure_the_budget_is_met_for_real() -> None:
    calls = []

    def twice_as_bad(levels: Mapping[str, float]) -> float:
        calls.append(levels)
        return 2 * additive(levels)

    found = suggest_levels(sweep(), drop=0.45, measure=twice_as_bad)
    assert found.measured is not None and found.measured <= 0.45 and len(calls) < 30
    assert found.levels == {"cheap.weight": 0.9, "small.weight": 0.5}
    assert any("Measured with all levels together" in line for line in found.said)


def test_of_the_two_ways_the_measured_better_is_taken() -> None:
    def only_one_at_a_time(levels: Mapping[str, float]) -> float:
        return 10.0 * len(levels)

    found = suggest_levels(sweep(), target=0.4, measure=only_one_at_a_time)
    assert found.measured == 10.0 and list(found.levels) == ["cheap.weight"]


def test_what_is_not_measured_is_said() -> None:
    assert "Not measured" in suggest_levels(sweep(), target=0.4).said[-1]
    assert "more than any cell of the sweep lost" in " ".join(suggest_levels(sweep(), target=0.89).said)


def test_what_cannot_be_is_refused() -> None:
    for wrong in ({}, {"drop": 1.0, "target": 0.5}, {"drop": -1.0}, {"target": 1.0}):
        with pytest.raises(SchedEngineError, match="drop|target"):
            suggest_levels(sweep(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(SchedEngineError, match=r"remove at most 0.9\d* of the weights; sweep higher levels"):
        suggest_levels(sweep(), target=0.95)
    with pytest.raises(SchedEngineError, match="cheap.weight: its weights are not known; give the model"):
        suggest_levels(sweep(weights=math.nan), target=0.5)


class Three(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cheap, self.dear, self.small = nn.Linear(100, 10), nn.Linear(10, 100), nn.Linear(100, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.small(self.dear(self.cheap(images)))  # type: ignore[no-any-return]


def distillers() -> pd.DataFrame:
    """The same sweep as Distiller would have written it."""
    five = sweep().assign(top5=99.0)[["parameter", "sparsity", "top1", "top5", "loss"]]
    return five.assign(parameter="module." + five["parameter"])


def test_a_model_gives_distillers_table_its_sizes() -> None:
    rows = with_sizes(distillers(), Three(), [torch.zeros(1, 100)])
    assert rows.drop_duplicates("parameter")["weights"].tolist() == [1000, 1000, 1000]
    assert rows["macs"].tolist()[:3] == [1000] * 3 and rows["removed"].tolist()[:3] == [0, 500, 900]
    assert suggest_levels(rows, target=0.3).levels == {"module.cheap.weight": 0.5, "module.small.weight": 0.5}


def test_a_parameter_that_the_model_has_not_is_named() -> None:
    with pytest.raises(ModelError, match="module.cheap.weight: the table has it, the model has not"):
        with_sizes(distillers(), nn.Linear(2, 2))


def test_the_schedule_loads_binds_and_prunes_to_the_levels() -> None:
    model, suggestion = Three(), suggest_levels(with_sizes(distillers(), Three()), target=0.4)
    text = suggestion.schedule("mine:net", epochs=4, granularity="element", criterion="magnitude")
    scheduler = load_schedule(text).bind(model, torch.optim.SGD(model.parameters(), 0.1))
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        scheduler.on_minibatch_end(epoch, 0, 1)
        scheduler.on_epoch_end(epoch, metrics={"loss": 1.0})
    zeros = {f"module.{name}": float((weight == 0).float().mean()) for name, weight in model.named_parameters()
             if weight.dim() == 2}  # fmt: skip
    assert {name: round(zero, 6) for name, zero in zeros.items() if zero} == suggestion.levels


def test_the_schedule_says_where_it_comes_from() -> None:
    text = suggest_levels(sweep(), drop=0.25).schedule("resnet20_cifar", file="runs/suggested.yaml")
    assert "3 parameters pruned one at a time, on 100 images" in text
    assert "train --schedule runs/suggested.yaml --model resnet20_cifar" in text
    assert '"cheap.weight": 0.9  # of 1,000 weights' in text and "dear" not in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_no_schedule_is_made_up() -> None:
    with pytest.raises(SchedEngineError, match="removes nothing"):
        suggest_levels(sweep(), drop=0.0).schedule("net")
    with pytest.raises(SchedEngineError, match="does not say with which granularity"):
        suggest_levels(sweep(granularity=""), target=0.4).schedule("net")
    with pytest.raises(SchedEngineError, match="--epochs 1: too few"):
        suggest_levels(sweep(), target=0.4).schedule("net", epochs=1)


def identity() -> nn.Sequential:
    """Class k for the k-th of four one-hot images; the larger weights belong to the later classes."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    return model


def test_levels_are_tried_together_and_the_model_is_as_before() -> None:
    model = identity().train()
    measure = joint_drop(model, [(torch.eye(4) + 0.1, torch.arange(4))])
    # 14 of 16 weights go: of the diagonal, 3 and 4 stay.
    assert measure({"0.weight": 0.875}) == 50.0 and measure({}) == 0.0
    assert model.training and model[0].weight.diag().tolist() == [1, 2, 3, 4]


def test_a_cut_removes_the_smallest() -> None:
    (left,) = pruned(ParameterTable(identity()), {"module.0.weight": 0.875}).values()
    assert left.diag().tolist() == [0, 0, 3, 4]


def test_no_images_are_no_measurement() -> None:
    with pytest.raises(DataError, match="no images"):
        joint_drop(identity(), [])({})
