"""Rows of runs as curves: what is averaged, and what is not."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from schedengine.errors import SchedEngineError
from schedengine.reports.curves import curves, replica_lines


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


def soups(**columns: Any) -> pd.DataFrame:
    return rows({"epoch": [0, 1, 4], "replica": [None, None, "soup"], **columns})


def test_a_curve_goes_straight_to_the_average_of_replicas() -> None:
    (curve,) = curves(soups(top1=[70.0, 80.0, 90.0]), "epoch", "top1")
    assert curve.points["mean"].to_dict() == {0: 70, 1: 80, 4: 90} and curve.averages == (4,)


def test_a_curve_is_broken_where_an_average_has_no_value() -> None:
    table = pd.concat([soups(lr=[0.2, 0.1, None]), rows({"epoch": [5], "replica": [None], "lr": [0.3]})])
    (curve,) = curves(table, "epoch", "lr")
    assert curve.points["mean"].isna().tolist() == [False, False, True, False] and not curve.averages


def test_an_average_without_a_value_hides_none() -> None:
    (curve,) = curves(soups(sparsity=[0.0, 0.5, 0.5], lr=[0.2, 0.1, None]), "sparsity", "lr")
    assert curve.points["mean"].tolist() == [0.2, 0.1]


def test_a_replica_of_each_phase_is_a_line_of_its_own() -> None:
    table = rows({"epoch": [1, 2, 3, 4], "replica": 0, "soup": [2, 2, 4, 4], "sparsity": 0.5, "top1": [1, 2, 3, 4]})
    assert [line.values.to_dict() for line in replica_lines(table, "epoch", "top1")] == [{1: 1, 2: 2}, {3: 3, 4: 4}]
    assert [line.values.tolist() for line in replica_lines(table, "sparsity", "top1")] == [[2], [4]]
    assert replica_lines(table, "epoch", "top5") == [] == replica_lines(pd.DataFrame(), "epoch", "top1")
