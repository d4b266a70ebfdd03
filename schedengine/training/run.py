"""The folder of a run: what it was asked, how far it is, and what came out.

schedule.yaml                the schedule's text as used
run.json                     settings, what the data are and are normalised with, versions, machine
metrics.csv                  a row for each epoch
sparsity.csv                 a row for each epoch and parameter
checkpoint.pt, .previous.pt  what a killed run goes on from
best-<sparsity>.safetensors  the best weights at each sparsity reached; best.json lists them
model.safetensors            the weights at the end
result.json                  the table at the end
unverified.safetensors       the weights where a schedule's missed effect stopped the run
"""

from __future__ import annotations

import hashlib
import json
import platform
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from schedengine._version import __version__
from schedengine.errors import CheckpointError, EffectWarning, SchedEngineError
from schedengine.reports.csv import CsvLog
from schedengine.training.checkpoint import load_checkpoint, previous, save_checkpoint
from schedengine.training.cuts import COLUMNS
from schedengine.training.settings import Settings
from schedengine.zoo.atomic import replacing
from schedengine.zoo.splits import Data

METRICS = (
    "epoch",
    "phase",
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

``lr``: of the first parameter group in the epoch's last step; ``lr_highest``: its largest in the epoch.
``penalty``: what regularizers add to ``train_loss``. ``val_loss``, ``top1``, ``top5`` (per cent): on the validation
split. ``sparsity``: fraction of the weights selected by pruners that is 0; ``sparsity_all``: the same of all Conv and
Linear weights and of whatever else pruners selected; both at the evaluation, which comes before cuts at the end of the
epoch.
``cut_before``, ``cut_after``, ``cut_recalibrated`` (top-1, per cent), ``norm_drop``, ``distance_to_pruned``: of the
epoch's last cut, see ``cuts.CutEffect``; empty without one.
"""
SPARSITY = ("epoch", "parameter", "weights", "zeros", "sparsity")


class RunFolder:
    """A run on disk. Made by ``create`` or ``open``.

    Args:
        path: the folder.
        settings: of the run.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings
        self.metrics = CsvLog(path / "metrics.csv", METRICS)
        self.sparsity = CsvLog(path / "sparsity.csv", SPARSITY)

    @staticmethod
    def check_free(path: Path) -> None:
        """Whether a new run may go there.

        Raises:
            SchedEngineError: the folder holds a run already.
        """
        if (path / "run.json").exists():
            raise SchedEngineError(f"{path} holds a run already; go on with it (--resume), or choose another --out")

    @classmethod
    def create(cls, path: Path, settings: Settings, data: Data) -> RunFolder:
        """A new run.

        Raises:
            SchedEngineError: the folder holds a run already, or cannot be made.
        """
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "schedule.yaml").write_bytes(Path(settings.schedule).read_bytes())
        except OSError as error:
            raise SchedEngineError(f"{path}: cannot hold the run: {error.strerror}; choose another --out") from error
        folder = cls(path, settings)
        folder.write("run.json", {"settings": settings.plain(), "data": data.plain(), **_surroundings()})
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run that was begun before.

        Raises:
            CheckpointError: there is none in the folder, or its run.json is damaged.
        """
        try:
            content = json.loads((path / "run.json").read_text(encoding="utf-8"))
            settings = content["settings"]
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: holds no run to resume; start one without --resume") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path / 'run.json'}: damaged: {error}") from error
        for leftover in path.glob(".*.tmp"):  # what a killed process was writing
            leftover.unlink(missing_ok=True)
        return cls(path, Settings.from_plain(settings))

    @property
    def schedule(self) -> Path:
        """The schedule's text as used."""
        return self.path / "schedule.yaml"

    def check_schedule(self, given: Path) -> None:
        """Whether a schedule is the one that the run was begun with.

        Raises:
            SchedEngineError: its text differs, or it cannot be read.
        """
        try:
            is_same = given.read_bytes() == self.schedule.read_bytes()
        except OSError as error:
            raise SchedEngineError(f"{error.filename}: {error.strerror}; leave --schedule out to resume") from error
        if not is_same:
            raise SchedEngineError(
                f"--schedule {given}: not the text that the run was begun with ({self.schedule}); "
                "leave it out, or start another run"
            )

    def write(self, name: str, content: object) -> None:
        """Write a JSON file."""
        with replacing(self.path / name) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def record(self, row: Mapping[str, Any], sparsity: Iterable[Mapping[str, Any]]) -> None:
        """Add an epoch to the CSV files."""
        self.metrics.append([row])
        self.sparsity.append(sparsity)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint of an epoch's end; its rows are written before."""
        save_checkpoint({"run": self._fingerprint(), **state}, self.path / "checkpoint.pt")

    def load(self) -> dict[str, Any] | None:
        """The last whole checkpoint; None if no epoch was finished. The CSV files are cut back to it.

        Raises:
            CheckpointError: neither the last one nor the one before can be read, or it is of another run.
        """
        state = self._read_checkpoint(self.path / "checkpoint.pt")
        if state is not None and state.get("run") != self._fingerprint():
            raise CheckpointError(
                f"{self.path / 'checkpoint.pt'}: belongs to another run; "
                "schedule.yaml and run.json must be as this run was started with"
            )
        done = 0 if state is None else state["epochs_done"]
        for log in (self.metrics, self.sparsity):
            log.cut_back(done)
        return state

    def _read_checkpoint(self, path: Path) -> dict[str, Any] | None:
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

    def _fingerprint(self) -> str:
        settings = json.dumps(self.settings.plain(), sort_keys=True)
        return hashlib.sha256(self.schedule.read_bytes() + b"\0" + settings.encode()).hexdigest()


def _surroundings() -> dict[str, Any]:
    versions = {"schedengine": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    return {"versions": versions, "machine": platform.machine(), "threads": torch.get_num_threads()}
