"""From settings to a finished run: epochs, replicas and their averages, and the report at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from schedengine.distributed.executors import Elsewhere
from schedengine.soups.fork import Fork
from schedengine.training.best import BestWeights
from schedengine.training.compute import cpu_threads
from schedengine.training.evaluate import Evaluation
from schedengine.training.journal import Journal, numbered
from schedengine.training.line import Line, Watch, per_parameter
from schedengine.training.loop import updates_per_epoch
from schedengine.training.replica import end_of, train_replica, train_replica_of
from schedengine.training.report import Report, report
from schedengine.training.run import ForkFolder, RunFolder
from schedengine.training.scores import Scores, from_plain, to_plain
from schedengine.training.session import Session
from schedengine.training.soup_report import SoupScores
from schedengine.training.sparsity import Count
from schedengine.zoo.weights import save_weights


def train(folder: RunFolder, session: Session, *watches: Watch, elsewhere: Elsewhere | None = None) -> Report:
    """Train to the end of the run, from wherever its folder is.

    Args:
        folder: of the run; new, or with a checkpoint to go on from.
        session: fresh objects, made from the folder's settings.
        watches: told of every step and epoch.
        elsewhere: where replicas are trained; None for here, one after another. With as many threads, the weights are
            the same on the CPU, bit for bit.

    Raises:
        SchedEngineError: training diverged, a schedule's effect missed, or the checkpoint cannot be used.
    """
    with cpu_threads(session.settings.threads):
        return _Run(folder, session, watches, elsewhere or Elsewhere()).run()


class _Run(Line):
    """A run that is going on."""

    def __init__(self, folder: RunFolder, session: Session, watches: Iterable[Watch], elsewhere: Elsewhere) -> None:
        super().__init__(session, folder.journal, watches)
        self.folder = folder
        self.elsewhere = elsewhere
        self.best = BestWeights(folder.path)
        self.dense: Scores | None = None
        self.dense_until = _before_forks(session)
        self.soups: list[SoupScores] = []

    def run(self) -> Report:
        self._restore()
        scheduler = self.session.scheduler
        for watch in self.watches:
            watch.begin(scheduler.trained_epochs, scheduler.all_epochs, self._steps)
        for epoch in scheduler.epochs():
            fork = scheduler.walk.at(epoch)
            if fork is None:
                self.epoch(epoch)
            else:
                self._go_through(fork, self.folder.forked(fork.title))
        return self._finish()

    @property
    def _steps(self) -> int:
        return updates_per_epoch(self.session.loader, self.session.settings.accumulate)

    def _restore(self) -> None:
        """Go back to where the run was."""
        self.folder.tidy()
        state = self.journal.load()
        if state is None:
            if self.dense_until == 0 and self.session.settings.weights is not None:
                self.dense = self._scores()
                self.cuts.start(self.dense["validation"])
            return
        self.session.load_state_dict(state)
        self._recall(state)
        for fork in self.session.scheduler.walk.forks:
            if fork.stop <= state["epochs_done"]:
                self.folder.forked(fork.title).remove()

    # --- an epoch ----------------------------------------------------------------------------------------------------

    def _evaluated(self, epoch: int, evaluation: Evaluation | None, counts: list[Count]) -> None:
        session = self.session
        if epoch + 1 == self.dense_until:
            self.dense = {"validation": evaluation, "test": session.evaluate("test")}
        self.best.consider(session.model, epoch, session.sparsity(counts), evaluation, session.notes)

    def _state(self) -> dict[str, Any]:
        soups = [one.plain() for one in self.soups]
        return {"dense": to_plain(self.dense), "cuts": self.cuts.state_dict(), "soups": soups}

    def _recall(self, state: Mapping[str, Any]) -> None:
        self.dense = from_plain(state["dense"])
        self.cuts.load_state_dict(state["cuts"])
        self.soups = [SoupScores.from_plain(one) for one in state["soups"]]

    # --- a phase with replicas ---------------------------------------------------------------------------------------

    def _go_through(self, fork: Fork, folder: ForkFolder) -> None:
        state = folder.parent.load()
        if state is None:
            self._branch(fork, folder)
        else:
            self._recall(state)
        self._train_replicas(fork, folder)
        with self.rescuing():
            self._join(fork, folder)
        folder.remove()

    def _branch(self, fork: Fork, folder: ForkFolder) -> None:
        """Cut as the phase begins, and leave what all replicas begin with in its folder."""
        session, masks = self.session, self.session.scheduler.masks
        self.begin(fork.start)
        session.scheduler.on_epoch_begin(fork.start)
        masks.apply_()  # as before the first step, for what is measured and written
        masks.before_forward_()
        self.cuts.begun(fork.start)
        effect = self._ended(fork.start, None)
        save_weights(session.model, folder.weights("parent"), session.notes())
        done = {"epochs_done": fork.start, "effect": effect}
        folder.parent.save({**done, **self._state(), **session.state_dict()})

    def _train_replicas(self, fork: Fork, folder: ForkFolder) -> None:
        numbers = range(fork.replicas)
        told = [0] * fork.replicas

        def notice(*, tell: bool = True) -> None:
            """Let those who look on know of epochs that were trained elsewhere, or before."""
            for number in numbers:
                rows = folder.replica(number).metrics.rows()
                for row in rows[told[number] :]:
                    for watch in self.watches:
                        for _ in range(self._steps):
                            watch.step()
                        if tell:
                            watch.end(numbered(row))
                told[number] = max(told[number], len(rows))

        notice(tell=False)
        if self.elsewhere.is_here:
            for number in numbers:
                train_replica(self.session, fork, folder, number, self.watches)
        else:
            calls = [(str(self.folder.path.resolve()), fork.title, number) for number in numbers]
            self.elsewhere.run(train_replica_of, calls, threads=self.session.settings.threads, meanwhile=notice)
            notice()

    def _join(self, fork: Fork, folder: ForkFolder) -> None:
        """Go on with the average of the replicas, in the state that the last one ended with."""
        session, last, start = self.session, fork.stop - 1, time.perf_counter()
        candidates, scores = [], []
        for number in range(fork.replicas):
            state = end_of(folder, number)
            candidates += state["scheduler"]["walk"]["candidates"]
            scores.append(from_plain(state["scores"]) or {})
        session.load_state_dict(state)
        self.cuts.start(None)
        session.scheduler.pour_(candidates)
        effect = self.cuts.poured(last)
        evaluation, counts = session.evaluate("validation"), session.counts()
        self._evaluated(last, evaluation, counts)
        row = self.row(last, evaluation, counts, time.perf_counter() - start) | {"replica": "soup"}
        soup = {"validation": evaluation, "test": session.evaluate("test")}
        self.soups.append(self._soup(fork, scores, soup, float(row["sparsity"])))
        save_weights(session.model, folder.weights("soup"), session.notes())
        session.scheduler.end_phase(evaluation.metrics() if evaluation else {})
        row |= {**effect, **self._ended(last, evaluation)}
        self._record(fork, folder, row, counts)
        self.journal.save({"epochs_done": fork.stop, **self._state(), **session.state_dict()})
        self.tell(row)

    def _soup(self, fork: Fork, candidates: Iterable[Scores], soup: Scores, sparsity: float) -> SoupScores:
        chosen = tuple(self.session.scheduler.walk.chosen or ())
        is_repruned = fork.masks == "reprune"
        return SoupScores(fork.title, fork.phase, fork.stop - 1, chosen, sparsity, tuple(candidates), soup, is_repruned)

    def _record(self, fork: Fork, folder: ForkFolder, row: Mapping[str, Any], counts: list[Count]) -> None:
        """The rows of all replicas, the cut before them in the first, then that of their average."""
        last, replicas = fork.stop - 1, [folder.replica(number) for number in range(fork.replicas)]
        rows: list[Mapping[str, Any]] = [one for replica in replicas for one in _epochs(replica)]
        rows[0] = {**rows[0], **folder.parent.begun()["effect"]}
        first = [one for one in replicas[0].sparsity.rows() if int(one["epoch"]) < last]
        self.journal.record([*rows, row], [*first, *per_parameter(last, counts)])

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> Report:
        """Measure the final weights again: cuts at the end of the run come after its last evaluation."""
        session = self.session
        after, sparsity = self._scores(), session.sparsity(session.counts())
        self.best.consider(session.model, session.epochs - 1, sparsity, after["validation"], session.notes)
        save_weights(session.model, self.folder.path / "model.safetensors", session.notes())
        best, cuts = self.best.at(sparsity), self.cuts.effects
        result = report(session, self.dense, self._dense_note(), after, best, cuts, self.soups)
        self.folder.write("result.json", result.plain())
        return result

    def _dense_note(self) -> str:
        if self.dense is None or self.dense_until is None:
            return ""
        if self.dense_until == 0:
            return "as loaded"
        return f"after {self.dense_until} epoch{'s' * (self.dense_until > 1)}, before the first cut"

    def _scores(self) -> Scores:
        return {"validation": self.session.evaluate("validation"), "test": self.session.evaluate("test")}


def _epochs(replica: Journal) -> Iterable[dict[str, str]]:
    """Its rows, one an epoch; a cluster may have run it again while a machine that it lost was still at it."""
    return {row["epoch"]: row for row in replica.metrics.rows()}.values()


def _before_forks(session: Session) -> int | None:
    """After how many epochs the dense network is measured: before the first cut, and before replicas that make it."""
    dense = session.dense_until()
    forks = session.scheduler.walk.forks
    return next((fork.start for fork in forks if dense is not None and fork.start < dense < fork.stop), dense)
