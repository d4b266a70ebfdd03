"""TensorBoard: the columns of metrics.csv as scalars. The only module that touches it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schedengine.errors import MissingExtraError


class TensorBoard:
    """Looks on while a run trains, and writes its rows as events.

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
        """Open the file; what an interrupted run wrote of this epoch and later ones is superseded."""
        del epochs, steps
        self._writer = self._writer_class(str(self._folder), purge_step=epoch)

    def step(self) -> None:
        """Nothing: rows come at the end of an epoch."""

    def end(self, row: Mapping[str, Any]) -> None:
        """Write the numbers of an epoch."""
        for name, value in row.items():
            if name != "epoch" and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, row["epoch"])
        self._writer.flush()
