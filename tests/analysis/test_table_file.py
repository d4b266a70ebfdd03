"""CSV files of anybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedengine.analysis.table_file import read_table
from schedengine.errors import SchedEngineError


def written(tmp_path: Path, text: str | bytes) -> Path:
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / "t.csv"


def test_numbers_are_numbers_and_empty_cells_are_missing(tmp_path: Path) -> None:
    rows = read_table(written(tmp_path, "\ufeffepoch,top1,phase\r\n0,,dense\r\n\r\n1,9.5,cycle\r\n")).rows
    assert rows["epoch"].tolist() == [0, 1] and rows["top1"].isna().tolist() == [True, False]
    assert rows["phase"].tolist() == ["dense", "cycle"]


def test_a_loss_that_diverged_is_a_number(tmp_path: Path) -> None:
    rows = read_table(written(tmp_path, "epoch,loss\n0,1.5\n1,nan\n2,inf\n")).rows
    assert rows["loss"].tolist()[::2] == [1.5, float("inf")] and rows["loss"].isna().tolist() == [False, True, False]


def test_quoted_commas_and_columns_without_a_name_are_fine(tmp_path: Path) -> None:
    rows = read_table(written(tmp_path, ',name\n0,"a,b"\n')).rows
    assert rows.columns.tolist() == ["column 1", "name"] and rows["name"].tolist() == ["a,b"]


def test_a_log_without_a_last_line_end_is_torn_however_whole_it_looks(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,top1\n0,9.5\n1,9")
    assert (read_table(path, is_log=True).is_torn, len(read_table(path, is_log=True).rows)) == (True, 1)
    assert (read_table(path).is_torn, len(read_table(path).rows)) == (False, 2)


def test_a_last_row_with_fields_missing_is_torn_in_any_file(tmp_path: Path) -> None:
    found = read_table(written(tmp_path, "a,b\n1,2\n3"))
    assert found.is_torn and found.rows["a"].tolist() == [1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "t.csv: empty"),
        ("\n\n", "t.csv: empty"),
        ("a,b\n1\n2,3\n", "t.csv:2: 1 fields, the header has 2"),
        ("a,b\n1,2\n3,4,5", "t.csv:3: 3 fields, the header has 2"),
        ("a,a\n1,2\n", "t.csv:1: column a stands in the header twice"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        ('a,b\n"1,2\n', "t.csv:2: 1 fields"),
    ],
)
def test_damage_is_said_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(SchedEngineError, match=said):
        read_table(written(tmp_path, text))
