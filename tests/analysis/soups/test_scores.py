"""Networks and their ensemble on the same images."""

from __future__ import annotations

import math

import pytest
import torch
from analysis.soups.networks import images, network
from torch import Tensor, nn

from schedengine.analysis.soups.scores import measure_together
from schedengine.training.compute import Compute
from schedengine.training.evaluate import evaluate

CPU = Compute(torch.device("cpu"))


class Says(nn.Module):
    """The same probabilities for every image."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.scores = torch.tensor(probabilities).log()

    def forward(self, shown: Tensor) -> Tensor:
        return self.scores.expand(len(shown), -1)


def test_an_ensemble_says_the_mean_of_probabilities() -> None:
    """0.9 and 0.2 for class 0 are 0.55: half of the images are of class 0, the others of class 1."""
    _, ensemble = measure_together([Says(0.9, 0.1), Says(0.2, 0.8)], 2, images(), CPU)
    assert ensemble.loss == pytest.approx(-(math.log(0.55) + math.log(0.45)) / 2)
    assert (ensemble.top1, ensemble.samples) == (50.0, 12)


def test_only_the_first_ones_are_the_ensemble() -> None:
    _, ensemble = measure_together([Says(0.9, 0.1), Says(0.2, 0.8)], 1, images(), CPU)
    assert ensemble.loss == pytest.approx(-(math.log(0.9) + math.log(0.1)) / 2)


def test_each_network_scores_as_it_does_alone() -> None:
    networks = [network(0), network(1)]
    each, _ = measure_together(networks, 2, images(), CPU)
    for model, found in zip(networks, each):
        alone = evaluate(model, images(), CPU)
        assert (found.top1, found.top5, found.samples) == (alone.top1, alone.top5, alone.samples)
        assert found.loss == pytest.approx(alone.loss, rel=1e-6)
        assert model.training


def test_an_ensemble_of_identical_networks_is_that_network() -> None:
    (one, _), ensemble = measure_together([network(3), network(3)], 2, images(), CPU)
    assert ensemble.top1 == one.top1 and ensemble.loss == pytest.approx(one.loss)
