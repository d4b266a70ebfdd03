"""``schedengine sensitivity`` and ``merge`` as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from schedengine import load_schedule
from schedengine.cli.app import main
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(0)
    save_weights(build_model("digits_cnn", classes=10, channels=1), path, {})
    return str(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    return int(stop.value.code or 0)


def sweep(weights: str, out: Path, *more: str) -> int:
    common = ["--model", "digits_cnn", "--weights", weights, "--levels", "0.5,0.9", "--way", "32:contiguous"]
    return run("sensitivity", *common, "--out", str(out), *more)


def test_a_sweep_leaves_a_table_a_picture_a_page_and_a_schedule(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(weights, tmp_path, "--target", "0.6", "--allocation", "uniform") == 0
    printed = capsys.readouterr().out
    assert "Points of top-1 lost" in printed and "Measured with all levels together" in printed
    assert {path.name for path in tmp_path.iterdir()} == {
        "sensitivity.csv", "sensitivity.png", "sensitivity.svg", "sensitivity.html", "suggested.yaml", "sweep.json"
    }  # fmt: skip
    schedule = load_schedule(tmp_path / "suggested.yaml")
    schedule.bind(build_model("digits_cnn"), torch.optim.SGD([torch.zeros(1)], 0.1), steps_per_epoch=10)


def test_the_schedule_that_it_writes_trains(weights: str, tmp_path: Path) -> None:
    sweep(weights, tmp_path / "sweep", "--target", "0.6")
    text = tmp_path / "sweep" / "suggested.yaml"
    arguments = ["train", "--schedule", str(text), "--model", "digits_cnn", "--weights", weights, "--lr", "0.01"]
    assert run(*arguments, "--out", str(tmp_path / "run")) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["sparsity_all"] == pytest.approx(0.6, abs=0.01)


def test_json_has_the_cells_and_the_levels(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(weights, tmp_path, "--suggest", "5", "--json")
    found = json.loads(capsys.readouterr().out)
    assert len(found["cells"]) == 3 * 5 and set(found["suggestion"]) == {"levels", "said"}


def test_a_structure_can_be_swept_as_a_schedule_writes_it(weights: str, tmp_path: Path) -> None:
    assert sweep(weights, tmp_path, "--granularity", "{block: [4, 1]}", "--parameters", "conv2.weight") == 0
    with (tmp_path / "sensitivity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["granularity"] for row in rows] == ['{"block": [4, 1]}'] * 3


def test_shards_are_merged_into_one_file(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(tmp_path / f"part{number}") for number in (1, 2)]
    for number, folder in enumerate(folders, 1):
        assert sweep(weights, Path(folder), "--shard", f"{number}/2", "--batch-size", "32") == 0
    assert run("merge", *folders, "--out", str(tmp_path / "merged.csv")) == 0
    assert sweep(weights, tmp_path / "whole", "--batch-size", "32") == 0
    assert (tmp_path / "merged.csv").read_bytes() == (tmp_path / "whole" / "sensitivity.csv").read_bytes()
    assert "144 images" in capsys.readouterr().out


def test_a_killed_sweep_goes_on_and_gives_the_same_file(weights: str, tmp_path: Path) -> None:
    options = ["--split", "train", "--batch-size", "16", "--levels", "0:0.9:0.1"]
    assert sweep(weights, tmp_path / "whole", *options) == 0
    arguments = ["--model", "digits_cnn", "--weights", weights, "--way", "32:contiguous", *options]
    command = [sys.executable, "-m", "schedengine", "sensitivity", *arguments, "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    table = tmp_path / "killed" / "sensitivity.csv"
    while not table.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with table.open() as file:
        assert 0 < int(next(csv.DictReader(file))["samples"]) < 1294
    assert sweep(weights, tmp_path / "killed", *options, "--resume") == 0
    assert table.read_bytes() == (tmp_path / "whole" / "sensitivity.csv").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels", "0.5,1.0"], "outside [0, 1)"),
        (["--suggest", "1", "--target", "0.5"], "give one of them"),
        (["--granularity", "fliter"], "did you mean filter"),
        (["--parameters", "layer9.*"], "matches no parameter"),
        (["--subset", "100000"], "take 1 to"),
        (["--floor", "5"], "--within"),
        (["--target", "0.999"], "remove at most"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], message: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(weights, tmp_path, *arguments) == 1
    assert message in capsys.readouterr().err


def test_fresh_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sensitivity", "--model", "digits_cnn", "--out", str(tmp_path)) == 1
    assert "--weights" in capsys.readouterr().err
