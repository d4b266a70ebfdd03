"""TensorBoard: the columns of metrics.csv as scalars. The only module that touches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schedengine.errors import MissingExtraError

_NAMES = {"epoch", "replica"}
"""Columns that say where a row belongs."""


class TensorBoard:
    """Looks on while a run trains, and writes its rows as events; the step is the epoch.

    Averages of replicas go on with the run's own tags; what replica 0 does is under ``replica-0/``.

    Args:
        folder: for the event files.

    Raises:
        MissingExtraError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils import tensorboard
        except ImportError as error:
            raise MissingExtraError("tensorboard", "tensorboard") from error
        self._folder = folder
        self._writer_class: Any = tensorboard.SummaryWriter
        self._writer: Any = None

    def begin(self, epoch: int, epochs: int, steps: int) -> None:
        """Nothing: how many epochs were trained does not say which one comes, where replicas are."""

    def step(self) -> None:
        """Nothing: rows come at the end of an epoch."""

    def end(self, row: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch."""
        if self._writer is None:
            self._writer = self._writer_class(str(self._folder), purge_step=_superseded(row))
        replica = row.get("replica")
        group = f"replica-{replica}/" if isinstance(replica, int) else ""
        for name, value in row.items():
            if name not in _NAMES and isinstance(value, (int, float)):
                self._writer.add_scalar(f"{group}{name}", value, row["epoch"])
        self._writer.flush()


def _superseded(first: Mapping[str, Any]) -> int | None:
    """The epoch from which on nothing counts that an interrupted run wrote; None within a phase with replicas.

    TensorBoard forgets steps of all tags alike, and replicas that are done went through the same epochs: these must
    stay. What is written twice there is the same number, since a resumed run repeats what it did.
    """
    return int(first["epoch"]) if first.get("replica") is None else None
