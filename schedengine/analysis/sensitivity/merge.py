"""Shards of one sweep put together: their counts add up, and the result is the file of the sweep in one piece."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from schedengine.analysis.sensitivity import table
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.analysis.sensitivity.study import ABOUT
from schedengine.errors import CheckpointError

_SUMS = ("top1", "top5", "loss", "drop", "drop_low", "drop_high", "samples", "note")
"""Columns that follow from the counts, beside the counts themselves."""


def merge(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The rows of the whole sweep.

    Args:
        paths: a ``sensitivity.csv`` of each shard, or its folder, in any order.

    Raises:
        CheckpointError: they are not the shards of one sweep, one is missing, or one comes twice.
    """
    files = [path / "sensitivity.csv" if path.is_dir() else path for path in paths]
    for path, file in zip(paths, files):
        if not file.is_file():
            raise CheckpointError(f"{path}: no such shard; give each shard's folder, or its sensitivity.csv")
    _check_parts(files)
    parts = [table.read(file) for file in files]
    for file, part in zip(files, parts):
        if [_fixed(row) for row in part] != [_fixed(row) for row in parts[0]]:
            raise CheckpointError(f"{file}: has other cells than {files[0]}; merge shards of one sweep")
    whole = [sum((table.counts_of(row) for row in same), Counts()) for same in zip(*parts)]
    return [_merged(row, counts) for row, counts in zip(parts[0], whole)]


def merge_frame(paths: Sequence[Path]) -> pandas.DataFrame:
    """The same as a table."""
    return table.frame(merge(paths))


def _fixed(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is the same in all shards, compared as text, in which nan is nan."""
    varies = {*_SUMS, *(table.IN_FILE.get(name, name) for name in table.COUNTS)}
    return {key: repr(value) for key, value in row.items() if key not in varies}


def _merged(row: Mapping[str, Any], counts: Counts) -> dict[str, Any]:
    drop = table.measured_drop(counts)
    note = table.note_of(row["note"].partition(table.NONFINITE)[0].rstrip("; "), counts)
    return {**row, **table.scores(counts), "drop": drop, "drop_low": drop, "drop_high": drop, "note": note}


def _check_parts(files: Sequence[Path]) -> None:
    """Whether the parts make up a whole, by what stands beside them."""
    noted = [_asked(file) for file in files]
    settings = [{key: value for key, value in asked.items() if key != "shard"} for asked in noted]
    for file, other in zip(files, settings):
        if other != settings[0]:
            keys = sorted(key for key in {**other, **settings[0]} if other.get(key) != settings[0].get(key))
            raise CheckpointError(f"{file}: of another sweep than {files[0]} ({', '.join(keys)} differ)")
    for file, asked in zip(files, noted):
        if not asked.get("shard"):
            raise CheckpointError(f"{file}: is a whole sweep, not a shard of one; there is nothing to merge")
    shards = [str(asked["shard"]) for asked in noted]
    count = int(shards[0].partition("/")[2] or 1)
    wanted = [f"{number}/{count}" for number in range(1, count + 1)]
    twice = sorted({shard for shard in shards if shards.count(shard) > 1})
    missing = [shard for shard in wanted if shard not in shards]
    if twice or missing or len(shards) != count:
        said = [f"{', '.join(twice)} more than once"] * bool(twice) + [f"{', '.join(missing)} missing"] * bool(missing)
        raise CheckpointError(f"not the {count} shards of one sweep: {'; '.join(said) or ', '.join(shards)}")


def _asked(file: Path) -> dict[str, Any]:
    about = file.parent / ABOUT
    try:
        noted = json.loads(about.read_text(encoding="utf-8"))
        if not noted.get("done"):
            raise CheckpointError(f"{file}: the shard is not finished; go on with it (--resume)")
        return dict(noted["asked"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{about}: cannot be read ({error}); it belongs beside the shard's table") from error
