"""``schedengine greedy``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from schedengine.cli.app import main
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(0)
    save_weights(build_model("digits_cnn"), path, {})
    return str(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    return int(stop.value.code or 0)


def search(weights: str, out: Path, *more: str) -> int:
    common = ["--model", "digits_cnn", "--weights", weights, "--images", "32", "--step", "0.5"]
    return run("greedy", *common, "--target-macs", "0.7", "--out", str(out), *more)


def test_a_search_leaves_a_table_and_a_schedule_that_trains(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(weights, tmp_path / "out", "--epochs", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"greedy.csv", "greedy.json", "schedule.yaml"}
    arguments = ["--model", "digits_cnn", "--weights", weights, "--out", str(tmp_path / "run")]
    assert run("train", "--schedule", str(tmp_path / "out" / "schedule.yaml"), *arguments) == 0
    (thinned,) = json.loads((tmp_path / "run" / "result.json").read_text())["thinned"]
    last = [row for row in found["rows"] if row["chosen"]][-1]
    assert thinned["parameters"] == [found["rows"][0]["parameters"], last["parameters"]]
    assert last["macs_share"] <= 0.7


def test_the_tables_say_what_is_left(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(weights, tmp_path) == 0
    printed = capsys.readouterr()
    assert "multiply-accumulates of one example   1,189,504" in printed.out
    assert "on 32 validation images, which the filters were chosen by" in printed.out
    assert printed.err.startswith("round 0: dense; MACs 1.0000")


@pytest.mark.parametrize("more", [[], ["--fine-tune", "1", "--validation", "0.9"]], ids=["measured", "tuned"])
def test_a_killed_search_goes_on_and_gives_the_same_files(weights: str, tmp_path: Path, more: list[str]) -> None:
    options = ["--parameters", "conv[34].weight", *more]
    assert search(weights, tmp_path, *options) == 0
    before = {name: (tmp_path / name).read_bytes() for name in ("greedy.csv", "schedule.yaml")}
    lines = before["greedy.csv"].splitlines(keepends=True)
    (tmp_path / "greedy.csv").write_bytes(b"".join(lines[:5]))  # in the middle of the second round
    (tmp_path / "schedule.yaml").unlink()
    assert search(weights, tmp_path, *options, "--resume") == 0
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_finished_search_is_not_begun_again(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(weights, tmp_path) == 0
    assert search(weights, tmp_path) == 1
    assert "--resume" in capsys.readouterr().err
    assert search(weights, tmp_path, "--resume", "--least", "0.2") == 1
    assert "least: was 0.1, is 0.2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-macs", "0.001"], "of them remain; choose a higher target"),
        (["--target-macs", "1.5"], "target 1.5: a share between 0 and 1"),
        (["--criterion", "l1"], "criterion"),
        (["--criterion", "apoz"], "needs more than weights"),
        (["--parameters", "fc.weight"], "nothing to prune"),
        (["--validation", "0"], "the data have none"),
        (["--resume"], "no search to resume"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], message: str, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(weights, tmp_path, *arguments) == 1
    assert message in capsys.readouterr().err


def test_fresh_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("greedy", "--model", "digits_cnn", "--out", str(tmp_path)) == 1
    assert "--weights" in capsys.readouterr().err
