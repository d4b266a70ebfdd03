"""Batch-norm statistics of averages."""

from __future__ import annotations

import pytest
import torch
from analysis.soups.networks import images, network, state
from torch import nn

from schedengine.analysis.soups.calibration import Calibration
from schedengine.errors import SchedEngineError
from schedengine.training.compute import Compute

CPU = Compute(torch.device("cpu"))


def test_the_mean_is_that_of_the_batches_means() -> None:
    model, loader = network(0), images()
    Calibration(loader, CPU)(model)
    values = [model[1](model[0](batch)) for batch, _ in loader]
    assert torch.allclose(model[2].running_mean, torch.stack([one.mean(0) for one in values]).mean(0), atol=1e-6)


def test_a_whole_pass_is_the_default_and_more_is_no_more() -> None:
    assert [Calibration(images(), CPU, batches).batches for batches in (None, 2, 99)] == [3, 2, 3]


def test_dropout_is_off() -> None:
    """What follows dropout would get other statistics each time."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(4)).train()
    Calibration(images(), CPU)(model)
    expected = torch.stack([batch.flatten(1).mean(0) for batch, _ in images()]).mean(0)
    assert torch.allclose(model[2].running_mean, expected, atol=1e-6)


@pytest.mark.parametrize("batches", [0, -1])
def test_it_never_runs_on_no_batches(batches: int) -> None:
    with pytest.raises(SchedEngineError, match="one batch or more"):
        Calibration(images(), CPU, batches)


def test_a_network_without_statistics_stays_as_it_is() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    before = state(model)
    Calibration(images(), CPU)(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
