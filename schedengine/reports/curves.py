"""Rows of runs -> curves: for each group of runs, the mean over the runs, and from the smallest to the largest.

Replicas are no runs: each is a line of its own, beside the curve that goes on with their average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from schedengine.errors import SchedEngineError, did_you_mean

SOUP = "soup"
"""In the column ``replica`` of a run's rows: the average of the replicas of a phase."""
_NOT_CURVES = {"run", "group", "phase", "finished"}
"""Columns of text that tell no curves apart."""


@dataclass(frozen=True)
class Curve:
    """One group's y over x.

    Args:
        group: its name.
        label: what tells this curve from the others of its group (a parameter, say); "" if it is the only one.
        points: indexed by x in order; columns mean, low, high over the runs, at every x that all of them have. None if
            that is less than half of what one of them has.
        runs: how many.
        singles: y of each run, indexed by x, where the runs have not the same x; else empty.
        repeated: whether a run had several rows at one x, of which the last counts.
        averages: x where it is an average of replicas. Where that has no y (it has no training loss), so have points
            and singles (NaN): what is before and after is not joined.
    """

    group: str
    label: str
    points: pd.DataFrame
    runs: int
    singles: tuple[pd.Series, ...] = ()
    repeated: bool = False
    averages: tuple[float, ...] = ()


@dataclass(frozen=True)
class ReplicaLine:
    """One replica of one phase.

    Args:
        group: of its run.
        values: y indexed by x.
        repeated: whether it had several rows at one x, of which the last counts.
    """

    group: str
    values: pd.Series
    repeated: bool


def curves(rows: pd.DataFrame, x: str, y: str, by: Sequence[str] | None = None) -> list[Curve]:
    """The curves in a table of runs.

    Where a run has several rows at one x, the last counts: at each sparsity, where training ended. Sparsities that
    agree to three places are one x. Rows without x or y count for nothing, but averages of replicas, see ``Curve``.

    Args:
        rows: columns run, group, and those that are named; maybe seed, which tells runs apart too.
        x: column of numbers.
        y: column of numbers.
        by: columns that tell the curves of a group apart; None: ``parameter`` if it is there, else all columns of text.

    Raises:
        SchedEngineError: no such column, one that holds no numbers, or no row with both.
    """
    for name in (x, y):
        check_column(rows, name)
    by = distinguishing(rows, (x, y)) if by is None else list(by)
    for name in by:
        check_column(rows, name, of_numbers=False)
    if not is_there(rows, x, y):
        raise SchedEngineError(f"no row has both {x} and {y}")
    present = rows[rows[x].notna() & (rows[y].notna() | _is_average(rows))]
    parts = present.groupby(["group", *by], sort=False, dropna=False)
    return [_curve(str(key[0]), _label(key[1:]), part, x, y) for key, part in parts if part[y].notna().any()]


def replica_lines(replicas: pd.DataFrame, x: str, y: str) -> list[ReplicaLine]:
    """A line for each replica of each phase; none where the columns are not there, or hold nothing.

    Args:
        replicas: of ``read_replicas``, or empty.
        x, y: columns of numbers.
    """
    if not is_there(replicas, x, y):
        return []
    present = replicas.dropna(subset=[x, y])
    parts = present.groupby(["run", "group", "soup", "replica"], sort=False, dropna=False)
    return [_replica(str(key[1]), part, x, y) for key, part in parts]


def with_replicas(rows: pd.DataFrame, replicas: pd.DataFrame | None) -> pd.DataFrame:
    """The rows of runs and those of their replicas: which runs there are, and which columns."""
    parts = [part for part in (rows, replicas) if part is not None and len(part)]
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else (parts or [rows])[0]


def _replica(group: str, rows: pd.DataFrame, x: str, y: str) -> ReplicaLine:
    last = rows.loc[~_place(rows, x).duplicated(keep="last")]
    return ReplicaLine(group, last.set_index(x)[y].sort_index(), repeated=len(last) < len(rows))


def is_there(rows: pd.DataFrame, x: str, y: str) -> bool:
    """Whether there is a row with numbers in both columns."""
    if x not in rows or y not in rows or not (is_numbers(rows[x]) and is_numbers(rows[y])):
        return False
    return bool(rows[[x, y]].notna().all(axis="columns").any())


def _place(rows: pd.DataFrame, x: str) -> pd.Series:
    """What counts as one x."""
    return rows[x].round(3) if x.startswith("sparsity") else rows[x]


def _is_average(rows: pd.DataFrame) -> pd.Series:
    return rows["replica"] == SOUP if "replica" in rows else pd.Series(False, index=rows.index)


def check_column(rows: pd.DataFrame, name: str, *, of_numbers: bool = True) -> None:
    """Whether a table has a column.

    Raises:
        SchedEngineError: it has not, or the column holds text where numbers are needed.
    """
    if name not in rows:
        hint = did_you_mean(name, rows.columns)
        known = "" if hint.startswith("known") else f"; columns: {', '.join(map(str, rows.columns))}"
        raise SchedEngineError(f"no column {name!r}; {hint}{known}")
    if of_numbers and not is_numbers(rows[name]):
        text = next(value for value in rows[name] if isinstance(value, str))
        numbers = [str(column) for column in rows if is_numbers(rows[column])]
        raise SchedEngineError(f"column {name!r} holds text ({text!r}); columns of numbers: {', '.join(numbers)}")


def is_numbers(column: pd.Series) -> bool:
    """Whether it holds numbers; yes and no are none."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def distinguishing(rows: pd.DataFrame, drawn: Sequence[str] = ()) -> list[str]:
    """The columns that tell the curves of a group apart: ``parameter`` if it is there, else all that hold text.

    Args:
        drawn: columns that are an axis.
    """
    if "parameter" in rows:
        return ["parameter"]
    known = {*_NOT_CURVES, *drawn, *(["replica"] if _is_average(rows).any() else [])}
    text = [name for name in rows.columns.astype(str) if name not in known]
    return [name for name in text if not pd.api.types.is_numeric_dtype(rows[name]) and rows[name].notna().any()]


def _label(values: Sequence[object]) -> str:
    return " · ".join(str(value) for value in values if value == value)  # not those that are missing (NaN)


def _curve(group: str, label: str, rows: pd.DataFrame, x: str, y: str) -> Curve:
    unit = ["run", "seed"] if "seed" in rows else ["run"]
    known = rows[y].notna()
    marked = rows.assign(_place=_place(rows, x), _known=known, _average=_is_average(rows) & known)
    last = marked.sort_values("_known", kind="stable").drop_duplicates([*unit, "_place"], keep="last").sort_index()
    runs = [part for _, part in last.groupby(unit, sort=False, dropna=False)]
    counts = last.groupby("_place")[y].size()
    shared = last[last["_place"].isin(counts.index[counts == len(runs)])]
    grouped = shared.groupby("_place")
    values = {"mean": grouped[y].mean(), "low": grouped[y].min(), "high": grouped[y].max()}
    points = pd.DataFrame(values).set_axis(pd.Index(grouped[x].mean(), name=x))
    averages = {*last.loc[last["_average"], x], *points.index[grouped["_average"].any().to_numpy()]}
    uneven = len(counts) > len(points)
    if 2 * len(points) < max(map(len, runs)):
        points = points.head(0)
    singles = tuple(part.set_index(x)[y].sort_index() for part in runs) if uneven else ()
    return Curve(group, label, points, len(runs), singles, len(last) < len(marked), tuple(sorted(averages)))
