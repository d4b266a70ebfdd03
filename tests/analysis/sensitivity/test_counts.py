"""Counts, added up; and who is in doubt."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from schedengine.analysis.sensitivity.counts import Counts, Verdicts, has_doubt, judge
from schedengine.analysis.sensitivity.fast import difference


def right(*images: bool) -> Verdicts:
    return Verdicts(torch.tensor(images), torch.tensor(images), torch.zeros(len(images), dtype=torch.float64))


def test_the_first_and_the_first_five_are_counted() -> None:
    scores = torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]]).expand(5, -1)
    counts = judge(scores, torch.tensor([0, 0, 4, 5, 6])).count(right(*[True] * 5))
    assert (counts.samples, counts.top1, counts.top5, counts.lost) == (5, 2, 3, 3)


def test_the_loss_is_the_mean_over_images() -> None:
    scores = torch.tensor([[math.log(3), 0.0]]).expand(3, -1)  # probabilities 3/4 and 1/4
    counts = judge(scores, torch.tensor([0, 0, 1])).count(right(True, True, True))
    assert counts.loss == pytest.approx((2 * math.log(4 / 3) + math.log(4)) / 3, abs=1e-7)


def test_sums_do_not_depend_on_their_order() -> None:
    parts = [judge(torch.randn(7, 4) * 3, torch.randint(0, 4, (7,))).count(right(*[True] * 7)) for _ in range(9)]
    assert sum(parts, Counts()) == sum(parts[::-1], Counts()) == sum(parts[3:], sum(parts[:3], Counts()))


def test_an_image_with_nan_makes_the_means_unknown() -> None:
    scores = torch.tensor([[1.0, 0.0], [math.nan, 0.0], [math.inf, 0.0]])
    counts = judge(scores, torch.tensor([0, 0, 0])).count(right(True, True, True))
    assert (counts.nonfinite, counts.top1) == (2, 1)
    assert all(math.isnan(mean) for mean in (counts.accuracy, counts.accuracy5, counts.loss))


def test_no_images_have_no_accuracy() -> None:
    assert math.isnan(Counts().accuracy)


def test_accuracy_is_in_per_cent() -> None:
    counts = Counts(samples=8, top1=2, top5=6)
    assert (counts.accuracy, counts.accuracy5) == (25.0, 75.0)


def scored(*scores: float) -> Tensor:
    return torch.tensor([scores], dtype=torch.float32)


@pytest.mark.parametrize(
    ("scores", "label", "doubt"),
    [
        ((10, 9.8, 0, 0, 0, 0, 0), 0, True),  # 0.2 of 10 between right and wrong
        ((10, 8, 0, 0, 0, 0, 0), 0, False),
        ((10, 9.8, 0, 0, 0, 0, -9), 6, False),  # wrong whichever of the two comes first
        ((10, 9, 8, 7, 6, 5.8, 0), 5, True),  # fifth or sixth
        ((10, 9, 8, 7, 6, 5.8, 0), 6, False),
        ((10, 0, 0, 0, 0), 1, False),  # of five classes all are among the first five
        ((math.nan, 0, 0, 0, 0, 0, 0), 1, True),
        ((4.0,), 0, False),
    ],
)
def test_doubt_is_where_noise_could_change_a_count(scores: tuple[float, ...], label: int, doubt: bool) -> None:
    assert has_doubt(scored(*scores), torch.tensor([label]), 0.05) is doubt


def test_a_difference_is_a_fraction_of_the_largest_score() -> None:
    assert difference(scored(1, 2, 4), scored(1, 2.5, 5)) == pytest.approx(0.2)


def test_not_a_number_equals_itself_alone() -> None:
    assert difference(scored(math.nan, 1), scored(math.nan, 1)) == 0
    assert difference(scored(math.nan, 1), scored(2, 1)) > 1e300
