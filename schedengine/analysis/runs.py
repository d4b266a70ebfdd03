"""Run folders and CSV files -> tidy DataFrames, with a group for the runs that differ only by seed.

A run folder is read while the run still goes on; so is any other CSV file with a header, ours or not.
The **main line** of a run goes on with the average of the replicas of a phase: one row an epoch, and none for epochs
that only replicas trained, whose rows are kept apart.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from schedengine.analysis.groups import group_names
from schedengine.analysis.table_file import TableFile, read_table
from schedengine.errors import SchedEngineError, did_you_mean
from schedengine.reports.curves import SOUP

AnyPath = str | os.PathLike[str]
_OURS = {"epoch", "phase", "replica", "train_loss"}
"""Columns that tell a run's metrics.csv from other tables, which may have replicas of another kind."""


@dataclass(frozen=True)
class Run:
    """What is on disk of a run, or of a table.

    Args:
        name: of the folder or file; with its parents where two have the same.
        path: the folder or file.
        metrics: a row an epoch of the main line (of a table: its rows); no rows before the first epoch is over.
        replicas: a row an epoch and replica, see ``read_replicas``; empty where there are none.
        layers: a row an epoch and parameter; empty where there is no sparsity.csv.
        settings: of the run, from run.json; empty where there is none.
        data: what run.json says of the data; empty in runs of early releases.
        schedule: the text used; empty where there is none.
        result: result.json, which a run writes at its end; None before.
        is_torn: whether a row was being written, or was cut off by a crash, and is left out.
    """

    name: str
    path: Path
    metrics: pd.DataFrame
    replicas: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = ""
    result: Mapping[str, Any] | None = None
    is_torn: bool = False

    @property
    def seed(self) -> int | None:
        """From run.json; None where there is none."""
        return self.settings.get("seed")

    @property
    def is_finished(self) -> bool:
        """Whether it is over; a table always is."""
        return self.result is not None or not self.settings

    @property
    def epochs(self) -> int:
        """How many were trained so far, those of every replica counted; an average takes none."""
        averages = (self.metrics["replica"] == SOUP).sum() if "replica" in self.metrics else 0
        return len(self.metrics) - int(averages) + len(self.replicas)

    @property
    def note(self) -> str:
        """What a reader of its numbers must know; mostly nothing."""
        said = []
        if not self.is_finished:
            of_replicas = ", those of every replica counted" if len(self.replicas) else ""
            said.append(f"not finished, {self.epochs} epoch{'s' * (self.epochs != 1)} so far{of_replicas}")
        if self.is_torn:
            said.append("the last row is cut off and left out")
        return "; ".join(said)


def open_runs(paths: AnyPath | Iterable[AnyPath]) -> list[Run]:
    """Read run folders (with metrics.csv, sparsity.csv, run.json, result.json) and other CSV files.

    Raises:
        SchedEngineError: a path that is not there or holds no run, a file that is damaged, or nothing to read.
    """
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    found = list(dict.fromkeys(Path(path) for path in given))
    if not found:
        raise SchedEngineError("no run is given; give run folders or CSV files")
    return [_open(path, name) for path, name in zip(found, _names(found))]


