"""Evaluation: counted by hand, and without a trace."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from schedengine.training.compute import Compute
from schedengine.training.evaluate import evaluate, evaluating
from schedengine.zoo.loader import Images, Loader


class Scores(nn.Module):
    """Gives the same scores to every image."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, images: Tensor) -> Tensor:
        return self.scores.expand(len(images), -1)


def labelled(*labels: int) -> Loader:
    images = torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8)
    return Loader(Images(images, torch.tensor(labels)), 2, (0.5,), (0.5,))


def test_top1_and_top5_count_images(compute: Compute) -> None:
    found = evaluate(Scores(7, 6, 5, 4, 3, 2, 1), labelled(0, 0, 4, 5, 6), compute)
    assert (found.top1, found.top5, found.samples) == (40.0, 60.0, 5)


def test_the_loss_is_the_mean_over_images_not_batches(compute: Compute) -> None:
    found = evaluate(Scores(math.log(3), 0.0), labelled(0, 0, 1), compute)  # probabilities 3/4 and 1/4
    assert found.loss == pytest.approx((2 * math.log(4 / 3) + math.log(4)) / 3, rel=1e-6)


def test_with_fewer_than_five_classes_top5_is_all(compute: Compute) -> None:
    assert evaluate(Scores(1, 0), labelled(0, 1), compute).top5 == 100.0


def test_equal_scores_for_all_classes_are_right_for_one_class_only(compute: Compute) -> None:
    assert evaluate(Scores(*[0.0] * 4), labelled(0, 1, 2, 3), compute).top1 == 25.0


def test_scores_that_are_not_numbers_show_in_the_loss(compute: Compute) -> None:
    assert math.isnan(evaluate(Scores(float("nan"), 0.0), labelled(0, 1), compute).loss)


def test_every_module_is_left_in_its_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Dropout())
    model[0].eval()
    with pytest.raises(ValueError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise ValueError
    assert [module.training for module in model.modules()] == [True, False, True]


def test_evaluation_leaves_running_statistics_alone(compute: Compute) -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 2))
    evaluate(model, labelled(0, 1), compute)
    assert float(model[0].running_mean) == 0.0  # type: ignore[arg-type]
