from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from schedengine import load_pruned
from schedengine.cli.app import app
from schedengine.errors import SchedEngineError
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights

QUICK = ["--seconds", "0.1", "--batch-size", "1"]


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """The digits' network with half the filters of its second convolution zero."""
    model = build_model("digits_cnn")
    with torch.no_grad():
        model.conv2.weight[:16] = 0  # type: ignore[union-attr, operator]
    save_weights(model, tmp_path / "pruned.safetensors", {})
    return tmp_path / "pruned.safetensors"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["export", "--model", "digits_cnn", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_dead_filters_are_removed_and_what_that_gains_is_shown(pruned: Path, tmp_path: Path) -> None:
    text = run("--weights", pruned, "--thin", "--out", tmp_path / "thin.safetensors", *QUICK)
    network = load_pruned("digits_cnn", tmp_path / "thin.safetensors")
    assert network.conv2.weight.shape[0] == network.conv3.weight.shape[1] == 16  # type: ignore[union-attr]
    assert "multiply-accumulates" in text and "ms a pass, batch 1" in text


def test_json_has_both_sides(pruned: Path, tmp_path: Path) -> None:
    found = json.loads(
        run("--weights", pruned, "--thin", "--out", tmp_path / "t.safetensors", "--json", "--data", "digits", *QUICK)
    )
    before, after = found["before"], found["after"]
    removed = 16 * 16 * 9 + 2 * 16 + 64 * 16 * 9
    assert before["parameters"] - after["parameters"] == removed
    assert before["top1"] == pytest.approx(after["top1"], abs=0.3)  # bn2's shifts are 0 in a fresh network
    assert found["thinned"]["difference"] < 1e-4


def test_the_thinned_file_is_evaluated_like_any_other(pruned: Path, tmp_path: Path) -> None:
    out = tmp_path / "thin.safetensors"
    run("--weights", pruned, "--thin", "--out", out, *QUICK)
    arguments = ["evaluate", "--model", "digits_cnn", "--weights", str(out), "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    whole = sum(parameter.numel() for parameter in build_model("digits_cnn").parameters() if parameter.dim() > 1)
    assert json.loads(result.output)["weights"] == whole - 16 * 16 * 9 - 64 * 16 * 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.safetensors"], "--thin is what it can do"),
        (["--out", "x.pt", "--thin"], "ends in .safetensors"),
    ],
)
def test_what_is_missing_is_said(pruned: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SchedEngineError, match=message):
        run("--weights", pruned, *arguments)


def test_single_zeros_make_nothing_faster(tmp_path: Path) -> None:
    model = build_model("digits_cnn")
    with torch.no_grad():
        model.conv2.weight[:, ::2] = 0  # type: ignore[union-attr, index]
    save_weights(model, tmp_path / "w.safetensors", {})
    with pytest.raises(SchedEngineError, match="no filter is zero as a whole; 2,304 of .*granularity: filter"):
        run("--weights", tmp_path / "w.safetensors", "--thin", "--what", "filters", "--out", tmp_path / "o.safetensors")


def test_a_file_that_is_there_is_not_written_over(pruned: Path) -> None:
    with pytest.raises(SchedEngineError, match="is there already.*--force"):
        run("--weights", pruned, "--thin", "--out", pruned, *QUICK)
