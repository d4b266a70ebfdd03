"""Run folders and CSV files -> tidy DataFrames, with a group for the runs that differ only by seed.

A run folder is read while the run still goes on; so is any other CSV file with a header, ours or not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from schedengine.analysis.groups import group_names
from schedengine.analysis.table_file import TableFile, read_table
from schedengine.errors import SchedEngineError, did_you_mean

AnyPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Run:
    """What is on disk of a run, or of a table.

    Args:
        name: of the folder or file; with its parents where two have the same.
        path: the folder or file.
        metrics: a row an epoch (of a table: its rows); no rows before the first epoch is over.
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
    def note(self) -> str:
        """What a reader of its numbers must know; mostly nothing."""
        said = []
        if not self.is_finished:
            epochs = len(self.metrics)
            said.append(f"not finished, {epochs} epoch{'s' * (epochs != 1)} so far")
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
        are on the validation split. Columns run, group and seed of a file's own stay.

    Raises:
        SchedEngineError: see ``open_runs``; as many labels as groups are needed.
    """
    return metrics_of(open_runs(paths), labels=labels)


def read_layers(paths: AnyPath | Iterable[AnyPath], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """The sparsity of each parameter after each epoch, of all runs that have it.

    Returns:
        Columns: run, group, seed, finished, epoch, parameter, weights, zeros, sparsity (zeros / weights).

    Raises:
        SchedEngineError: see ``read_runs``.
    """
    return layers_of(open_runs(paths), labels=labels)


def metrics_of(runs: Sequence[Run], *, labels: Sequence[str] = ()) -> pd.DataFrame:
    """``read_runs`` of runs that are open."""
    return _joined(runs, [run.metrics for run in runs], labels)


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
    return Run(name, path, table.rows, is_torn=table.is_torn)


def _open_folder(path: Path, name: str) -> Run:
    run, result = _json(path / "run.json"), _json(path / "result.json")
    metrics, layers = (_log(path / f"{one}.csv") for one in ("metrics", "sparsity"))
    if run is None and metrics is None:
        raise SchedEngineError(f"{path}: holds no run: neither run.json nor metrics.csv; {_inside(path)}")
    schedule = path / "schedule.yaml"
    return Run(
        name=name,
        path=path,
        metrics=metrics.rows if metrics else pd.DataFrame(),
        layers=_whole_epochs(layers.rows) if layers else pd.DataFrame(),
        settings=(run or {}).get("settings", {}),
        data=(run or {}).get("data", {}),
        schedule=schedule.read_text(encoding="utf-8") if schedule.exists() else "",
        result=result,
        is_torn=any(table.is_torn for table in (metrics, layers) if table),
    )


def _inside(path: Path) -> str:
    """What the user may have meant."""
    runs = sorted(f"{one.parent}" for one in path.glob("*/metrics.csv"))
    tables = sorted(f"{one}" for one in path.glob("*.csv"))
    found = [*runs, *tables]
    return f"did you mean {' '.join(found[:6])}{' ...' * (len(found) > 6)}?" if found else "give a run's --out folder"


def _log(path: Path) -> TableFile | None:
    return read_table(path, is_log=True) if path.exists() else None


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
