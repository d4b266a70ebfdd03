"""Runs side by side: hand-worked numbers, and what is not known."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from run_folders import result, write_replicas, write_run

from schedengine.analysis.comparison import compare_groups, compare_runs
from schedengine.errors import SchedEngineError


def test_splits_have_columns_of_their_own(tmp_path: Path) -> None:
    row = compare_runs([write_run(tmp_path / "r", [80, 90], result=result(90, 91, 89))]).iloc[0]
    assert (row["validation_top1"], row["validation_top1_best"], row["test_top1"]) == (90, 91, 89)
    assert (row["validation_top1_before"], row["test_top1_before"]) == (99, 98)
    assert (row["epochs"], row["seconds"], row["sparsity"], row["state"]) == (2, 120, 0.5, "finished")


def test_half_of_all_weights_is_half_of_the_work(tmp_path: Path) -> None:
    row = compare_runs([write_run(tmp_path / "r", [80, 90], result=result(90, 91, 89))]).iloc[0]
    assert row["macs_left"] == 0.5 and row["macs_effective"] == row["macs"] / 2 and row["note"] == ""


def test_a_run_that_goes_on_has_no_final_numbers(tmp_path: Path) -> None:
    row = compare_runs([write_run(tmp_path / "r", [80, 90])]).iloc[0]
    assert row["state"] == "not finished" and row["validation_top1"] == 90
    assert row[["validation_top1_best", "test_top1"]].isna().all() and "2 epochs so far" in row["note"]


def test_a_group_is_the_mean_and_deviation_of_its_finished_runs(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path / f"r{seed}", [80, 90], seed=seed, result=result(90, 91, test))
        for seed, test in enumerate((86.0, 87.0, 88.0))
    ]
    paths.append(write_run(tmp_path / "going", [10], seed=3))
    (group,) = compare_groups(compare_runs(paths)).to_dict("records")
    assert (group["n"], group["unfinished"]) == (3, 1)
    assert (group["test_top1_mean"], group["test_top1_sd"], group["validation_top1_sd"]) == (87, 1, 0)


@pytest.mark.parametrize(
    ("model", "said"),
    [("nowhere.nets:build", "multiply-accumulates not known: .*nowhere"), ("resnet20_cifar", "not known")],
)
def test_work_that_cannot_be_counted_is_not_known(tmp_path: Path, model: str, said: str) -> None:
    row = compare_runs([write_run(tmp_path / "r", [80, 90], settings={"model": model})]).iloc[0]
    assert row[["macs", "macs_effective", "macs_left"]].isna().all()
    assert row["validation_top1"] == 90 and re.search(said, row["note"])


def test_a_cut_after_the_last_row_leaves_the_work_unknown(tmp_path: Path) -> None:
    done = {**result(90, 91, 89), "sparsity_all": 0.9}
    row = compare_runs([write_run(tmp_path / "r", [80, 90], result=done)]).iloc[0]
    assert row["note"].endswith("the run ends with a cut, after the last row of sparsity.csv")


def test_a_table_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    with pytest.raises(SchedEngineError, match=r"no run\.json"):
        compare_runs([tmp_path / "t.csv"])


def test_a_run_without_a_validation_split_says_nothing_of_it(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [80, 90], result={**result(90, 91, 89), "best": None})
    content = json.loads((path / "result.json").read_text())
    content["after"]["validation"] = None
    (path / "result.json").write_text(json.dumps(content))
    row = compare_runs([path]).iloc[0]
    assert row[["validation_top1", "validation_top1_best"]].isna().all() and row["test_top1"] == 89


def test_epochs_and_time_of_a_run_are_those_of_all_its_replicas(tmp_path: Path) -> None:
    row = compare_runs([write_replicas(tmp_path / "r")]).iloc[0]
    assert (row["epochs"], row["seconds"]) == (2 + 2 * 2 * 2, 10 * 60 + 2)  # averages take a second and no epoch
    assert row["validation_top1"] == 95 and row["sparsity"] == 0.75
    assert "epochs and time are those of all replicas together, 8 epochs of 10" in row["note"]
