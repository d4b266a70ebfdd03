"""CSV files that grow with a run, and are cut back when it goes on from an earlier epoch."""

from __future__ import annotations

from pathlib import Path

from schedengine.reports.csv import CsvLog


def log(path: Path, epochs: int) -> CsvLog:
    made = CsvLog(path / "rows.csv", ["epoch", "value"])
    for epoch in range(epochs):
        made.append([{"epoch": epoch, "value": epoch / 4}, {"epoch": epoch, "value": None}])
    return made


def test_the_header_is_written_once(tmp_path: Path) -> None:
    assert log(tmp_path, 2).path.read_text().splitlines() == ["epoch,value", "0,0.0", "0,", "1,0.25", "1,"]


def test_cutting_back_leaves_the_earlier_epochs_as_they_were(tmp_path: Path) -> None:
    wanted = log(tmp_path, 2).path.read_bytes()
    (tmp_path / "rows.csv").unlink()
    made = log(tmp_path, 4)
    made.cut_back(2)
    assert made.path.read_bytes() == wanted


def test_a_row_that_a_crash_cut_off_is_dropped(tmp_path: Path) -> None:
    made = log(tmp_path, 12)
    whole = made.path.read_bytes()
    with made.path.open("a") as file:
        file.write("1")  # of 12,3.0
    made.cut_back(12)
    assert made.path.read_bytes() == whole


def test_nothing_to_cut_back_is_fine(tmp_path: Path) -> None:
    CsvLog(tmp_path / "rows.csv", ["epoch"]).cut_back(0)
    assert not (tmp_path / "rows.csv").exists()
