"""Rows of numbers in a CSV file that grows with a run."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class CsvLog:
    """A CSV file whose rows belong to epochs, in order.

    Args:
        path: made with its header when the first rows are written.
        columns: one of them is ``epoch``.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, onto the disk before this returns."""
        is_new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if is_new:
                writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())

    def cut_back(self, epoch: int) -> None:
        """Forget the rows of this epoch and later ones, and a row that a crash cut off."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            kept = list(_before(epoch, csv.DictReader(file)))
        shorter = CsvLog(self.path.with_name(f".{self.path.name}.tmp"), self.columns)
        shorter.path.unlink(missing_ok=True)
        shorter.append(kept)
        os.replace(shorter.path, self.path)


def _before(epoch: int, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    last = 0
    for row in rows:
        text = row["epoch"] or ""
        # Epochs never fall, so that a smaller one is what a crash left of a larger number.
        if not text.isdigit() or not last <= int(text) < epoch:
            return
        last = int(text)
        yield row
