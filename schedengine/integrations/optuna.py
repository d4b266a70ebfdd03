"""Optuna: a study of one number, kept in a file. The only module that touches it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schedengine.errors import MissingExtraError
from schedengine.schedule.knobs import Knob

_VALUE = "value"


@dataclass(frozen=True)
class Asked:
    """A trial of the study.

    Args:
        number: from 0.
        value: of the knob.
        is_open: whether its end was not told: what began it was killed.
    """

    number: int
    value: float
    is_open: bool = True


class Study:
    """Trials of a knob, in Optuna's journal file; it goes on from what the file holds.

    Args:
        file: of the journal; made if it is not there. Optuna's own tools read it.
        knob: its range.
        seed: of the sampler (TPE), which chooses where nobody else does.

    Raises:
        MissingExtraError: Optuna is not installed.
    """

    def __init__(self, file: Path, knob: Knob, seed: int) -> None:
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError as error:
            raise MissingExtraError("optuna", "tune") from error
        self._optuna: Any = optuna
        self._path = knob.path
        self._range = optuna.distributions.FloatDistribution(knob.low, knob.high, log=knob.is_log)
        with self._quiet():
            self._study: Any = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(file))),
                sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=4),
                study_name=knob.path,
                load_if_exists=True,
            )

    def trials(self) -> list[Asked]:
        """Those begun so far, in order."""
        begun = [trial for trial in self._study.get_trials(deepcopy=False) if trial.params]
        return [Asked(trial.number, self._value(trial), not trial.state.is_finished()) for trial in begun]

    def _value(self, trial: Any) -> float:
        return float(trial.user_attrs.get(_VALUE, trial.params[self._path]))

    def ask(self, value: float | None) -> Asked:
        """Begin a trial.

        Args:
            value: what to try; None to have it chosen by the sampler.
        """
        with self._quiet():
            if value is not None:
                self._study.enqueue_trial({self._path: value})
            trial = self._study.ask({self._path: self._range})
            if value is None:
                trial.set_user_attr(_VALUE, float(f"{trial.params[self._path]:.4g}"))
        return Asked(trial.number, self._value(trial))

    def tell(self, number: int, miss: float | None) -> None:
        """End a trial.

        Args:
            miss: what is minimised; None for a trial that failed.
        """
        failed = self._optuna.trial.TrialState.FAIL
        with self._quiet():
            self._study.tell(number, miss, state=failed if miss is None else None)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Optuna tells of every step; what is worth telling is told elsewhere."""
        before = self._optuna.logging.get_verbosity()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        try:
            yield
        finally:
            self._optuna.logging.set_verbosity(before)
