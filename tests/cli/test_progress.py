"""The progress bar's line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from schedengine.cli.progress import ProgressBar

ROW = {"epoch": 0, "phase": "cycle", "train_loss": 0.5, "top1": 97.0, "sparsity": 0.9}


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")


def line(capsys: pytest.CaptureFixture[str], *told: int | Mapping[str, Any], done: int = 0) -> str:
    """What stands there at the end, of 6 epochs of 4 steps: steps are numbers, rows are rows."""
    with ProgressBar() as bar:
        bar.begin(done, 6, 4)
        for one in told:
            for _ in range(one if isinstance(one, int) else 0):
                bar.step()
            if not isinstance(one, int):
                bar.end(one)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    return shown.split("\r")[-1] if shown.split("\r")[-1].strip() else shown.splitlines()[-1]


def test_a_run_without_replicas_says_how_far_it_is_and_how_the_epoch_went(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1/6 · loss 0.5000 · top-1 97.00 % · sparsity 0.9000" in line(capsys, 4, ROW)


def test_it_goes_on_from_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert "2/6" in line(capsys, done=2) and "3/6 · loss" in line(capsys, 4, ROW, done=2)


def test_a_replica_is_named_and_counts_in_the_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert "2/6 · cycle, replica 1 · loss 0.5000" in line(capsys, 4, ROW | {"replica": 0}, 4, ROW | {"replica": 1})


def test_an_average_has_no_loss_and_is_no_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    soup = {"phase": "cycle", "replica": "soup", "top1": 98.0, "sparsity": 0.9}
    assert "1/6 · cycle, average · top-1 98.00 % · sparsity 0.9000" in line(capsys, 4, ROW, soup)


def test_numbers_of_an_epoch_go_when_replicas_elsewhere_have_done_more(capsys: pytest.CaptureFixture[str]) -> None:
    shown = line(capsys, 4, ROW, 8)
    assert "3/6 " in shown and "loss" not in shown


def test_without_validation_there_is_no_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1/6 · loss 0.5000 · sparsity 0.9000" in line(capsys, 4, ROW | {"top1": None})
