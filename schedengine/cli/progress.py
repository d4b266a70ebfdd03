"""The progress bar; nothing is drawn where standard error is no terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    """Looks on while a run trains; use it as a context.

    What is done is counted by steps, those of all replicas, wherever they train.
    """

    def __init__(self) -> None:
        self._epochs = 0
        self._steps = 1
        self._done = 0
        self._bar = _bar("epoch")
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def begin(self, epoch: int, epochs: int, steps: int) -> None:
        """Draw what is done already."""
        self._epochs, self._steps, self._done = epochs, steps, epoch * steps
        self._bar.update(self._task, total=epochs * steps, completed=self._done, description=self._count())

    def step(self) -> None:
        """One more; at the end of an epoch its row is still to come, or, of one trained elsewhere, never comes."""
        self._done += 1
        self._bar.advance(self._task)
        if self._done % self._steps == 0:
            self._bar.update(self._task, description=self._count())

    def end(self, row: Mapping[str, Any]) -> None:
        """Say how the epoch went."""
        self._bar.update(self._task, description=" · ".join([self._count(), *_words(row)]))

    def _count(self) -> str:
        return f"{self._done // self._steps}/{self._epochs}"


def _words(row: Mapping[str, Any]) -> Iterator[str]:
    replica = row.get("replica")
    if replica is not None:
        yield f"{row['phase']}, {'average' if replica == 'soup' else f'replica {replica}'}"
    if row.get("train_loss") is not None:
        yield f"loss {row['train_loss']:.4f}"
    if row["top1"] is not None:
        yield f"top-1 {row['top1']:.2f} %"
    yield f"sparsity {row['sparsity']:.4f}"


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
