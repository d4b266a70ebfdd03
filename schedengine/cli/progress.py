"""The progress bar; nothing is drawn where standard error is no terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


def _bar(unit: str) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn(unit),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class ProgressBar:
    """Looks on while a run trains; use it as a context."""

    def __init__(self) -> None:
        self._epochs = 0
        self._bar = _bar("epoch")
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begin(self, epoch: int, epochs: int, steps: int) -> None:
        """Draw what is done already."""
        self._epochs = epochs
        self._bar.update(self._task, total=epochs * steps, completed=epoch * steps, description=f"{epoch}/{epochs}")

    def step(self) -> None:
        """One more."""
        self._bar.advance(self._task)

    def end(self, row: Mapping[str, Any]) -> None:
        """Say how the epoch went."""
        top1 = "" if row["top1"] is None else f" · top-1 {row['top1']:.2f} %"
        words = f"{row['epoch'] + 1}/{self._epochs} · loss {row['train_loss']:.4f}{top1}"
        self._bar.update(self._task, description=f"{words} · sparsity {row['sparsity']:.4f}")


class SweepBar:
    """Looks on while cells are measured; use it as a context."""

    def __init__(self) -> None:
        self._bar = _bar("images")
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> SweepBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, images: int, total: int | None, is_open: int, cells: int) -> None:
        """Draw how far it is: images seen, of how many, and cells that are still measured."""
        shown = f"{images:,}" if total is None else f"{images:,} of {total:,}"
        self._bar.update(self._task, total=total, completed=images, description=f"{shown} · {is_open} of {cells} cells")
