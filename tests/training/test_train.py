"""Whole runs: what they leave behind is what happened."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from schedengine.errors import CheckpointError, ModelError, SchedEngineError, ScheduleError
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.train import train
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import read_state, save_weights

Start = Callable[..., tuple[RunFolder, Session]]
AT_END = "version: 2\npruners: {half: {sparsity: 0.5}}\npolicies: [{pruner: half, at: end}]\n"
AT_START = "version: 2\npruners: {half: {sparsity: 0.5}}\npolicies: [{pruner: half, at: start}]\n"
CALM = "version: 2\npolicies: []\n"


def rows(folder: RunFolder, name: str = "metrics.csv") -> list[dict[str, str]]:
    with (folder.path / name).open() as file:
        return list(csv.DictReader(file))


def test_a_row_an_epoch_with_phase_and_sparsity(start: Start) -> None:
    folder, session = start()
    train(folder, session)
    found = [(row["epoch"], row["phase"], round(float(row["sparsity"]), 3)) for row in rows(folder)]
    assert found == [("0", "dense", 0), ("1", "dense", 0), ("2", "prune", 0.25), ("3", "prune", 0.5)]
    assert all(float(row["lr"]) == 0.01 and float(row["val_loss"]) > 0 for row in rows(folder))


def test_zeros_of_every_parameter_add_up_to_the_sparsity(start: Start) -> None:
    folder, session = start()
    train(folder, session)
    last = [row for row in rows(folder, "sparsity.csv") if row["epoch"] == "3"]
    assert [row["parameter"] for row in last] == [f"conv{n}.weight" for n in (1, 2, 3, 4)] + ["fc.weight"]
    zeros, weights = (sum(int(row[key]) for row in last) for key in ("zeros", "weights"))
    assert zeros == int(weights * 0.5 + 0.5)
    assert float(rows(folder)[-1]["sparsity"]) == zeros / weights


def test_before_is_the_evaluation_just_before_the_first_cut(start: Start) -> None:
    folder, session = start()
    result = train(folder, session)
    assert result.before is not None and result.before["validation"] is not None
    assert str(result.before["validation"].loss) == rows(folder)[1]["val_loss"]
    assert "after 2 epochs" in result.before_note


HELD = """
version: 2
phases: [{name: hold, epochs: 1}, {name: tune, epochs: 1}]
pruners:
  hold: {sparsity: 0.9, update: reselect, pruned: {decay: {strength: 0.01}}}
  cut: {sparsity: 0.5, parameters: fc.weight}
policies:
  - {pruner: hold, during: hold}
  - {pruner: cut, at: tune}
"""
LEARNED = """
version: 2
phases: [{name: learn, epochs: 1}, {name: tune, epochs: 1}]
pruners:
  str: {update: learned, pruned: {soft_threshold: {init: -3.0}}}
policies:
  - {pruner: str, during: learn}
"""


def test_a_pruner_that_only_holds_back_counts_in_no_sparsity(start: Start) -> None:
    folder, session = start(HELD)
    result = train(folder, session)
    assert [(one.pruner, one.holds_back) for one in result.pruned] == [("hold", True), ("cut", False)]
    assert result.sparsity == 0.5 and 0 < result.sparsity_all < 0.05


def test_what_is_learned_is_compared_with_the_weights_as_loaded(start: Start, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(build_model("digits_cnn", classes=10, channels=3), tmp_path / "dense.safetensors", {})
    folder, session = start(LEARNED, weights=str(tmp_path / "dense.safetensors"))
    result = train(folder, session)
    assert result.before is not None and result.before_note == "as loaded"


def test_target_stands_beside_what_was_achieved(start: Start) -> None:
    folder, session = start()
    (one,) = train(folder, session).pruned
    assert (one.pruner, one.target, one.parameters, one.cuts) == ("agp", 0.5, 5, 2)
    assert one.achieved == pytest.approx(0.5, abs=1e-4)
    assert json.loads((folder.path / "result.json").read_text())["pruned"][0]["zeros"] == one.zeros


def test_a_cut_at_the_end_shows_in_the_result_and_in_the_weights(start: Start) -> None:
    folder, session = start(AT_END, epochs=1)
    result = train(folder, session)
    assert float(rows(folder)[-1]["sparsity"]) == 0
    assert result.sparsity == pytest.approx(0.5, abs=1e-4)
    assert result.best is not None and result.best.file == "best-0.500.safetensors"
    final = read_state(folder.path / "model.safetensors")
    zeros = sum(int((final[count.parameter] == 0).sum()) for count in session.counts())
    assert zeros == result.pruned[0].zeros == round(result.weights / 2)


def test_before_is_the_loaded_weights_where_the_run_begins_with_a_cut(start: Start, tmp_path: Path) -> None:
    loaded = build_model("digits_cnn", classes=10, channels=3)
    save_weights(loaded, tmp_path / "loaded.safetensors", {})
    folder, session = start(AT_START, epochs=1, weights=str(tmp_path / "loaded.safetensors"))
    scores = session.evaluate("test")
    result = train(folder, session)
    assert result.before is not None and result.before["test"] == scores
    assert result.before_note == "as loaded"


def test_random_weights_are_no_dense_model_to_compare_with(start: Start) -> None:
    folder, session = start(AT_START, epochs=1)
    assert train(folder, session).before is None


def test_a_run_goes_on_where_it_was_left_bit_for_bit(start: Start, tmp_path: Path) -> None:
    folder, session = start(augment=True)
    train(folder, session)
    whole = read_state(folder.path / "model.safetensors")
    written = (folder.path / "sparsity.csv").read_bytes()
    (folder.path / "checkpoint.previous.pt").replace(folder.path / "checkpoint.pt")
    torch.manual_seed(99)
    again = RunFolder.open(folder.path)
    train(again, Session.of(again.settings, again.schedule))
    resumed = read_state(folder.path / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert (folder.path / "sparsity.csv").read_bytes() == written


def test_without_validation_the_test_split_is_not_looked_at_for_choosing(start: Start) -> None:
    folder, session = start(CALM, epochs=1, validation=0.0)
    result = train(folder, session)
    assert rows(folder)[0]["val_loss"] == rows(folder)[0]["top1"] == ""
    assert result.after["validation"] is None and result.after["test"] is not None


def test_the_length_of_the_run_must_be_known(start: Start) -> None:
    with pytest.raises(SchedEngineError, match="give --epochs N"):
        start(CALM)


def test_epochs_must_agree_with_the_phases(start: Start) -> None:
    with pytest.raises(ScheduleError, match="last 4 epochs, and the run is to last 5"):
        start(epochs=5)


def test_outputs_must_not_be_fewer_than_classes(start: Start) -> None:
    with pytest.raises(ModelError, match="--classes 3: the data have 10"):
        start(classes=3)


def test_a_last_batch_of_one_image_is_left_out(start: Start) -> None:
    _, session = start(CALM, epochs=1, batch_size=46)  # 461 images: ten batches and one image
    assert (len(session.data.train), len(session.loader)) == (461, 10)


def test_a_checkpoint_of_another_model_is_refused(start: Start) -> None:
    _, session = start(CALM, epochs=1)
    state = session.state_dict()
    del state["model"]["fc.bias"]
    with pytest.raises(CheckpointError, match=r"(?s)does not fit this model, or this release.*fc\.bias"):
        session.load_state_dict(state)
