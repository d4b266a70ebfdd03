"""Rows of runs as curves: what is averaged, and what is not."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from schedengine.errors import SchedEngineError
from schedengine.reports.curves import curves


def rows(*runs: dict[str, Any]) -> pd.DataFrame:
    parts = [pd.DataFrame({"group": "agp", "run": f"r{number}", **run}) for number, run in enumerate(runs)]
    return pd.concat(parts, ignore_index=True)


def test_seeds_become_a_mean_and_a_range() -> None:
    (curve,) = curves(rows({"epoch": [0, 1], "top1": [80, 90]}, {"epoch": [0, 1], "top1": [70, 94]}), "epoch", "top1")
    assert curve.points.loc[0].tolist() == [75, 70, 80] and curve.points.loc[1].tolist() == [92, 90, 94]
    assert curve.runs == 2 and not curve.singles and not curve.repeated


def test_the_last_row_at_a_sparsity_counts() -> None:
    table = rows({"sparsity": [0.5, 0.8, 0.8000001], "top1": [90, 70, 85]})
    (curve,) = curves(table, "sparsity", "top1")
    assert curve.points["mean"].tolist() == [90, 85] and curve.repeated


def test_only_what_all_runs_have_is_averaged() -> None:
    whole = {"epoch": [0, 1, 2], "top1": [80, 82, 84]}
    (curve,) = curves(rows(whole, {"epoch": [0, 1], "top1": [70, 72]}), "epoch", "top1")
    assert curve.points.index.tolist() == [0, 1] and curve.points["mean"].tolist() == [75, 77]
    assert [len(single) for single in curve.singles] == [3, 2]


def test_runs_with_little_in_common_have_no_mean() -> None:
    table = rows({"sparsity": [0.1, 0.2, 0.9], "top1": [1, 2, 3]}, {"sparsity": [0.15, 0.25, 0.9], "top1": [4, 5, 6]})
    (curve,) = curves(table, "sparsity", "top1")
    assert curve.points.empty and len(curve.singles) == 2


def test_parameters_are_curves_of_their_own() -> None:
    table = rows({"parameter": ["a", "a", "b"], "sparsity": [0.1, 0.2, 0.1], "top1": [3, 2, 1]})
    assert [(curve.label, len(curve.points)) for curve in curves(table, "sparsity", "top1")] == [("a", 2), ("b", 1)]


def test_a_column_of_text_tells_curves_apart_and_another_can_be_named() -> None:
    table = rows({"method": ["a", "b"], "lr": [1, 2], "x": [1, 1], "y": [3, 4]})
    assert [curve.label for curve in curves(table, "x", "y")] == ["a", "b"]
    assert [curve.label for curve in curves(table, "x", "y", by=["lr"])] == ["1", "2"]


def test_rows_without_a_value_count_for_nothing() -> None:
    (curve,) = curves(rows({"epoch": [0, 1], "top1": [None, 5.0]}), "epoch", "top1")
    assert curve.points.index.tolist() == [1]


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        ("epoch", "top_1", r"no column 'top_1'; did you mean top1\?; columns: group, run, epoch, top1, name"),
        ("epoch", "name", r"column 'name' holds text \('a'\); columns of numbers: epoch, top1"),
    ],
)
def test_a_column_that_cannot_be_drawn_is_refused(x: str, y: str, said: str) -> None:
    with pytest.raises(SchedEngineError, match=said):
        curves(rows({"epoch": [0], "top1": [1], "name": ["a"]}), x, y)


def test_columns_that_are_empty_are_refused() -> None:
    with pytest.raises(SchedEngineError, match="no row has both epoch and top1"):
        curves(rows({"epoch": [0], "top1": [float("nan")]}), "epoch", "top1")
