"""``schedengine compare``: runs side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[Any, Any]
_COLUMNS: list[tuple[str, str, float, int]] = [
    ("epochs", "epochs", 1, 0),
    ("minutes", "seconds", 1 / 60, 1),
    ("top-1 (%)\nvalidation\nfinal", "validation_top1", 1, 2),
    ("top-1 (%)\nvalidation\nbest", "validation_top1_best", 1, 2),
    ("top-1 (%)\ntest\ndense", "test_top1_before", 1, 2),
    ("top-1 (%)\ntest\nfinal", "test_top1", 1, 2),
    ("sparsity\nselected", "sparsity", 1, 4),
    ("sparsity\nall", "sparsity_all", 1, 4),
    ("MACs (M)\ndense", "macs", 1e-6, 2),
    ("MACs (M)\neffective", "macs_effective", 1e-6, 2),
    ("MACs\nleft", "macs_left", 1, 3),
]
"""Header, column of numbers, factor to the unit shown, places."""
_NOTE = """\
final: after the last epoch; best: the best epoch at the final sparsity, chosen on validation
dense: as loaded, or just before the first cut
sparsity: fraction that is 0, of the weights selected by pruners; all: of these and all Conv and Linear weights
MACs: multiply-accumulates of one example, in millions; effective: without those of zero weights, which only
hardware that skips zeros gains from, but where a run thinned; left: effective / dense
minutes: training and validation, on the machine of the run"""
_GROUPS = "± standard deviation over n finished runs that differ only by seed; without ±: one run, or no difference"


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Name of a group of runs, in their order; once for each group.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="FILE.csv for the table, a row for each run.")] = None,
    as_json: options.Json = False,
) -> None:
    """Compare runs: accuracy by split, sparsity, work left, time; those that differ only by seed as mean ± sd."""
    from schedengine.analysis.comparison import compare_groups, compare_runs
    from schedengine.analysis.table_file import write_table
    from schedengine.reports.tables import show_table, to_json

    found = compare_runs(runs, labels=label or ())
    groups = compare_groups(found)
    if out is not None:
        write_table(found, out)
        typer.echo(f"written: {out}", err=True)
    if as_json:
        typer.echo(to_json({"runs": found, "groups": groups}))
        return
    notes = [_NOTE, _GROUPS] if (groups["n"] > 1).any() else [_NOTE]
    notes += [f"{row['run']}: {row['note']}" for row in found.to_dict("records") if row["note"]]
    headers = ["run", "seed", *(header for header, *_ in _COLUMNS)]
    show_table("Runs", headers, list(_rows(found, groups)), "\n".join(notes))


def _rows(runs: pd.DataFrame, groups: pd.DataFrame) -> Iterator[list[str]]:
    for group in groups.to_dict("records"):
        members = runs[runs["group"] == group["group"]].to_dict("records")
        if len(members) == 1:
            same = members[0]["run"] == group["group"]
            yield _run("" if same else f"{group['group']}: ", members[0])
            continue
        yield [str(group["group"]), f"n = {group['n']}", *(_spread(group, *column[1:]) for column in _COLUMNS)]
        yield from (_run("  ", member) for member in members)


def _run(before: str, row: Row) -> list[str]:
    unfinished = "" if row["state"] == "finished" else " (not finished)"
    numbers = [_number(row[name], factor, places) for _, name, factor, places in _COLUMNS]
    return [f"{before}{row['run']}{unfinished}", _number(row["seed"], 1, 0), *numbers]


def _spread(group: Row, name: str, factor: float, places: int) -> str:
    mean, deviation = (_number(group[f"{name}_{part}"], factor, places) for part in ("mean", "sd"))
    return mean if deviation == "-" or float(deviation) == 0 else f"{mean} ± {deviation}"


def _number(value: float | None, factor: float, places: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value * factor:.{places}f}"
