"""``schedengine compare``."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from run_folders import result, write_run

from schedengine.cli.app import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return (int(left.value.code or 0), *capsys.readouterr())


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two seeds, and a third that goes on."""
    done = [
        write_run(tmp_path / f"r{seed}", [80, 90], seed=seed, result=result(90, 91, test))
        for seed, test in enumerate((86.0, 88.0))
    ]
    return [*done, write_run(tmp_path / "going", [70], seed=2)]


def test_seeds_are_a_row_with_mean_and_deviation(capsys: pytest.CaptureFixture[str], runs: list[Path]) -> None:
    code, shown, _ = run(capsys, "compare", *runs)
    lines = [line.split() for line in shown.splitlines() if line.strip()]
    group = next(line for line in lines if line[0] == "agp")
    assert code == 0 and group[1:4] == ["n", "=", "2"]
    assert "87.00 ± 1.41" in " ".join(group)
    assert ["going", "(not", "finished)", "2", "1"] in [line[:5] for line in lines]
    assert "going: not finished, 1 epoch so far" in shown


def test_json_has_runs_and_groups_and_null_for_the_unknown(
    capsys: pytest.CaptureFixture[str], runs: list[Path]
) -> None:
    found = json.loads(run(capsys, "compare", *runs, "--json")[1])
    assert [one["test_top1"] for one in found["runs"]] == [86, 88, None]
    assert found["groups"][0]["test_top1_mean"] == 87


def test_the_table_goes_to_a_file_a_row_a_run(
    capsys: pytest.CaptureFixture[str], runs: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "new" / "t.csv"
    assert run(capsys, "compare", *runs, "--out", out)[2] == f"written: {out}\n"
    assert pd.read_csv(out)["run"].tolist() == ["r0", "r1", "going"]


def test_a_folder_that_holds_no_run_is_the_users_mistake(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, errors = run(capsys, "compare", tmp_path)
    assert code == 1 and "holds no run" in errors


def test_a_place_that_cannot_be_written_is_the_users_mistake(
    capsys: pytest.CaptureFixture[str], runs: list[Path]
) -> None:
    code, _, errors = run(capsys, "compare", *runs, "--out", runs[0] / "metrics.csv" / "t.csv")
    assert code == 1 and "cannot be written" in errors
