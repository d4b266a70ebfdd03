"""``schedengine summary``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from schedengine.cli.app import main
from schedengine.cli.summary import _share, _short
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["summary", *(str(argument) for argument in arguments)])
        return (int(left.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A digits_cnn without its last layer (640 weights), and with a NaN in the bias of it."""
    model = build_model("digits_cnn")
    with torch.no_grad():
        model.fc.weight.zero_()  # type: ignore[union-attr,operator]
        model.fc.bias[0] = float("nan")  # type: ignore[union-attr,index,operator]
    save_weights(model, tmp_path / "w.safetensors", {})
    return tmp_path / "w.safetensors"


def test_the_table_says_what_is_counted_and_what_is_wrong(run: Run, weights: Path) -> None:
    code, shown, _ = run("--model", "digits_cnn", "--weights", weights)
    assert code == 0
    for words in (
        "conv1.weight",
        "1 !",
        "Conv and Linear weights",
        "one example of 1x8x8",
        "masks alone make no network faster",
        "! collapsed: all weights of fc.weight are 0",
        "! not finite: 1 of the 10 weights of fc.bias",
    ):
        assert words in shown


def test_json_has_every_parameter_and_the_totals(run: Run, weights: Path) -> None:
    found = json.loads(run("--model", "digits_cnn", "--weights", weights, "--json")[1])
    assert found["weights"] == str(weights)
    last = {row["parameter"]: row for row in found["parameters"]}["fc.weight"]
    assert (last["sparsity_row"], last["sparsity_kernel"], last["macs"], last["macs_effective"]) == (1, None, 640, 0)
    assert found["totals"][0]["weights"] == 60_688 and found["totals"][0]["sparsity"] == pytest.approx(640 / 60_688)


def test_a_csv_file_has_every_column(run: Run, weights: Path, tmp_path: Path) -> None:
    code, shown, _ = run("--model", "digits_cnn", "--weights", weights, "--csv", tmp_path / "new" / "s.csv")
    frame = pd.read_csv(tmp_path / "new" / "s.csv")
    assert code == 0 and "written: " in shown
    assert {"shape", "sparsity_kernel", "l1", "l2", "macs", "macs_effective"} <= set(frame)
    assert frame.set_index("parameter").loc["fc.weight", "sparsity_element"] == 1


def test_fresh_weights_are_said_to_be_fresh(run: Run) -> None:
    assert "fresh random weights: no --weights were given" in run("--model", "digits_cnn")[1]


def test_weights_are_drawn(run: Run, tmp_path: Path) -> None:
    code, shown, _ = run("--model", "digits_cnn", "--histograms", tmp_path / "h.svg")
    assert code == 0 and "drawn: " in shown and "conv1" in (tmp_path / "h.svg").read_text()


def test_a_picture_of_another_kind_is_refused_before_anything_is_measured(run: Run) -> None:
    assert run("--model", "digits_cnn", "--histograms", "h.jpg")[:2] == (1, "")


def test_a_factory_needs_an_input_to_be_costed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "summary_net.py").write_text("from torch import nn\n\ndef net():\n    return nn.Linear(3, 2)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "(MACs) unknown: give --input CxHxW" in run("--model", "summary_net:net")[1]
    assert "one example of 7x3" in run("--model", "summary_net:net", "--input", "7x3")[1]
    code, _, errors = run("--model", "summary_net:net", "--input", "4")
    assert code == 1 and "does not take an input of 4" in errors


def test_the_table_of_a_resnet50_fits_a_terminal(run: Run) -> None:
    lines = run("--model", "resnet50")[1].splitlines()
    table = lines[: next(number for number, line in enumerate(lines) if line.startswith("zero:"))]
    assert max(len(line.rstrip()) for line in table) <= 120 and len(table) > 54


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (1e-6, "<0.0001"), (0.9, "0.9000"), (0.99999, ">0.9999"), (1.0, "1"), (None, "-")]
)
def test_some_are_not_none_and_most_are_not_all(value: float | None, shown: str) -> None:
    assert _share(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (999, "999"), (1000, "1 k"), (999_999, "1 M"), (4.1e9, "4.1 G")]
)
def test_large_counts_are_short(value: float, shown: str) -> None:
    assert _short(value) == shown
