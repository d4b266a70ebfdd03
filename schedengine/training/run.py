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
soups/PHASE-N/               of a phase with replicas: each as it was trained (replica-0.safetensors, ...), what all of
                             them began with (parent.safetensors) and their average (soup.safetensors)
replicas/PHASE-N/            while it is trained: rows and checkpoints of each replica; their parent's checkpoint
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schedengine._version import __version__
from schedengine.errors import CheckpointError, SchedEngineError
from schedengine.training.journal import Journal, ReplicaJournal
from schedengine.training.settings import Settings
from schedengine.zoo.atomic import replacing
from schedengine.zoo.splits import Data


class RunFolder:
    """A run on disk. Made by ``create`` or ``open``.

    Args:
        path: the folder.
        settings: of the run.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self.settings = settings

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
        return cls(path, Settings.from_plain(settings))

    def tidy(self) -> None:
        """Remove what a killed process was writing; nobody else may be at it."""
        for leftover in (*self.path.glob(".*.tmp"), *self.path.glob("soups/*/.*.tmp")):
            leftover.unlink(missing_ok=True)

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

    @property
    def journal(self) -> Journal:
        """The run's own rows and checkpoints."""
        return Journal(self.path, self._fingerprint())

    def forked(self, title: str) -> ForkFolder:
        """Where the replicas of a phase are.

        Args:
            title: of the fork.
        """
        return ForkFolder(self.path / "replicas" / title, self.path / "soups" / title, self._fingerprint())

    def _fingerprint(self) -> str:
        settings = json.dumps(self.settings.plain(), sort_keys=True)
        return hashlib.sha256(self.schedule.read_bytes() + b"\0" + settings.encode()).hexdigest()


@dataclass(frozen=True)
class ForkFolder:
    """Replicas of one repeat of a phase, on disk.

    Args:
        path: of what is there while they are trained.
        soups: of what stays.
        run: see ``Journal``.
    """

    path: Path
    soups: Path
    run: str

    @property
    def parent(self) -> Journal:
        """The checkpoint that all of them begin with; it has no rows."""
        return Journal(self.path, self.run)

    def replica(self, number: int) -> ReplicaJournal:
        """Rows and checkpoints of one of them."""
        return ReplicaJournal(self.path / f"replica-{number}", self.run, self.parent)

    def weights(self, name: str) -> Path:
        """Where weights stay: of ``replica-0``, ..., ``parent``, ``soup``."""
        return self.soups / f"{name}.safetensors"

    def remove(self) -> None:
        """Forget how they were trained; the run's own checkpoint is of their average by now."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()


def _surroundings() -> dict[str, Any]:
    versions = {"schedengine": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    return {"versions": versions, "machine": platform.machine()}
