"""From settings to a finished run: epochs, evaluations, rows, checkpoints, and the report at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from schedengine.errors import EffectError
from schedengine.training.best import BestWeights
from schedengine.training.cuts import COLUMNS, CutWatch
from schedengine.training.evaluate import Evaluation
from schedengine.training.loop import train_epoch, updates_per_epoch
from schedengine.training.report import Report, Scores, report
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.sparsity import Count, share_of_zeros
from schedengine.zoo.seeds import reseed
from schedengine.zoo.weights import save_weights


class Watch(Protocol):
    """Something that looks on: a progress bar, TensorBoard."""

    def begin(self, epoch: int, epochs: int, steps: int) -> None:
        """Before the first epoch: which it is, how many there are, and how many steps each has."""

    def step(self) -> None:
        """After an optimizer step."""

    def end(self, row: Mapping[str, Any]) -> None:
        """After an epoch: its row of metrics.csv."""


def train(folder: RunFolder, session: Session, *watches: Watch) -> Report:
    """Train to the end of the run, from wherever its folder is.

    Args:
        folder: of the run; new, or with a checkpoint to go on from.
        session: fresh objects, made from the folder's settings.
        watches: told of every step and epoch.

    Raises:
        SchedEngineError: training diverged, a schedule's effect missed, or the checkpoint cannot be used.
    """
    return _Training(folder, session, watches).run()


class _Training:
    """A run that is going on."""

    def __init__(self, folder: RunFolder, session: Session, watches: tuple[Watch, ...]) -> None:
        self.folder = folder
        self.session = session
        self.watches = watches
        self.best = BestWeights(folder.path)
        self.dense: Scores | None = None
        self.dense_until = session.dense_until()
        self.cuts = CutWatch(session)
        self.highest_rate = 0.0

    def run(self) -> Report:
        done = self._restore()
        steps = updates_per_epoch(self.session.loader, self.session.settings.accumulate)
        for watch in self.watches:
            watch.begin(done, self.session.epochs, steps)
        for epoch in self.session.scheduler.epochs():
            try:
                row = self._epoch(epoch)
            except EffectError as error:
                raise EffectError(f"{error}\nthe weights as they are: {self._rescue()}") from error
            for watch in self.watches:
                watch.end(row)
        return self._finish()

    def _rescue(self) -> Path:
        """Keep weights that a schedule's missed effect stops at: hours may be in them."""
        path = self.folder.path / "unverified.safetensors"
        save_weights(self.session.model, path, self.session.notes())
        return path

    def _restore(self) -> int:
        """Go back to where the run was; how many epochs are done."""
        state = self.folder.load()
        if state is None:
            if self.dense_until == 0 and self.session.settings.weights is not None:
                self.dense = self._scores()
                self.cuts.start(self.dense["validation"])
            return 0
        self.session.load_state_dict(state)
        self.dense = _from_plain(state["dense"])
        self.cuts.load_state_dict(state["cuts"])
        return int(state["epochs_done"])

    def _epoch(self, epoch: int) -> dict[str, Any]:
        session, start = self.session, time.perf_counter()
        self.highest_rate = 0.0
        reseed(session.settings.seed, "epoch", epoch)
        losses = train_epoch(
            session.network,
            session.loader,
            session.optimizer,
            session.scheduler,
            epoch,
            session.compute,
            accumulate=session.settings.accumulate,
            begun=lambda: self.cuts.begun(epoch),
            after_step=self._stepped,
        )
        evaluation, counts = session.evaluate("validation"), session.counts()
        if epoch + 1 == self.dense_until:
            self.dense = {"validation": evaluation, "test": session.evaluate("test")}
        self.best.consider(session.model, epoch, session.sparsity(counts), evaluation, session.notes)
        row = self._row(epoch, losses, evaluation, counts, time.perf_counter() - start)
        session.scheduler.on_epoch_end(epoch, metrics=evaluation.metrics() if evaluation else {})
        effect = self.cuts.ended(epoch, evaluation)
        row |= dict.fromkeys(COLUMNS) if effect is None else effect.columns()
        self.folder.record(row, _per_parameter(epoch, counts))
        done = {"epochs_done": epoch + 1, "dense": _plain(self.dense), "cuts": self.cuts.state_dict()}
        self.folder.save({**done, **session.state_dict()})
        return row

    def _stepped(self) -> None:
        rate = self.session.optimizer.param_groups[0]["lr"]
        self.highest_rate = max(self.highest_rate, float(rate))
        for watch in self.watches:
            watch.step()

    def _row(
        self,
        epoch: int,
        losses: tuple[float, float],
        evaluation: Evaluation | None,
        counts: list[Count],
        seconds: float,
    ) -> dict[str, Any]:
        session = self.session
        return {
            "epoch": epoch,
            "phase": session.phase(epoch),
            "lr": float(session.optimizer.param_groups[0]["lr"]),
            "lr_highest": self.highest_rate,
            "train_loss": losses[0],
            "penalty": losses[1],
            "val_loss": evaluation.loss if evaluation else None,
            "top1": evaluation.top1 if evaluation else None,
            "top5": evaluation.top5 if evaluation else None,
            "sparsity": session.sparsity(counts),
            "sparsity_all": share_of_zeros(counts),
            "seconds": round(seconds, 3),
        }

    def _finish(self) -> Report:
        """Measure the final weights again: cuts at the end of the run come after its last evaluation."""
        session = self.session
        after, sparsity = self._scores(), session.sparsity(session.counts())
        self.best.consider(session.model, session.epochs - 1, sparsity, after["validation"], session.notes)
        save_weights(session.model, self.folder.path / "model.safetensors", session.notes())
        result = report(session, self.dense, self._dense_note(), after, self.best.at(sparsity), self.cuts.effects)
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


def _per_parameter(epoch: int, counts: list[Count]) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "parameter": count.parameter,
            "weights": count.weights,
            "zeros": count.zeros,
            "sparsity": count.sparsity,
        }
        for count in counts
    ]


def _plain(scores: Scores | None) -> dict[str, Any] | None:
    if scores is None:
        return None
    return {split: found.plain() if found else None for split, found in scores.items()}


def _from_plain(plain: Mapping[str, Any] | None) -> Scores | None:
    if plain is None:
        return None
    return {split: Evaluation(**found) if found else None for split, found in plain.items()}
