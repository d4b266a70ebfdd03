"""The table of a sensitivity analysis as pictures and pages read it: a row a cell, whoever wrote it.

Distiller's files have five columns (parameter, sparsity, top1, top5, loss). What follows from them is filled in here;
what does not is missing (nan), and shown as not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from schedengine.errors import SchedEngineError

NETWORK = "*"
"""The parameter of rows in which the whole network was pruned."""
_NEEDED = ("parameter", "sparsity", "top1")
_NUMBERS = ("top5", "loss", "weights", "removed", "macs", "samples")
_WORDS = ("granularity", "criterion", "allocation", "note", "precision")


def filled(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with all its columns.

    Args:
        frame: columns parameter, sparsity (asked, fraction removed) and top1 (%) at least, and rows at level 0.

    Returns:
        A copy with ``drop`` (points of top-1 below the dense network), its bounds ``drop_low`` and ``drop_high``,
        ``realised`` (the level asked, where the table does not say), counts that are nan where unknown, words that are
        empty, and levels free of the noise of binary fractions, in the order of the rows. Where there are no columns
        for bounds, all images count as seen.

    Raises:
        SchedEngineError: a column or the dense network is missing, no row is a parameter's, two rows are the same
            cell, or several sweeps are in one table.
    """
    missing = [name for name in _NEEDED if name not in frame]
    if missing:
        found = ", ".join(map(str, frame.columns))
        raise SchedEngineError(f"not a table of sensitivities: no column {missing[0]!r}; found {found}")
    rows = frame.reset_index(drop=True).assign(
        parameter=frame["parameter"].astype(str).to_numpy(),
        sparsity=frame["sparsity"].astype(float).round(6).to_numpy(),
    )
    for name in _NUMBERS:
        rows[name] = pd.to_numeric(rows[name]) if name in rows else float("nan")
    for name in _WORDS:
        rows[name] = rows[name].fillna("").astype(str) if name in rows else ""
    rows["nonfinite"] = rows["nonfinite"].fillna(0).astype(int) if "nonfinite" in rows else 0
    rows["realised"] = rows["realised"].fillna(rows["sparsity"]) if "realised" in rows else rows["sparsity"]
    if "drop" not in rows:
        rows["drop"] = _dense_of_each(rows) - rows["top1"]
    for name in ("drop_low", "drop_high"):
        rows[name] = pd.to_numeric(rows[name]) if name in rows else rows["drop"]
    _check(rows)
    return rows


def dense(rows: pd.DataFrame) -> pd.Series:
    """The dense network's row: the first at level 0.

    Args:
        rows: of ``filled``.
    """
    return rows.loc[rows["sparsity"] == 0].iloc[0]


def parameters(rows: pd.DataFrame) -> list[str]:
    """The parameters that were pruned one at a time, in the order of the rows."""
    return [str(name) for name in rows["parameter"].unique() if name != NETWORK]


def grid(rows: pd.DataFrame, value: str, names: Sequence[str] | None = None) -> pd.DataFrame:
    """(parameters, levels above 0) of one column; what was not measured is missing.

    Args:
        rows: of ``filled``.
        value: the column.
        names: parameters, in the order wanted; by default all.
    """
    pruned = rows[(rows["parameter"] != NETWORK) & (rows["sparsity"] > 0)]
    table = pruned.pivot(index="parameter", columns="sparsity", values=value)
    return table.reindex(index=list(names or parameters(rows))).sort_index(axis="columns")


def network_curves(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of the whole network by allocation, levels ascending."""
    whole = rows[rows["parameter"] == NETWORK]
    return {str(name): part.sort_values("sparsity") for name, part in whole.groupby("allocation", sort=False)}


def _dense_of_each(rows: pd.DataFrame) -> pd.Series:
    """Each parameter's own row at level 0; the first of all where it has none."""
    at_zero = rows[rows["sparsity"] == 0]
    if at_zero.empty:
        raise SchedEngineError("no row at level 0: the dense network's accuracy is not known; add level 0 to the sweep")
    own = at_zero.drop_duplicates("parameter").set_index("parameter")["top1"]
    return rows["parameter"].map(own).fillna(float(at_zero["top1"].iloc[0]))


def _check(rows: pd.DataFrame) -> None:
    if not (rows["sparsity"] == 0).any():
        raise SchedEngineError("no row at level 0: the dense network's accuracy is not known; add level 0 to the sweep")
    if not parameters(rows):
        raise SchedEngineError("no row is of a single parameter; sweep the layers too")
    for name in ("granularity", "criterion", "precision"):
        found = [word for word in rows[name].unique() if word]
        if len(found) > 1:
            raise SchedEngineError(f"several sweeps in one table: {name} {' and '.join(found)}; keep one of them")
    twice = rows[rows.duplicated(["parameter", "allocation", "sparsity"])]
    if len(twice):
        one = twice.iloc[0]
        raise SchedEngineError(f"{one['parameter']} at level {one['sparsity']:g} has several rows; keep one of them")
