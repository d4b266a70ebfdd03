"""Cells and what was counted of them <-> the rows of sensitivity.csv, which holds all that a sweep goes on from."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pandas

from schedengine.analysis.sensitivity.cells import DENSE, Cell
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.errors import CheckpointError
from schedengine.zoo.atomic import replacing

NETWORK = "*"
"""The parameter of rows in which the whole network was pruned."""
COUNTS = tuple(one.name for one in fields(Counts))
COLUMNS = (
    *("parameter", "sparsity", "top1", "top5", "loss"),  # Distiller's, which its users' scripts read
    *("granularity", "criterion", "allocation", "realised", "weights", "removed", "macs"),
    *("samples", "drop", "drop_low", "drop_high"),
    *("correct1", "correct5", "lost", "won", "nonfinite", "loss_units", "precision", "note"),
)
"""``sparsity``: asked, fraction; ``realised``: fraction of ``weights`` that is 0, ``removed`` of them. ``macs``: dense
multiply-accumulates of one example. ``top1``, ``top5`` (%), ``loss`` (mean cross-entropy), and ``drop``: points of
top-1 below the dense network on the same images; ``top1`` is that of all images, estimated as the dense network's less
``drop`` where a cell saw only some. ``drop_low``, ``drop_high``: 95 % bounds of the drop over all images. ``samples``
and the counts after it are whole numbers that add up over shards; ``loss_units``: summed loss in units of 2**-32."""
IN_FILE = {"top1": "correct1", "top5": "correct5"}
"""Names of counts that the file has another use for."""
NONFINITE = "scores that are not finite on "


@dataclass(frozen=True)
class Swept:
    """What all rows of a sweep share.

    Args:
        granularity, criterion, allocation: as a schedule writes them; the last is of whole-network rows.
        macs: dense multiply-accumulates of one example by parameter; empty where they are not known.
        precision: ``float32``, or ``bfloat16`` where counts differ a little from those of the model itself.
    """

    granularity: str
    criterion: str
    allocation: str
    macs: Mapping[str, int]
    precision: str = "float32"


@dataclass(frozen=True)
class Drop:
    """Points of top-1 below the dense network, over all images.

    Args:
        value: estimate, exact where all images were seen.
        low, high: 95 % bounds; nan while they are not known.
    """

    value: float
    low: float
    high: float


def measured_drop(counts: Counts) -> float:
    """Points of top-1 below the dense network on the images seen; nan where there is none, or scores are not finite."""
    if counts.nonfinite or not counts.samples:
        return math.nan
    return 100 * (counts.lost - counts.won) / counts.samples


def rows(
    cells: Sequence[Cell], counts: Mapping[Cell, Counts], drops: Mapping[Cell, Drop], dense: Counts, swept: Swept
) -> list[dict[str, Any]]:
    """A row a cell, in order.

    Args:
        dense: of the dense network, on all images seen by any cell.
    """
    return [_row(cell, counts[cell], drops[cell], dense, swept) for cell in cells]


def _row(cell: Cell, counts: Counts, drop: Drop, dense: Counts, swept: Swept) -> dict[str, Any]:
    sees_all = counts.samples == dense.samples or counts.nonfinite
    found = {
        **scores(counts),
        "parameter": cell.parameter or NETWORK,
        "sparsity": cell.level,
        "granularity": swept.granularity,
        "criterion": swept.criterion,
        "allocation": "" if cell.parameter else swept.allocation,
        "realised": cell.sparsity,
        "weights": cell.weights,
        "removed": cell.zeros,
        "macs": sum(swept.macs.values()) if cell.parameter is None else swept.macs.get(cell.parameter, math.nan),
        "drop": drop.value,
        "drop_low": drop.low,
        "drop_high": drop.high,
        "precision": swept.precision,
        "note": note_of(cell.note, counts),
    }
    return found if sees_all else {**found, "top1": dense.accuracy - drop.value}


def scores(counts: Counts) -> dict[str, Any]:
    """The columns that follow from the counts alone, and the counts."""
    plain = {IN_FILE.get(name, name): value for name, value in asdict(counts).items()}
    return {"top1": counts.accuracy, "top5": counts.accuracy5, "loss": counts.loss, **plain}


def note_of(note: str, counts: Counts) -> str:
    """A cell's own note, and what its counts add."""
    return "; ".join(filter(None, [note, f"{NONFINITE}{counts.nonfinite} images" if counts.nonfinite else ""]))


def write(path: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """Write the file: whole, or the old one stays."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{key: "" if value != value else value for key, value in row.items()} for row in found])
    with replacing(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8")


def frame(found: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """The rows as a table."""
    return pandas.DataFrame(found, columns=list(COLUMNS))


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a file, numbers as numbers.

    Raises:
        CheckpointError: it is not a table that this wrote, or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
        return [{key: _value(key, text) for key, text in row.items()} for row in found if _is_ours(row)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a sensitivity.csv of ours, or damaged: {error}") from error


def _is_ours(row: Mapping[str, Any]) -> bool:
    if tuple(row) != COLUMNS:
        raise KeyError(f"its columns are not {', '.join(COLUMNS)}")
    return True


def _value(column: str, text: str) -> Any:
    if column in ("parameter", "granularity", "criterion", "allocation", "precision", "note"):
        return text
    if column in ("weights", "removed", "samples", *(IN_FILE.get(name, name) for name in COUNTS)):
        return int(text)
    if not text:
        return math.nan
    return int(text) if column == "macs" else float(text)


def counts_of(row: Mapping[str, Any]) -> Counts:
    """What was counted of a row's cell."""
    return Counts(**{name: row[IN_FILE.get(name, name)] for name in COUNTS})


def counts_of_cells(path: Path, cells: Sequence[Cell]) -> dict[Cell, Counts]:
    """What a file that is gone on from has counted of these cells.

    Raises:
        CheckpointError: it has other cells.
    """
    found = read(path)
    names = [(row["parameter"], row["sparsity"], row["removed"]) for row in found]
    if names != [(cell.parameter or NETWORK, cell.level, cell.zeros) for cell in cells]:
        raise CheckpointError(f"{path}: has other cells than these weights and settings give; choose another --out")
    return {cell: counts_of(row) for cell, row in zip(cells, found)}


def dense_cell(cells: Sequence[Cell]) -> Cell:
    """One that changes no weight."""
    return next(cell for cell in cells if cell.key == DENSE)