def read_runs(paths: AnyPath | Iterable[AnyPath], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """The epochs of all runs in one table; the rows of other CSV files likewise.

    Args:
        paths: run folders, CSV files.
        labels: names of the groups, in order; default: what they differ in.

    Returns:
        Columns: run, group, seed (missing for tables), finished, and those of the files. Of a run's own: ``sparsity``
        is the fraction of the weights selected by pruners that is 0, ``top1``, ``top5`` (per cent) and ``val_loss``
        are on the validation split. Columns run, group and seed of a file's own stay. In a phase with replicas there is
        only the row of their average, at the last epoch of the phase; then a column ``replica`` says ``soup`` there.

    Raises:
        SchedEngineError: see ``open_runs``; as many labels as groups are needed.
    """
    return metrics_of(open_runs(paths), labels=labels)


def read_replicas(paths: AnyPath | Iterable[AnyPath], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """The epochs of all replicas, which ``read_runs`` leaves out; those of a phase that still goes on, too.

    Returns:
        Columns as of ``read_runs``, with ``replica``, a number from 0, and ``soup``: the epoch of the row of their
        average, missing while there is none. No rows where no run has replicas.

    Raises:
        SchedEngineError: see ``read_runs``.
    """
    return replicas_of(open_runs(paths), labels=labels)


def read_layers(paths: AnyPath | Iterable[AnyPath], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """The sparsity of each parameter after each epoch, of all runs that have it.

    Returns:
        Columns: run, group, seed, finished, epoch, parameter, weights, zeros, sparsity (zeros / weights). In a phase
        with replicas those of the first one stand for all, and the last epoch's are their average's.

    Raises:
        SchedEngineError: see ``read_runs``.
    """
    return layers_of(open_runs(paths), labels=labels)


def metrics_of(runs: Sequence[Run], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """``read_runs`` of runs that are open."""
    return _joined(runs, [run.metrics for run in runs], labels)


def replicas_of(runs: Sequence[Run], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """``read_replicas`` of runs that are open."""
    return _joined(runs, [run.replicas for run in runs], labels)


def layers_of(runs: Sequence[Run], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """``read_layers`` of runs that are open."""
    return _joined(runs, [run.layers for run in runs], labels)


def _joined(runs: Sequence[Run], tables: Sequence[pd.DataFrame], labels: Sequence[str]) -> pd.DataFrame:
    groups = group_names([(run.name, run.settings, run.schedule) for run in runs], labels)
    parts = [_marked(run, group, table) for run, group, table in zip(runs, groups, tables) if len(table)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _marked(run: Run, group: str, table: pd.DataFrame) -> pd.DataFrame:
    marks = {"run": run.name, "group": group, "seed": run.seed, "finished": run.is_finished}
    own = {name: value for name, value in marks.items() if name not in table and value is not None}
    front = pd.DataFrame(own, index=table.index)
    return pd.concat([front, table], axis="columns")


def _open(path: Path, name: str) -> Run:
    if path.is_dir():
        return _open_folder(path, name)
    if not path.exists():
        near = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, near) if near else "its folder is not there either"
        raise SchedEngineError(f"{path}: no such run folder or CSV file; {hint}")
    table = read_table(path)
    if table.rows.empty:
        raise SchedEngineError(f"{path}: a header and no rows; there is nothing to show")
    main, replicas = _lines(path, table.rows)
    return Run(name, path, main, replicas, is_torn=table.is_torn)


def _open_folder(path: Path, name: str) -> Run:
    run, result = _json(path / "run.json"), _json(path / "result.json")
    metrics, layers = (_log(path / f"{one}.csv") for one in ("metrics", "sparsity"))
    if run is None and metrics is None:
        raise SchedEngineError(f"{path}: holds no run: neither run.json nor metrics.csv; {_inside(path)}")
    going_on = [one for one in map(_log, sorted(path.glob("replicas/*/replica-*/metrics.csv"))) if one]
    rows = metrics.rows if metrics else pd.DataFrame()
    main, replicas = _lines(path / "metrics.csv", rows, is_run=run is not None)
    schedule = path / "schedule.yaml"
    return Run(
        name=name,
        path=path,
        metrics=main,
        replicas=_with_those_going_on(replicas, [one.rows for one in going_on]),
        layers=_whole_epochs(layers.rows) if layers else pd.DataFrame(),
        settings=(run or {}).get("settings", {}),
        data=(run or {}).get("data", {}),
        schedule=schedule.read_text(encoding="utf-8") if schedule.exists() else "",
        result=result,
        is_torn=any(table.is_torn for table in (metrics, layers, *going_on) if table),
    )


def _inside(path: Path) -> str:
    """What the user may have meant."""
    runs = sorted(f"{one.parent}" for one in path.glob("*/metrics.csv"))
    tables = sorted(f"{one}" for one in path.glob("*.csv"))
    found = [*runs, *tables]
    return f"did you mean {' '.join(found[:6])}{' ...' * (len(found) > 6)}?" if found else "give a run's --out folder"


def _log(path: Path) -> TableFile | None:
    return read_table(path, is_log=True) if path.exists() else None


def _lines(path: Path, rows: pd.DataFrame, *, is_run: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The main line, and the rows of replicas; a file of a replica's own, which is no run, is a line of its own."""
    if rows.empty or not _OURS.issubset(rows):
        return rows, pd.DataFrame()
    said = rows["replica"]
    numbers = pd.to_numeric(said.where(said != SOUP), errors="coerce")
    is_main = said.isna() | (said == SOUP)
    unknown = said[numbers.isna() & ~is_main]
    if len(unknown):
        raise SchedEngineError(
            f"{path}: damaged: replica {unknown.iloc[0]!r}; a number, {SOUP} or nothing stands there"
        )
    if not is_run and not is_main.any():
        return rows, pd.DataFrame()
    main = rows[is_main].reset_index(drop=True)
    averages = main.loc[main["replica"] == SOUP, "epoch"]
    replicas = rows[~is_main].assign(replica=numbers[~is_main].astype("int64")).reset_index(drop=True)
    return (main if len(averages) else main.drop(columns="replica")), _with_soups(replicas, sorted(averages))


def _with_soups(replicas: pd.DataFrame, averages: Sequence[int]) -> pd.DataFrame:
    """Say which average the rows go into: the next one."""
    places = [bisect_left(averages, epoch) for epoch in replicas["epoch"]]
    soups = [averages[place] if place < len(averages) else None for place in places]
    return replicas.assign(soup=pd.array(soups, dtype="Int64")) if len(replicas) else pd.DataFrame()


def _with_those_going_on(replicas: pd.DataFrame, others: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows that are not in the run's own file yet; as its phase ends, they are in both for a moment."""
    parts = [replicas, *(_with_soups(rows, ()) for rows in others)]
    shown = [part for part in parts if len(part)]
    if not shown:
        return pd.DataFrame()
    return pd.concat(shown, ignore_index=True).drop_duplicates(["epoch", "replica"], ignore_index=True)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SchedEngineError(f"{path}: damaged: {error}") from error
    if not isinstance(content, dict):
        raise SchedEngineError(f"{path}: damaged: a {type(content).__name__}, not a mapping")
    return content


def _whole_epochs(layers: pd.DataFrame) -> pd.DataFrame:
    """Without the epoch that is being written: it has fewer parameters than the one before."""
    if "epoch" not in layers or layers.empty:
        return layers
    sizes = layers.groupby("epoch").size()
    is_partial = len(sizes) > 1 and sizes.iloc[-1] < sizes.iloc[-2]
    return layers[layers["epoch"] != sizes.index[-1]] if is_partial else layers


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, and as many parents as tell them apart."""
    parts = [path.absolute().parts for path in paths]
    for depth in range(1, max(map(len, parts)) + 1):
        names = [str(Path(*part[-depth:])) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
