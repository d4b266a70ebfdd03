"""Run folders as tables, and the groups that differ only by seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import METRICS, result, write_run

from schedengine.analysis.groups import group_names
from schedengine.analysis.runs import open_runs, read_layers, read_runs
from schedengine.errors import SchedEngineError

DONE = result(90, 91, 89)


def test_epochs_are_rows_with_their_run_group_and_seed(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"r{seed}", [80, 90], seed=seed, result=DONE) for seed in (3, 4)]
    rows = read_runs(paths)
    assert rows[["run", "group", "seed", "epoch", "top1"]].to_numpy().tolist() == [
        ["r3", "agp", 3, 0, 80],
        ["r3", "agp", 3, 1, 90],
        ["r4", "agp", 4, 0, 80],
        ["r4", "agp", 4, 1, 90],
    ]
    assert rows["finished"].all() and len(read_layers(paths)) == 2 * 2 * 5


def test_a_run_still_going_is_read_without_its_torn_row(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [80, 90])
    for name in ("metrics.csv", "sparsity.csv"):
        (path / name).write_text((path / name).read_text()[:-3])
    (run,) = open_runs([path])
    assert run.note == "not finished, 1 epoch so far; the last row is cut off and left out"
    assert run.layers["epoch"].unique().tolist() == [0]


def test_a_run_without_an_epoch_yet_has_no_rows(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [])
    (path / "metrics.csv").unlink()
    (run,) = open_runs([path])
    assert run.note == "not finished, 0 epochs so far" and read_runs([path]).empty


def test_any_table_is_read_with_the_file_as_its_run(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("parameter,sparsity,top1\na,0.1,90\n")
    rows = read_runs([tmp_path / "s.csv"])
    assert rows.iloc[0].to_dict() == {
        "run": "s.csv", "group": "s.csv", "finished": True, "parameter": "a", "sparsity": 0.1, "top1": 90,
    }  # fmt: skip


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = open_runs([write_run(tmp_path / parent / "run", [1]) for parent in ("a", "b")])
    assert [run.name for run in runs] == [str(Path("a/run")), str(Path("b/run"))]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "agp_80", [1])
    with pytest.raises(SchedEngineError, match=r"holds no run: .*; did you mean .*agp_80\?"):
        open_runs([tmp_path / "runs"])
    with pytest.raises(SchedEngineError, match=r"agp_8: no such run folder or CSV file; did you mean agp_80\?"):
        open_runs([tmp_path / "runs" / "agp_8"])
    with pytest.raises(SchedEngineError, match="no run is given"):
        open_runs([])


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [1])
    (path / "result.json").write_text("{")
    with pytest.raises(SchedEngineError, match=r"result.json: damaged"):
        open_runs([path])
    (path / "result.json").unlink()
    (path / "metrics.csv").write_text(METRICS + "\n1,2\n3,4\n")
    with pytest.raises(SchedEngineError, match=r"metrics.csv:2: 2 fields, the header has 11"):
        open_runs([path])


def described(name: str, text: str = "t", **settings: object) -> tuple[str, dict[str, object], str]:
    return name, {"schedule": "s/agp.yaml", "model": "m", "seed": 0, **settings}, text


def test_groups_are_named_by_what_they_differ_in() -> None:
    runs = [described("a", lr=0.1, augment=True), described("b", lr=0.2, augment=False), described("c", lr=0.2, seed=1)]
    assert group_names(runs) == ["lr 0.1, augment", "lr 0.2, no augment", "lr 0.2, no augment"]


def test_schedules_of_other_text_and_the_same_name_go_by_their_folders() -> None:
    assert group_names([described("a"), described("b", text="other")]) == ["a", "b"]


def test_the_path_of_a_schedule_and_settings_without_effect_make_no_group() -> None:
    assert group_names([described("a"), described("b", schedule="copy.yaml", seed=1, workers=2)]) == ["agp", "agp"]


def test_a_seed_run_again_is_no_further_evidence() -> None:
    assert group_names([described("a"), described("b")]) == ["agp", "agp (seed 0 again)"]


def test_labels_name_the_groups_in_order() -> None:
    runs = [described("a"), described("b", lr=0.2), described("c", seed=1)]
    assert group_names(runs, ["one", "two"]) == ["one", "two", "one"]
    with pytest.raises(SchedEngineError, match=r"--label one: .*; groups: 2, .*: a, b"):
        group_names(runs, ["one"])
