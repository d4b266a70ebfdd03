"""``schedengine plan`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedengine.cli.app import main
from schedengine.lr.trace import NOTE, Trace
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights

SCHEDULE = """
version: 2
phases:
  - {name: dense, epochs: 2}
  - {name: cycle, epochs: 1, repeat: 20}
pruners:
  imp: {sparsity: {ramp: geometric, to: 0.9}, allocation: uniform}
policies:
  - {pruner: imp, at: cycle}
"""
RETRAINED = """
version: 2
phases: [{name: retrain, epochs: 1}]
pruners: {once: {sparsity: 0.5, allocation: uniform}}
lr_schedulers: {retrain: {class: LLR}}
policies: [{pruner: once, at: retrain}, {lr_scheduler: retrain, during: retrain}]
"""


@pytest.fixture
def schedule(tmp_path: Path) -> str:
    path = tmp_path / "s.yaml"
    path.write_text(SCHEDULE)
    return str(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["plan", *arguments])
    return int(stop.value.code or 0)


def test_the_plan_is_printed(schedule: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(schedule, "--model", "digits_cnn", "--steps-per-epoch", "10") == 0
    printed = capsys.readouterr().out
    assert "|dense" in printed and "cut 20 of 20: 0.9000 of 60,688 weights are gone" in printed
    assert "... 8 more cuts" in printed and "note" not in printed


def test_all_cuts_can_be_listed(schedule: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(schedule, "--model", "digits_cnn", "--all")
    assert capsys.readouterr().out.count(" of 20: ") == 20


def test_json_has_everything(schedule: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(schedule, "--model", "digits_cnn", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["epochs"] == 22 and len(found["events"]) == 2 * 20 + 1
    assert found["layers"][0]["decided"] == "by shapes"


def test_a_picture_is_drawn(schedule: str, tmp_path: Path) -> None:
    assert run(schedule, "--model", "digits_cnn", "--figure", str(tmp_path / "p.svg")) == 0
    assert "target sparsity" in (tmp_path / "p.svg").read_text()


def test_a_picture_of_another_kind_is_refused_before_any_work(
    schedule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(schedule, "--model", "digits_cnn", "--figure", "p.gif") == 1
    assert ".png" in capsys.readouterr().err


def test_a_plan_is_rescaled_to_a_budget(schedule: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(schedule, "--model", "digits_cnn", "--budget", "44", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["epochs"] == 44 and "rescaled from 22 epochs to 44" in found["notes"]


def test_weights_tell_how_they_were_trained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, file, weights = build_model("digits_cnn"), tmp_path / "s.yaml", tmp_path / "w.safetensors"
    save_weights(model, weights, {NOTE: Trace([0.4, 0.2], 1).to_text()})
    file.write_text(RETRAINED)
    assert run(str(file), "--model", "digits_cnn", "--weights", str(weights), "--json") == 0
    events = json.loads(capsys.readouterr().out)["events"]
    assert events[-1]["what"].startswith("from 0 over 0.4 to ")
