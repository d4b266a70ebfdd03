"""The learning rates of a dense training travel with its weights, and `--budget` rescales a schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schedengine.errors import ModelError, ScheduleError
from schedengine.lr.trace import NOTE, Trace
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.trace import trace_of
from schedengine.training.train import train
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import read_notes, save_weights

Start = Callable[..., tuple[RunFolder, Session]]
DENSE = """
version: 2
phases: [{name: dense, epochs: 2}]
lr_schedulers: {dense: {class: linear, from: 0.02}}
policies: [{lr_scheduler: dense, during: dense}]
"""
RETRAIN = """
version: 2
phases: [{name: retrain, epochs: 1}]
pruners: {half: {sparsity: 0.5}}
lr_schedulers: {again: {class: LRW}}
policies: [{pruner: half, at: retrain}, {lr_scheduler: again, during: retrain}]
"""


def trained(start: Start, tmp_path: Path) -> str:
    folder, session = start(DENSE)
    train(folder, session)
    return str(folder.path.rename(tmp_path / "dense") / "model.safetensors")


def test_the_weights_of_a_run_carry_every_rate_of_its_dense_phase(start: Start, tmp_path: Path) -> None:
    path = trained(start, tmp_path)
    trace = Trace.from_text(read_notes(path)[NOTE])
    steps = len(trace)
    assert (trace.steps_per_epoch * 2, trace.highest) == (steps, 0.02)
    assert list(trace.rates) == [pytest.approx(0.02 * (1 - step / steps)) for step in range(steps)]


def test_a_run_from_such_weights_reads_them_back_and_passes_them_on(start: Start, tmp_path: Path) -> None:
    path = trained(start, tmp_path)
    folder, session = start(RETRAIN, weights=path)
    train(folder, session)
    assert session.optimizer.param_groups[0]["lr"] == Trace.from_text(read_notes(path)[NOTE]).rates[-1]
    assert read_notes(folder.path / "model.safetensors")[NOTE] == read_notes(path)[NOTE]


def test_foreign_weights_without_a_trace_are_told_what_is_missing(start: Start, tmp_path: Path) -> None:
    save_weights(build_model("digits_cnn", classes=10, channels=3), tmp_path / "w.safetensors", {})
    with pytest.raises(ScheduleError, match=r"asked.yaml:6:.*none is known.*'trace: "):
        start(RETRAIN, weights=str(tmp_path / "w.safetensors"))


def test_a_damaged_trace_names_its_file(start: Start, tmp_path: Path) -> None:
    model = build_model("digits_cnn", classes=10, channels=3)
    save_weights(model, tmp_path / "w.safetensors", {NOTE: "{"})
    with pytest.raises(ModelError, match=r"w.safetensors: its learning-rate trace \(lr_trace\) is damaged"):
        start(RETRAIN, weights=str(tmp_path / "w.safetensors"))


def test_a_damaged_header_is_told_too(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(build_model("digits_cnn", classes=10, channels=3), path, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"w.safetensors: damaged safetensors file: "):
        trace_of(path)


def test_the_rate_of_the_run_has_no_say_where_all_rates_come_from_the_trace(start: Start, tmp_path: Path) -> None:
    path = trained(start, tmp_path)
    _, session = start(RETRAIN, weights=path)
    assert session.ignores_lr()


def test_a_budget_rescales_the_schedule_of_the_run(start: Start) -> None:
    folder, session = start(budget=2)
    result = train(folder, session)
    assert (result.epochs, [effect.epoch for effect in result.cuts]) == (2, [1])
    again = RunFolder.open(folder.path)
    assert Session.of(again.settings, again.schedule).epochs == 2
