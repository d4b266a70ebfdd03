"""CSV file <-> DataFrame, whoever wrote it; what is damaged is said with its line, never guessed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from schedengine.errors import SchedEngineError
from schedengine.reports.files import writing


@dataclass(frozen=True)
class TableFile:
    """What a CSV file holds.

    Args:
        rows: a column each that the header names; numbers where every value is one, or empty (NaN).
        is_torn: whether the last row was cut off while it was written, and is left out.
    """

    rows: pd.DataFrame
    is_torn: bool


def read_table(path: Path, *, is_log: bool = False) -> TableFile:
    """Read a CSV file with a header: commas, UTF-8.

    Args:
        path: the file.
        is_log: a run appends to it, and ends every row with a new line: a last row without one is cut off, even where
            it has all its fields (``0.9`` may be the beginning of ``0.95``). In other files it is cut off if fields
            are missing.

    Raises:
        SchedEngineError: no such file, empty, not text, a column named twice, or a row with too many or too few fields.
    """
    text = _text(path)
    lines = text.splitlines(keepends=True)
    is_open = not text.endswith(("\n", "\r"))
    rows = _rows(path, lines)
    if not rows:
        raise SchedEngineError(f"{path}: empty; a header and rows, separated by commas, are needed")
    (_, header), *body = rows
    names = [name.strip() or f"column {place}" for place, name in enumerate(header, start=1)]
    _check_names(path, names)
    is_torn = bool(body) and is_open and (is_log or len(body[-1][1]) < len(names))
    if is_torn:
        body.pop()
    _check_lengths(path, body, len(names))
    columns = {name: _values([fields[place] for _, fields in body]) for place, name in enumerate(names)}
    return TableFile(pd.DataFrame(columns), is_torn)


def write_table(rows: pd.DataFrame, path: Path) -> None:
    """Write a CSV file, whole or not at all; its folder is made.

    Raises:
        SchedEngineError: it cannot be written there.
    """
    with writing(path) as temporary:
        rows.to_csv(temporary, index=False)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchedEngineError(f"{path}: not text in UTF-8; a CSV file is needed") from error
    except OSError as error:
        raise SchedEngineError(f"{path}: cannot be read: {error.strerror}") from error


def _rows(path: Path, lines: list[str]) -> list[tuple[int, list[str]]]:
    """Rows with the number of their last line; empty lines do not count."""
    reader = csv.reader(lines)
    try:
        return [(reader.line_num, fields) for fields in reader if any(fields)]
    except csv.Error as error:
        raise SchedEngineError(f"{path}:{reader.line_num}: damaged: {error}") from error


def _check_names(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SchedEngineError(f"{path}:1: column {', '.join(twice)} stands in the header twice; name each once")


def _check_lengths(path: Path, body: list[tuple[int, list[str]]], wanted: int) -> None:
    wrong = [f"{path}:{line}: {len(fields)} fields, the header has {wanted}" for line, fields in body
             if len(fields) != wanted]  # fmt: skip
    if wrong:
        more = f"\nand {len(wrong) - 3} more rows" if len(wrong) > 3 else ""
        raise SchedEngineError("\n".join(wrong[:3]) + more)


def _values(cells: list[str]) -> pd.Series:
    texts = [cell.strip() for cell in cells]
    try:
        numbers = [float(text or "nan") for text in texts]  # a loss that diverged is written nan
    except ValueError:
        return pd.Series([text or None for text in texts], dtype=object)
    is_whole = all(text.removeprefix("-").isdigit() and len(text) < 16 for text in texts)
    return pd.Series(numbers, dtype="int64" if is_whole else "float64")
