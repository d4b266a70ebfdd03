"""``schedengine plan`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schedengine.cli.app import main

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
