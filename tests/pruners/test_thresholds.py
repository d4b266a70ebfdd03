"""Limits that are measured and limits that move, and masks that change only past two of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner
from torch import Tensor, nn

from schedengine import PruningScheduler, ScheduleError
from schedengine.pruners.thresholds import Pace, Rising, Spread
from schedengine.pruners.updates import Splice


def line(values: Tensor) -> nn.Linear:
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = values.float()[None].clone()
    return layer


def begun(axes: dict[str, Any], policy: dict[str, Any], layer: nn.Linear, epochs: int) -> PruningScheduler:
    """After the cuts of so many epochs."""
    scheduler = one_pruner(axes, policy).bind(layer, epochs=30)
    for epoch in range(epochs):
        scheduler.on_epoch_begin(epoch)
    return scheduler


def test_spread_is_the_mean_and_some_deviations_of_the_sizes() -> None:
    """1 to 10: mean 5.5, unbiased deviation 3.02765; 0.1 more of it with every epoch."""
    spread = Spread(1.0, growth=0.1)
    measured = spread.measure(torch.tensor([-1.0, 2, -3, 4, 5, 6, 7, 8, 9, 10]))
    assert measured == pytest.approx((5.5, 3.02765), abs=1e-5)
    assert spread.limit(1.0, measured, Pace(0)) == pytest.approx(8.52765, abs=1e-5)
    assert spread.limit(1.0, measured, Pace(5)) == pytest.approx(5.5 + 1.5 * 3.02765, abs=1e-4)


def test_one_weight_has_no_spread() -> None:
    assert Spread(1.0).measure(torch.tensor([-3.0])) == (3.0, 0.0)


def test_rising_follows_the_formula_of_its_paper() -> None:
    """Measured in Distiller: q 0.17, 3 epochs until it rises twice as fast, epochs 4 to 21, every 3rd."""
    axes = {"threshold": {"rising": {"by_name": 0.17, "after": 3, "steeper": 2.0}}, "update": "reselect", "min_keep": 0}
    layer = line(torch.arange(1000) / 1000)
    scheduler = begun(axes, {"during": "run", "from": 4, "until": 21, "every": 3}, layer, 20)
    assert [cut.epoch for cut in scheduler.cuts] == [4, 7, 10, 13, 16, 19]
    assert [cut.removed for cut in scheduler.cuts] == [8, 43, 86, 128, 171, 213]


def test_rising_may_be_steep_from_the_start() -> None:
    assert Rising(0.3, after=0, steeper=2.0).limit(0.3, (), Pace(0, 4, 1)) == pytest.approx(0.05 * (1 + 2))


def test_a_window_that_ends_long_before_the_limit_rises_is_refused() -> None:
    axes = {"threshold": {"rising": {"by_name": 0.17, "after": 30}}, "update": "reselect"}
    with pytest.raises(ScheduleError, match=r"pruners.p.threshold: rises faster after 30 epochs, in a window of 10"):
        one_pruner(axes, {"during": "run", "until": 10}).bind(line(torch.rand(9)), epochs=30)


SPLICE = {"threshold": {"spread": {"by_name": 1.0, "growth": 0.1}}, "update": {"splice": {"low": 0.5, "high": 1.0}}}


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_splicing_removes_what_is_below_the_lower_limit(epochs: int) -> None:
    """Measured in Distiller: 1 to 10, mean 5.5 and deviation 3.03; the lower limits are 4.26, 4.42 and 4.57."""
    scheduler = begun({**SPLICE, "pruned": "dense"}, {"during": "run"}, line(torch.arange(1, 11)), epochs)
    assert scheduler.masks.in_force("weight").int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]


def test_between_the_limits_nothing_changes() -> None:
    update, keep = Splice(0.5, 1.5), torch.tensor([False, True, False, True])
    scores = torch.tensor([1.0, 1.0, 1.5, 0.49])  # limits 0.5 and 1.5
    assert update.stays(scores, 1.0, keep).tolist() == [False, True, True, False]
    assert update.stays(scores, 1.0, None).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("pruned", "is_back"), [("dense", True), ("hidden", True), ("forward", True), ("zero", False)])
def test_a_weight_that_grew_past_the_upper_limit_comes_back(pruned: str, is_back: bool) -> None:
    layer = line(torch.tensor([1.0, 2.0, 3.0]))
    axes = {"threshold": 2.0, "update": {"splice": {"low": 0.9, "high": 1.1}}, "pruned": pruned, "parameters": "weight"}
    scheduler = one_pruner(axes, {"during": "run", "keep_mask": pruned == "forward"}).bind(layer, epochs=9)
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        if epoch == 0:
            assert scheduler.masks.in_force("weight").tolist() == [[False, True, True]]
        scheduler.before_parameter_optimization(epoch, 0, 1)
        with torch.no_grad():
            layer.weight[0, 0] = 2.3
        scheduler.on_minibatch_end(epoch, 0, 1)
    assert bool(scheduler.masks.in_force("weight")[0, 0]) == is_back


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"sparsity": 0.5, "update": "splice"}, "lies between two limits; it needs a 'threshold'"),
        ({"threshold": 0.5, "update": {"splice": {"low": 2.0, "high": 1.0}}}, "low 2 is above high 1"),
        ({"threshold": 0.5, "update": "splice", "lasts": "step"}, "goes on from the last mask"),
    ],
)
def test_splicing_without_its_limits_is_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        one_pruner(axes, {"at": "start"})
