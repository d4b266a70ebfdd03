"""``schedengine tune``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from schedengine.cli.app import main

TEXT = """\
version: 2
phases: [{name: run1, epochs: 1}]
pruners:
  mag: {threshold: {std: 1.0}}
policies:
  - {pruner: mag, at: start}
"""


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    return int(stop.value.code or 0)


def tune(folder: Path, *more: str, knob: str = "pruners.mag.std=0.1:3") -> int:
    (folder / "asked.yaml").write_text(TEXT)
    given = ["--model", "digits_cnn", "--data", "fake", "--image-size", "8", "--batch-size", "128", "--lr", "0.001"]
    common = ["--target", "0.7", "--knob", knob, "--out", str(folder / "found.yaml")]
    return run("tune", str(folder / "asked.yaml"), *given, *common, *more)


def test_it_prints_the_trials_and_writes_a_schedule_that_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(tmp_path) == 0
    printed = capsys.readouterr()
    assert "asked: 0.7 within 0.01" in printed.out and "nearest" in printed.out
    assert printed.err.startswith("trial 0: 0.1: sparsity 0.0")
    arguments = ["--model", "digits_cnn", "--data", "fake", "--image-size", "8", "--out", str(tmp_path / "run")]
    assert run("train", "--schedule", str(tmp_path / "found.yaml"), *arguments) == 0
    assert (tmp_path / "found").is_dir()


def test_json_has_every_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path, "--runs", str(tmp_path / "r"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    best = found["trials"][found["best"]]
    assert found["found"] and abs(best["sparsity"] - 0.7) <= 0.01 and found["knob"] == "pruners.mag.threshold.std"


def test_a_miss_is_a_mistake_that_a_resumed_search_repairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path, "--trials", "2", knob="pruners.mag.std=0.1:0.5") == 1
    assert "the range reaches sparsities from 0.0" in capsys.readouterr().err
    assert (tmp_path / "found.yaml").exists()
    assert tune(tmp_path, "--resume") == 0


def test_a_mistake_exits_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(tmp_path, knob="pruners.mag.step=1:2") == 1
    assert "numbers there: pruners.mag.threshold.std" in capsys.readouterr().err


def test_help_imports_no_optuna() -> None:
    code = "import sys, schedengine.cli.app; print('optuna' in sys.modules, 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"
