"""What a cut did is measured right after it, on the side, and stands in metrics.csv and in the result."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from schedengine.training.cuts import CutEffect
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.train import train
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import read_state, save_weights

Start = Callable[..., tuple[RunFolder, Session]]
AT_START = "version: 2\npruners: {most: {sparsity: 0.9}}\npolicies: [{pruner: most, at: start}]\n"
AT_END = "version: 2\npruners: {most: {sparsity: 0.9}}\npolicies: [{pruner: most, at: end}]\n"
AT_STEP = "version: 2\npruners: {most: {sparsity: 0.9}}\npolicies: [{pruner: most, at: 2st}]\n"


def rows(folder: RunFolder) -> list[dict[str, str]]:
    with (folder.path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def loaded(path: Path) -> str:
    torch.manual_seed(1)
    save_weights(build_model("digits_cnn", classes=10, channels=3), path, {})
    return str(path)


def test_epochs_without_a_cut_have_empty_columns(start: Start) -> None:
    folder, session = start()
    train(folder, session)
    assert [bool(row["norm_drop"]) for row in rows(folder)] == [False, False, True, True]
    assert [float(row["cut_before"]) for row in rows(folder)[2:]] == [float(row["top1"]) for row in rows(folder)[1:3]]


def test_right_after_a_cut_is_what_the_pruned_network_can_do(start: Start, tmp_path: Path) -> None:
    folder, session = start(AT_START, epochs=1, weights=loaded(tmp_path / "w.safetensors"), lr=1e-9)
    before = session.evaluate("validation")
    (effect,) = train(folder, session).cuts
    after = session.evaluate("validation")  # at this rate nothing but batch-norm statistics moved since
    assert before is not None and after is not None
    assert (effect.before, effect.sparsity) == (before.top1, pytest.approx(0.9, abs=1e-4))
    assert effect.after is not None and 0 <= effect.after <= 100
    assert effect.recalibrated is None


def test_norms_are_those_of_the_weights_that_went(start: Start, tmp_path: Path) -> None:
    path = loaded(tmp_path / "w.safetensors")
    folder, session = start(AT_START, epochs=1, weights=path)
    (effect,) = train(folder, session).cuts
    state = read_state(path)
    flat = torch.cat([state[name].flatten() for name in sorted(session.selected)]).double()
    removed = flat.abs().sort().values[: round(0.9 * len(flat))]
    whole = sum(
        float(parameter.double().square().sum())
        for name, parameter in state.items()
        if "running" not in name and "num" not in name
    )
    assert effect.distance_to_pruned == pytest.approx(float(removed.norm() / flat.norm()), rel=1e-5)
    assert effect.norm_drop == pytest.approx(float(removed.norm()) / whole**0.5, rel=1e-5)


def test_a_cut_at_the_end_is_measured_after_it(start: Start) -> None:
    folder, session = start(AT_END, epochs=1)
    (effect,) = train(folder, session).cuts
    final = session.evaluate("validation")
    assert final is not None and effect.after == final.top1
    assert str(effect.before) == rows(folder)[0]["top1"]


def test_a_cut_within_an_epoch_has_norms_and_no_accuracy(start: Start) -> None:
    folder, session = start(AT_STEP, epochs=1)
    (effect,) = train(folder, session).cuts
    assert (effect.step, effect.before, effect.after, effect.stability) == (2, None, None, None)
    assert 0 < effect.norm_drop < effect.distance_to_pruned < 1


def test_accuracy_after_going_back_in_weights_is_not_that_of_the_cut(start: Start) -> None:
    text = AT_START.replace("at: start}]", "at: 1}, {rewind: {weights: 0}, at: 1}]")
    folder, session = start(text, epochs=2)
    (effect,) = train(folder, session).cuts
    assert (effect.after, effect.stability) == (None, None)
    assert effect.before is not None and effect.norm_drop > 0


def test_at_the_end_of_an_epoch_too(start: Start) -> None:
    folder, session = start(AT_END.replace("at: end}]", "at: end}, {rewind: {weights: 0}, at: end}]"), epochs=1)
    (effect,) = train(folder, session).cuts
    assert effect.before is not None and effect.after is None


def test_batch_norms_are_never_recalibrated_with_a_single_image(start: Start) -> None:
    _, session = start(AT_START, epochs=1)
    session.settings = replace(session.settings, batch_size=len(session.data.train) - 1)
    sizes: list[int] = []
    session.model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    session.recalibrate_(3)
    assert sizes == [session.settings.batch_size]


def test_measuring_changes_nothing_of_the_training(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, session = start(recalibrate=2)
    measured = train(folder, session)
    with_it = read_state(folder.path / "model.safetensors")
    for path in folder.path.iterdir():
        path.unlink()
    monkeypatch.setattr("schedengine.training.cuts.CutWatch.begun", lambda watch, epoch: None)
    folder, session = start()
    train(folder, session)
    without = read_state(folder.path / "model.safetensors")
    assert all(torch.equal(with_it[name], without[name]) for name in with_it)
    assert all(effect.recalibrated is not None for effect in measured.cuts)


def test_stability_is_accuracy_after_over_accuracy_before() -> None:
    assert CutEffect(0, None, 0.9, 80.0, 20.0, None, 0.3, 0.4).stability == 0.25
    assert CutEffect(0, None, 0.9, 0.0, 0.0, None, 0.3, 0.4).stability is None


def test_a_resumed_run_remembers_its_cuts(start: Start) -> None:
    folder, session = start()
    whole = train(folder, session).cuts
    (folder.path / "checkpoint.previous.pt").replace(folder.path / "checkpoint.pt")
    again = RunFolder.open(folder.path)
    assert train(again, Session.of(again.settings, again.schedule)).cuts == whole
    assert len(json.loads((folder.path / "result.json").read_text())["cuts"]) == 2
