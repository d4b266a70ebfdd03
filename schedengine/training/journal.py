"""Rows and checkpoints of a stretch of training: what a killed process goes on from.

metrics.csv                  a row for each epoch
sparsity.csv                 a row for each epoch and parameter
checkpoint.pt, .previous.pt  the state after the last epoch, and after the one before
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from schedengine.errors import CheckpointError, EffectWarning
from schedengine.reports.csv import CsvLog
from schedengine.training.checkpoint import load_checkpoint, previous, save_checkpoint
from schedengine.training.cuts import COLUMNS

METRICS = (
    "epoch",
    "phase",
    "replica",
    "lr",
    "lr_highest",
    "train_loss",
    "penalty",
    "val_loss",
    "top1",
    "top5",
    "sparsity",
    "sparsity_all",
    "seconds",
    *COLUMNS,
)
"""Columns of metrics.csv.

``replica``: in a phase with replicas which of them, from 0, or ``soup`` for their average, which is not trained (its
epoch is the last one of the phase); else empty. ``lr``: of the first parameter group in the epoch's last step;
``lr_highest``: its largest in the epoch. ``penalty``: what regularizers add to ``train_loss``. ``val_loss``, ``top1``,
``top5`` (per cent): on the validation split. ``sparsity``: fraction of the weights selected by pruners that is 0;
``sparsity_all``: the same of all Conv and Linear weights and of whatever else pruners selected; both at the evaluation,
which comes before cuts at the end of the epoch.
``cut_before``, ``cut_after``, ``cut_recalibrated`` (top-1, per cent), ``norm_drop``, ``distance_to_pruned``: of the
epoch's last cut, see ``cuts.CutEffect``; empty without one.
"""
SPARSITY = ("epoch", "parameter", "weights", "zeros", "sparsity")


class Journal:
    """What is written after each epoch, of a run or of one replica.

    Args:
        path: the folder.
        run: tells this run from others; a checkpoint of another one is refused.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path = path
        self.metrics = CsvLog(path / "metrics.csv", METRICS)
        self.sparsity = CsvLog(path / "sparsity.csv", SPARSITY)
        self._run = run

    def record(self, rows: Iterable[Mapping[str, Any]], sparsity: Iterable[Mapping[str, Any]]) -> None:
        """Add epochs to the CSV files."""
        self.metrics.append(rows)
        self.sparsity.append(sparsity)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of an epoch's end; its rows are written before."""
        save_checkpoint({"run": self._run, **state}, self.path / "checkpoint.pt")

    def load(self) -> dict[str, Any] | None:
        """The last whole checkpoint; None if no epoch was finished. The CSV files are cut back to it.

        Raises:
            CheckpointError: neither the last one nor the one before can be read, or it is of another run.
        """
        state = self._read(self.path / "checkpoint.pt")
        if state is not None and state.get("run") != self._run:
            raise CheckpointError(
                f"{self.path / 'checkpoint.pt'}: belongs to another run; "
                "schedule.yaml and run.json must be as this run was started with"
            )
        done = 0 if state is None else state["epochs_done"]
        for log in (self.metrics, self.sparsity):
            log.cut_back(done)
        return state

    def begun(self) -> dict[str, Any]:
        """As ``load``, of what was begun for sure.

        Raises:
            CheckpointError: it was not, or see ``load``.
        """
        state = self.load()
        if state is None:
            raise CheckpointError(f"{self.path}: holds no checkpoint to go on from")
        return state

    def _read(self, path: Path) -> dict[str, Any] | None:
        spare = previous(path)
        if not path.exists() and not spare.exists():
            return None
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            if not spare.exists():
                raise
            if path.exists():
                warnings.warn(f"{error}; going on from {spare.name}", EffectWarning, stacklevel=3)
            return load_checkpoint(spare)


class ReplicaJournal(Journal):
    """Of one replica. What all of them began with is not written again with each: the parent's checkpoint has it.

    Args:
        parent: where it is.
    """

    def __init__(self, path: Path, run: str, parent: Journal) -> None:
        super().__init__(path, run)
        self.parent = parent

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of an epoch's end, without the parent."""
        super().save(_with_parent(state, None))

    def load(self) -> dict[str, Any] | None:
        """As of a run; with the parent."""
        state = super().load()
        return None if state is None else _with_parent(state, self.parent.begun()["scheduler"]["walk"]["parent"])


def _with_parent(state: Mapping[str, Any], parent: Mapping[str, Any] | None) -> dict[str, Any]:
    scheduler = state["scheduler"]
    return {**state, "scheduler": {**scheduler, "walk": {**scheduler["walk"], "parent": parent}}}


def numbered(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of metrics.csv as it was before it became text."""
    found: dict[str, Any] = {name: float(text) if text else None for name, text in row.items() if name not in _TEXT}
    whole = {name: int(row[name]) for name in ("epoch", "replica")}
    return {**found, **whole, "phase": row["phase"]}


_TEXT = ("epoch", "phase", "replica")
