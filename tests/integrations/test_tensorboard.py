"""Rows of a run as TensorBoard's events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from schedengine.integrations.tensorboard import TensorBoard


def row(epoch: int, top1: float, replica: int | str | None = None) -> dict[str, Any]:
    return {"epoch": epoch, "phase": "cycle", "replica": replica, "train_loss": None, "top1": top1}


def write(folder: Path, *rows: dict[str, Any]) -> None:
    """What one process does."""
    board = TensorBoard(folder)
    board.begin(7, 9, 1)
    for one in rows:
        board.end(one)
    if rows:
        board._writer.close()


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_replicas_have_tags_of_their_own_and_averages_go_on_with_the_runs(tmp_path: Path) -> None:
    write(tmp_path, row(0, 70), row(1, 80, 0), row(2, 81, 0), row(1, 82, 1), row(2, 83, 1), row(2, 90, "soup"))
    assert read(tmp_path) == {
        "top1": [(0, 70), (2, 90)],
        "replica-0/top1": [(1, 80), (2, 81)],
        "replica-1/top1": [(1, 82), (2, 83)],
    }


def test_what_an_interrupted_run_wrote_later_is_superseded(tmp_path: Path) -> None:
    write(tmp_path, row(0, 70), row(1, 71), row(2, 72))
    write(tmp_path, row(1, 81), row(2, 82))
    assert read(tmp_path) == {"top1": [(0, 70), (1, 81), (2, 82)]}


def test_going_on_with_a_replica_leaves_those_that_are_done(tmp_path: Path) -> None:
    write(tmp_path, row(0, 70), row(1, 80, 0), row(2, 81, 0), row(1, 82, 1))
    write(tmp_path, row(2, 83, 1), row(2, 90, "soup"))
    assert read(tmp_path)["replica-0/top1"] == [(1, 80), (2, 81)]
    assert read(tmp_path)["replica-1/top1"] == [(1, 82), (2, 83)]


def test_a_run_that_is_over_writes_no_file(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(tmp_path.iterdir()) == []
