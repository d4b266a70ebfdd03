"""A cut of channels whose layer keeps giving what it gave."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
import torch
from loops import batch, one_pruner, sgd, train
from pydantic import ValidationError
from torch import Tensor, nn

from schedengine import PruningScheduler
from schedengine.errors import EffectError, SchedEngineError, ScheduleError
from schedengine.pruners.pruner import Pruner
from schedengine.selection import ParameterTable

AXES: dict[str, Any] = {
    "parameters": "2.weight",
    "granularity": "channel",
    "sparsity": 0.5,
    "allocation": "uniform",
    "compensate": "least_squares",
}


def doubled(seed: int = 0) -> nn.Sequential:
    """Four channels between two convolutions, of which two are multiples of the others."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 5))
    with torch.no_grad():
        for part in (model[0].weight, model[0].bias):
            assert isinstance(part, Tensor)
            part[2:] = 0.5 * part[:2]
        assert isinstance(model[2].weight, Tensor)
        model[2].weight[:, 2:] *= 0.1  # so that these two go
    return model


DATA = [batch(0, step) for step in range(5)]


def bound(model: nn.Module, at: Any = "start", **given: Any) -> PruningScheduler:
    axes = {**AXES, **given.pop("axes", {})}
    return one_pruner(axes, {"at": at}).bind(model, sgd(model), epochs=3, **given)


@pytest.mark.parametrize("pruned", ["zero", "hidden", "dense"])
def test_channels_that_are_multiples_of_others_are_not_missed(pruned: str) -> None:
    model, images = doubled(), batch(9, 9)[0]
    before = model(images).detach()
    scheduler = bound(model, data=DATA, axes={"pruned": pruned})
    scheduler.on_epoch_begin(0)
    weight = model[2].weight
    assert isinstance(weight, Tensor) and weight.detach().count_nonzero() == weight.numel() // 2
    assert torch.allclose(model(images), before, atol=1e-5)


def test_without_compensation_they_are() -> None:
    model, images = doubled(), batch(9, 9)[0]
    before = model(images).detach()
    bound(model, data=DATA, axes={"compensate": None}).on_epoch_begin(0)
    assert not torch.allclose(model(images), before, atol=1e-2)


def test_the_log_says_what_it_was_worth(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bound(doubled(), data=DATA).on_epoch_begin(0)
    said = next(one for one in caplog.messages if "least squares" in one)
    assert said.startswith("pruner 'p', epoch 0: 2.weight: the cut changes its outputs by")
    assert said.endswith("(180 samples, 18 unknowns)")


def test_the_epoch_before_is_sampled_where_there_is_no_data() -> None:
    model = doubled()
    scheduler = bound(model, at=1)
    train(scheduler, model, sgd(model), epochs=range(1))
    assert model[2]._forward_hooks
    scheduler.on_epoch_begin(1)
    assert scheduler.cuts and not model[2]._forward_hooks


def test_without_samples_there_is_no_cut() -> None:
    with pytest.raises(EffectError, match="no cut: 2.weight has no samples of its inputs; cut after the first epoch"):
        bound(doubled()).on_epoch_begin(0)


def test_too_few_samples_are_an_error_that_names_the_layer() -> None:
    with pytest.raises(SchedEngineError, match="pruner 'p', epoch 0: 2.weight: 10 samples of its inputs for 18"):
        bound(doubled(), data=[batch(0, 0)[0][:1]]).on_epoch_begin(0)


def test_a_cut_that_takes_nothing_leaves_the_weights_alone() -> None:
    model = doubled()
    before = model.get_parameter("2.weight").detach().clone()
    bound(model, data=DATA, axes={"sparsity": 0.1}).on_epoch_begin(0)
    assert before.equal(model.get_parameter("2.weight"))


def test_a_resumed_run_compensates_the_same() -> None:
    whole, stopped, resumed = doubled(), doubled(), doubled(7)
    for model in (whole, stopped):
        scheduler = bound(model, at=1)
        train(scheduler, model, sgd(model), epochs=range(1))
        if model is stopped:
            file = io.BytesIO()
            torch.save(scheduler.state_dict(), file)
            file.seek(0)
            resumed.load_state_dict(stopped.state_dict())
            scheduler = bound(resumed, at=1)
            scheduler.load_state_dict(torch.load(file, weights_only=True))
        scheduler.on_epoch_begin(1)
    assert torch.equal(whole.get_parameter("2.weight"), resumed.get_parameter("2.weight"))


def test_layers_with_groups_are_refused_before_the_run() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    scheduler = bound(doubled())
    pruner = scheduler.pruners["p"]
    pruner.names = ["0.weight"]
    with pytest.raises(ScheduleError, match=r"compensate: 0.weight: outputs of a convolution with groups \(2\)"):
        pruner.check_layers(ParameterTable(model))


@pytest.mark.parametrize("granularity", ["filter", "element", "kernel"])
def test_only_cuts_of_channels_are_compensated(granularity: str) -> None:
    with pytest.raises((ValidationError, ScheduleError), match="'compensate' goes with 'granularity: channel'"):
        bound(doubled(), axes={"granularity": granularity})
    assert Pruner.__doc__ is not None and "compensate" in Pruner.__doc__
