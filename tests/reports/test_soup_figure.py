"""The picture of what lies between networks."""

from __future__ import annotations

import pandas as pd

from schedengine.reports.soup_figure import draw_lines

LINES = pd.DataFrame({
    "first": ["a"] * 3 + ["a$b$"] * 3,
    "second": ["b"] * 3 + ["c"] * 3,
    "share": [0.0, 0.5, 1.0] * 2,
    "top1": [90.0, 80.0, 90.0, 99.0, 99.0, 99.0],
    "loss": [0.1, 0.5, 0.1, 0.2, float("nan"), 0.2],
})  # fmt: skip
BARRIERS = pd.DataFrame({
    "first": ["a", "a$b$"], "second": ["b", "c"], "barrier_loss": [0.4, float("nan")], "barrier_top1": [10.0, 0.0],
})  # fmt: skip


def test_each_pair_is_a_curve_with_its_barrier() -> None:
    above, below = draw_lines(LINES, BARRIERS, split="test").axes
    assert [line.get_label() for line in above.get_lines()] == ["a to b: 10.00", "a$b$ to c: 0.00"]
    assert [line.get_label() for line in below.get_lines()] == ["a to b: 0.4000", "a$b$ to c: not known"]


def test_axes_say_which_images_were_measured() -> None:
    above, below = draw_lines(LINES, BARRIERS, split="validation").axes
    assert (above.get_ylabel(), below.get_ylabel()) == ("top-1 accuracy (%), validation", "loss, validation")


def test_accuracy_that_stays_is_drawn_flat_and_below_a_hundred() -> None:
    above, _ = draw_lines(LINES[3:], BARRIERS[1:], split="test").axes
    low, high = above.get_ylim()
    assert low <= 98 and 99 < high <= 100.2
