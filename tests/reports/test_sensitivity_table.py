"""A table of sensitivities, whoever wrote it."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from sensitivity_frames import sweep

from schedengine.errors import SchedEngineError
from schedengine.reports.sensitivity_table import dense, filled, grid, network_curves, parameters


def five(*rows: tuple[str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["parameter", "sparsity", "top1"]).assign(top5=99.0, loss=0.5)


def test_distillers_five_columns_are_enough() -> None:
    rows = filled(five(("a", 0.0, 90.0), ("a", 0.15000000000000002, 88.5)))
    assert rows["drop"].tolist() == [0.0, 1.5] and rows["sparsity"].tolist() == [0.0, 0.15]
    assert rows["drop_high"].tolist() == [0.0, 1.5] and rows["realised"].tolist() == [0.0, 0.15]
    assert math.isnan(rows["weights"][1]) and rows["note"][1] == ""


def test_each_parameter_is_compared_with_its_own_dense_row() -> None:
    rows = filled(five(("a", 0.0, 90.0), ("b", 0.0, 90.2), ("b", 0.5, 89.2), ("c", 0.5, 89.0)))
    assert rows["drop"].round(6).tolist() == [0.0, 0.0, 1.0, 1.0] and dense(rows)["top1"] == 90.0


def test_what_the_table_says_is_kept() -> None:
    frame = sweep().assign(realised=0.4)
    assert filled(frame)["drop_low"].equals(frame["drop_low"]) and (filled(frame)["realised"] == 0.4).all()


def test_parameters_and_the_network_are_apart() -> None:
    rows = filled(sweep())
    assert len(parameters(rows)) == 3 and list(network_curves(rows)) == ["global"]
    assert grid(rows, "drop").shape == (3, 2)


def test_what_is_wrong_with_a_table_is_said() -> None:
    good = five(("a", 0.0, 90.0), ("a", 0.5, 89.0))
    with pytest.raises(SchedEngineError, match="no column 'top1'; found parameter, sparsity"):
        filled(good.drop(columns="top1"))
    with pytest.raises(SchedEngineError, match="no row at level 0"):
        filled(good.tail(1))
    with pytest.raises(SchedEngineError, match="a at level 0.5 has several rows"):
        filled(pd.concat([good, good.tail(1)]))
    with pytest.raises(SchedEngineError, match="no row is of a single parameter"):
        filled(good.assign(parameter="*"))
    with pytest.raises(SchedEngineError, match="several sweeps in one table: granularity element and filter"):
        filled(good.assign(granularity=["element", "filter"]))


def test_bounds_that_are_not_known_yet_are_not_made_up() -> None:
    rows = filled(sweep().assign(drop_high=math.nan))
    assert rows["drop_high"].isna().all() and rows["drop_low"].notna().any()
