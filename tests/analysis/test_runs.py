"""Run folders as tables, and the groups that differ only by seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import METRICS, WITH_REPLICAS, result, row, write_replicas, write_run

from schedengine.analysis.groups import group_names
from schedengine.analysis.runs import open_runs, read_layers, read_replicas, read_runs
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


def test_the_main_line_goes_on_with_averages(tmp_path: Path) -> None:
    rows = read_runs(write_replicas(tmp_path / "r"))
    assert rows["epoch"].tolist() == [0, 1, 3, 5] and rows["top1"].tolist() == [70, 71, 93, 95]
    assert rows["replica"].tolist() == [None, None, "soup", "soup"]


def test_replicas_say_which_average_they_go_into(tmp_path: Path) -> None:
    rows = read_replicas(write_replicas(tmp_path / "r"))
    assert rows[["run", "epoch", "replica", "soup"]].to_numpy().tolist() == [
        ["r", 2, 0, 3], ["r", 3, 0, 3], ["r", 2, 1, 3], ["r", 3, 1, 3],
        ["r", 4, 0, 5], ["r", 5, 0, 5], ["r", 4, 1, 5], ["r", 5, 1, 5],
    ]  # fmt: skip


def test_a_column_that_says_nothing_is_left_out(tmp_path: Path) -> None:
    path = write_replicas(tmp_path / "r", cycles=0)
    assert "replica" not in read_runs(path) and read_replicas(path).empty


def test_runs_with_and_without_replicas_make_one_table(tmp_path: Path) -> None:
    rows = read_runs([write_run(tmp_path / "old", [80]), write_replicas(tmp_path / "new")])
    assert rows.groupby("run").size().to_dict() == {"old": 1, "new": 4}
    assert rows.loc[rows["replica"] == "soup", "run"].tolist() == ["new", "new"]


def test_all_replicas_count_and_averages_do_not_in_how_far_a_run_is(tmp_path: Path) -> None:
    (run,) = open_runs(write_replicas(tmp_path / "r"))
    assert run.note == "not finished, 10 epochs so far, those of every replica counted"


def going_on(run: Path, replica: int, *epochs: int) -> Path:
    path = run / "replicas" / "cycle-1" / f"replica-{replica}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    lines = [row(epoch, "cycle", f"{replica}", 80, 0.5) for epoch in epochs]
    path.write_text("\n".join([WITH_REPLICAS, *lines, ""]))
    return path


def test_replicas_that_are_trained_now_are_read_where_they_are(tmp_path: Path) -> None:
    path = write_replicas(tmp_path / "r", cycles=0)
    going_on(path, 0, 2, 3)
    going_on(path, 1, 2)
    rows = read_replicas(path)
    assert rows["replica"].tolist() == [0, 0, 1] and rows["soup"].isna().all()
    assert open_runs(path)[0].epochs == 2 + 3 and read_runs(path)["epoch"].tolist() == [0, 1]


def test_rows_that_are_in_both_places_for_a_moment_count_once(tmp_path: Path) -> None:
    path = write_replicas(tmp_path / "r")
    going_on(path, 0, 2, 3)
    assert len(read_replicas(path)) == 8 and read_replicas(path)["soup"].notna().all()


def test_one_replicas_own_file_or_folder_is_a_line_of_its_own(tmp_path: Path) -> None:
    file = going_on(write_replicas(tmp_path / "r"), 1, 2, 3)
    for path in (file, file.parent):
        assert read_runs(path)["epoch"].tolist() == [2, 3] and read_replicas(path).empty


def test_the_csv_file_of_a_run_is_read_like_the_run(tmp_path: Path) -> None:
    path = write_replicas(tmp_path / "r") / "metrics.csv"
    assert read_runs(path)["epoch"].tolist() == [0, 1, 3, 5] and len(read_replicas(path)) == 8


def test_replicas_of_a_users_own_table_are_the_users(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("replica,top1\nleft,1\nright,2\n")
    assert read_runs(tmp_path / "t.csv")["replica"].tolist() == ["left", "right"]


def test_a_replica_that_is_no_number_is_damage(tmp_path: Path) -> None:
    path = write_replicas(tmp_path / "r") / "metrics.csv"
    path.write_text(path.read_text().replace(",soup,", ",soop,"))
    with pytest.raises(SchedEngineError, match=r"metrics.csv: damaged: replica 'soop'; a number, soup or nothing"):
        read_runs(path)
