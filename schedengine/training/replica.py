"""One replica of a phase, trained alone: a checkpoint in, a checkpoint out, in this process or in any other."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from schedengine.errors import CheckpointError, SchedEngineError, ScheduleWarning
from schedengine.soups.fork import Fork
from schedengine.training.compute import cpu_threads
from schedengine.training.evaluate import Evaluation
from schedengine.training.line import Line, Watch
from schedengine.training.run import ForkFolder, RunFolder
from schedengine.training.scores import Scores, to_plain
from schedengine.training.session import Session
from schedengine.weights import norms_of
from schedengine.zoo.seeds import derive
from schedengine.zoo.weights import save_weights


def train_replica(session: Session, fork: Fork, folder: ForkFolder, number: int, watches: Iterable[Watch] = ()) -> None:
    """Train a replica to its end, from wherever its folder is; nothing if it is there.

    Args:
        session: of the run; in whatever state.
        folder: of the fork, with the parent's checkpoint.
        number: from 0.
    """
    journal = folder.replica(number)
    state: Mapping[str, Any] | None = journal.load()
    if state is None:
        state = folder.parent.begun()
        session.load_state_dict(state)
        session.scheduler.walk.alone_(number)
    else:
        session.load_state_dict(state)
        session.scheduler.walk.only = number
    line = _ReplicaLine(session, fork, folder, number, watches)
    line.cuts.load_state_dict(state["cuts"])
    for epoch in () if session.scheduler.walk.candidates else session.scheduler.epochs():
        line.epoch(epoch)


def train_replica_of(run: str, title: str, number: int) -> None:
    """``train_replica`` in a process of its own.

    Args:
        run: path of the run's folder.
        title: of the fork.

    Raises:
        SchedEngineError: the folder is not on this machine.
    """
    if not Path(run, "run.json").exists():
        where = "has to be on a disk that all machines of the cluster see, under the same path"
        raise SchedEngineError(f"{run}: not there on {platform.node()}; the run's folder {where}")
    folder = RunFolder.open(Path(run))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScheduleWarning)  # told once, by the run
        session = Session.of(folder.settings, folder.schedule)
    fork = next(fork for fork in session.scheduler.walk.forks if fork.title == title)
    with cpu_threads(folder.settings.threads):
        train_replica(session, fork, folder.forked(title), number)


def end_of(folder: ForkFolder, number: int) -> Mapping[str, Any]:
    """The state that a replica ended with.

    Raises:
        CheckpointError: it has not.
    """
    state = folder.replica(number).load()
    if state is None or not state["scheduler"]["walk"]["candidates"]:
        raise CheckpointError(f"{folder.replica(number).path}: holds no replica that is done")
    return state


class _ReplicaLine(Line):
    def __init__(self, session: Session, fork: Fork, folder: ForkFolder, number: int, watches: Iterable[Watch]) -> None:
        super().__init__(session, folder.replica(number), watches)
        self.replica = number
        self._fork, self._folder = fork, folder
        self._scores: Scores | None = None

    @property
    def seed(self) -> int:
        """The run's own for the first replica, so that a phase with one is the phase without."""
        if self._fork.seeds:
            return self._fork.seeds[self._number]
        own = self.session.settings.seed
        return derive(own, "replica", self._number) if self._number else own

    @property
    def _number(self) -> int:
        assert self.replica is not None
        return self.replica

    def _ended(self, epoch: int, evaluation: Evaluation | None) -> Mapping[str, Any]:
        if epoch + 1 == self._fork.stop_of(self._number):
            self._scores = self._measured()
            path = self._folder.weights(f"replica-{self._number}")
            save_weights(self.session.model, path, self.session.notes())
        return super()._ended(epoch, evaluation)

    def _measured(self) -> Scores:
        """With batch norms estimated as those of the average are, which would gain by these alone otherwise."""
        session, batches = self.session, self._fork.batches
        with session.aside():
            if batches != 0 and norms_of(session.model):
                session.recalibrate_(batches)
            return {"validation": session.evaluate("validation"), "test": session.evaluate("test")}

    def _state(self) -> dict[str, Any]:
        return {"scores": to_plain(self._scores), "cuts": self.cuts.state_dict()}
