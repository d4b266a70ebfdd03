"""Epochs one after another, of a run or of one replica: trained, evaluated, noted, and kept as a checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from schedengine.errors import EffectError
from schedengine.training.cuts import CutWatch
from schedengine.training.evaluate import Evaluation
from schedengine.training.journal import METRICS, Journal
from schedengine.training.loop import train_epoch
from schedengine.training.session import Session
from schedengine.training.sparsity import Count, share_of_zeros
from schedengine.zoo.seeds import reseed
from schedengine.zoo.weights import save_weights


class Watch(Protocol):
    """Something that looks on: a progress bar, TensorBoard."""

    def begin(self, epoch: int, epochs: int, steps: int) -> None:
        """Before the first epoch: how many were trained and how many are in all, those of every replica counted, and
        how many steps each has."""

    def step(self) -> None:
        """After an optimizer step."""

    def end(self, row: Mapping[str, Any]) -> None:
        """After an epoch: its row of metrics.csv."""


class Line:
    """Trains epochs; what a run and a replica do otherwise, they say in the methods that begin with an underscore.

    Args:
        session: what is trained.
        journal: where epochs are noted.
        watches: told of every step and epoch.

    Attributes:
        cuts: what cuts did.
    """

    replica: int | None = None
    """Which copy this is; None for the run itself."""

    def __init__(self, session: Session, journal: Journal, watches: Iterable[Watch]) -> None:
        self.session = session
        self.journal = journal
        self.watches = tuple(watches)
        self.cuts = CutWatch(session)
        self._highest_rate = 0.0

    @property
    def seed(self) -> int:
        """Of the order of the data, augmentation and dropout."""
        return self.session.settings.seed

    def epoch(self, epoch: int) -> None:
        """Train one."""
        with self.rescuing():
            self._epoch(epoch)

    def begin(self, epoch: int) -> None:
        """Let an epoch's randomness depend on the seed and its number alone."""
        self._highest_rate, self.session.loader.seed = 0.0, self.seed
        reseed(self.seed, "epoch", epoch)

    def _epoch(self, epoch: int) -> None:
        session, start = self.session, time.perf_counter()
        self.begin(epoch)
        losses = train_epoch(
            session.network,
            session.loader,
            session.optimizer,
            session.scheduler,
            epoch,
            session.compute,
            accumulate=session.settings.accumulate,
            begun=lambda: self.cuts.begun(epoch),  # the masks of the first step are in place
            after_step=self._stepped,
        )
        evaluation, counts = session.evaluate("validation"), session.counts()
        self._evaluated(epoch, evaluation, counts)
        row = self.row(epoch, evaluation, counts, time.perf_counter() - start) | self._trained(losses)
        session.scheduler.on_epoch_end(epoch, metrics=evaluation.metrics() if evaluation else {})
        row |= self._ended(epoch, evaluation)
        self.journal.record([row], per_parameter(epoch, counts))
        self.journal.save({"epochs_done": epoch + 1, **self._state(), **session.state_dict()})
        self.tell(row)

    def row(self, epoch: int, evaluation: Evaluation | None, counts: list[Count], seconds: float) -> dict[str, Any]:
        """What is known of weights that an epoch ends with, however they came about."""
        session = self.session
        return {
            **dict.fromkeys(METRICS),
            "epoch": epoch,
            "phase": session.phase(epoch),
            "replica": self.replica,
            "val_loss": evaluation.loss if evaluation else None,
            "top1": evaluation.top1 if evaluation else None,
            "top5": evaluation.top5 if evaluation else None,
            "sparsity": session.sparsity(counts),
            "sparsity_all": share_of_zeros(counts),
            "seconds": round(seconds, 3),
        }

    @contextmanager
    def rescuing(self) -> Iterator[None]:
        """Keep weights that a schedule's missed effect stops at: hours may be in them."""
        try:
            yield
        except EffectError as error:
            path = self.journal.path / "unverified.safetensors"
            save_weights(self.session.model, path, self.session.notes())
            raise EffectError(f"{error}\nthe weights as they are: {path}") from error

    def tell(self, row: Mapping[str, Any]) -> None:
        """Let all that look on know a row."""
        for watch in self.watches:
            watch.end(row)

    def _trained(self, losses: tuple[float, float]) -> dict[str, Any]:
        rate = float(self.session.optimizer.param_groups[0]["lr"])
        return {"lr": rate, "lr_highest": self._highest_rate, "train_loss": losses[0], "penalty": losses[1]}

    def _stepped(self) -> None:
        rate = self.session.optimizer.param_groups[0]["lr"]
        self._highest_rate = max(self._highest_rate, float(rate))
        for watch in self.watches:
            watch.step()

    def _evaluated(self, epoch: int, evaluation: Evaluation | None, counts: list[Count]) -> None:
        """An epoch was evaluated; cuts at its end are still to come."""

    def _ended(self, epoch: int, evaluation: Evaluation | None) -> Mapping[str, Any]:
        """The epoch is over: what its row says of cuts."""
        effect = self.cuts.ended(epoch, evaluation)
        return {} if effect is None else effect.columns()

    def _state(self) -> dict[str, Any]:
        """For the checkpoint, beside what the session says."""
        return {}


def per_parameter(epoch: int, counts: list[Count]) -> list[dict[str, Any]]:
    """Rows of sparsity.csv."""
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
