"""Rows of numbers in a CSV file that grows with a run."""

from __future__ import annotations

import csv
import io
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class CsvLog:
    """A CSV file whose rows belong to epochs.

    Args:
        path: made, with its folder and header, when the first rows are written.
        columns: one of them is ``epoch``.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, onto the disk before this returns."""
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if is_new:
                writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())

    def rows(self) -> list[dict[str, str]]:
        """All whole rows, as text; none before the first was written."""
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # a crash may have cut the last one off, within a number even
        return list(csv.DictReader(io.StringIO(whole, newline="")))

    def cut_back(self, epoch: int) -> None:
        """Forget the rows of this epoch and later ones, and a row that a crash cut off."""
        if not self.path.exists():
            return
        kept = list(itertools.takewhile(lambda row: (row["epoch"] or "").isdigit(), self.rows()))
        kept = [row for row in kept if int(row["epoch"]) < epoch]
        shorter = CsvLog(self.path.with_name(f".{self.path.name}.tmp"), self.columns)
        shorter.path.unlink(missing_ok=True)
        shorter.append(kept)
        os.replace(shorter.path, self.path)
