"""The table of a soup."""

from __future__ import annotations

import math

import pytest
from analysis.soups.networks import scored

from schedengine.analysis.soups.table import Measured, best_of, tabulate
from schedengine.training.sparsity import Count


def measured(name: str, validation: float, test: float, zeros: int = 5) -> Measured:
    splits = {"validation": scored(1 - validation / 100, validation), "test": scored(0.0, test)}
    return Measured(name, splits, [Count("w", 10, zeros)])


A, B, SOUP, JOINT = measured("a", 80, 60), measured("b", 90, 50), measured("soup", 85, 70), measured("all", 95, 80)


def test_rows_are_members_mean_best_soup_and_ensemble() -> None:
    table = tabulate([A, B], SOUP, JOINT)
    assert table["kind"].tolist() == ["member", "member", "mean", "best", "soup", "ensemble"]
    assert table["test_top1"].tolist() == [60, 50, 55, 50, 70, 80]  # the best by validation, not by test
    assert table["sparsity"].tolist() == [0.5] * 6


def test_of_equals_the_first_is_best() -> None:
    assert best_of([A, measured("c", 80, 99)], "top1") is A


def test_the_best_by_loss_has_the_least() -> None:
    assert best_of([A, B], "loss") is B


def test_without_validation_no_member_is_best() -> None:
    bare = [Measured(name, {"test": scored(1.0)}, []) for name in "abcd"]
    table = tabulate(bare[:2], bare[2], bare[3])
    assert "best" not in set(table["kind"]) and table["validation_top1"].isna().all()


def test_a_number_that_is_not_known_of_one_is_not_known_of_the_mean() -> None:
    odd = Measured("odd", {"test": scored(math.nan)}, [])
    mean = tabulate([A, odd], SOUP, JOINT).set_index("kind").loc["mean"]
    assert math.isnan(mean["test_loss"]) and mean["test_top1"] == pytest.approx(55)
