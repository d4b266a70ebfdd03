"""``schedengine list`` and ``schedengine init``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from schedengine.cli.app import main
from schedengine.schedule.load import load_schedule

NETS = """
from torch import nn
def text():
    return nn.Sequential(nn.Embedding(9, 4), nn.LSTM(4, 4))
def empty():
    return nn.LayerNorm(4)
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return (int(left.value.code or 0), *capsys.readouterr())


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module of the user's."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    return tmp_path


def test_a_models_parameters_are_listed_with_what_the_numbers_count(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = run(capsys, "list", "--model", "digits_cnn")
    assert code == 0 and "conv4.weight" in shown and "589,824" in shown and "by full name (bias)" in shown
    assert "share: of all 61,050 parameters of the model" in shown and "MACs: 1,189,504 in all" in shown


def test_json_has_the_same_and_null_for_what_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = run(capsys, "list", "--model", "digits_cnn", "--classes", 5, "--json")
    rows = {one["parameter"]: one for one in json.loads(shown)["parameters"]}
    assert rows["fc.weight"]["shape"] == "5x64" and rows["bn1.weight"]["macs"] is None


def test_without_an_input_multiply_accumulates_are_said_to_be_unknown(
    capsys: pytest.CaptureFixture[str], own: Path
) -> None:
    code, shown, _ = run(capsys, "list", "--model", "own_nets:text")
    assert code == 0 and "unknown: give --input CxHxW" in shown and "by name (LSTM)" in shown
    _, shown, _ = run(capsys, "list", "--model", "own_nets:text", "--input", "3:int")
    assert "MACs: 384 in all" in shown  # 3 steps, two matrices of 4 x 4 x 4


def test_a_schedule_shows_what_each_parameter_gets(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "version: 2\npruners: {a: {parameters: 'conv*', sparsity: 0.5, granularity: filter}}\n"
        "regularizers: {r: {penalty: l1, strength: 0.1, parameters: fc.weight}}\n"
        "policies: [{pruner: a, at: start}, {regularizer: r, during: run}]\n"
    )
    code, shown, _ = run(capsys, "list", "--model", "digits_cnn", "--schedule", tmp_path / "s.yaml")
    assert code == 0 and "filter, by magnitude" in shown and "r: l1, strength 0.1" in shown
    assert "a: 0.5 of all 60,048 weights that it selects is to go" in shown


def test_a_selector_that_matches_nothing_is_shown_and_the_exit_code_is_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "version: 2\npruners: {a: {parameters: [conv9.weight, fc.weight], sparsity: 0.5}}\n"
        "policies: [{pruner: a, at: start}]\n"
    )
    code, shown, errors = run(capsys, "list", "--model", "digits_cnn", "--schedule", path)
    assert code == 1 and "fc.weight" in shown and "did you mean conv" in errors and "s.yaml:2:" in errors
    code, shown, _ = run(capsys, "list", "--model", "digits_cnn", "--schedule", path, "--json")
    assert code == 1 and len(json.loads(shown)["problems"]) == 1


def test_names_of_a_kind_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = run(capsys, "list", "--kind", "criteria")
    assert code == 0 and "magnitude" in shown and "arXiv:1506.02626" in shown
    _, shown, _ = run(capsys, "list", "--kind", "criteria", "--json")
    assert {"name": "magnitude", "argument": "norm"}.items() <= json.loads(shown)[1].items()


def test_a_kind_that_is_not_known_is_the_users_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, "list", "--kind", "pruner")
    assert code == 1 and "unknown kind 'pruner'; kinds: pruners, criteria" in errors


@pytest.mark.parametrize(
    "arguments", [(), ("--model", "digits_cnn", "--kind", "ramps"), ("--kind", "ramps", "--classes", 3)]
)
def test_a_model_or_a_kind_is_needed_and_not_both(
    capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...]
) -> None:
    assert run(capsys, "list", *arguments)[0] == 2


def test_a_draft_goes_to_standard_output_and_loads(capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, _ = run(capsys, "init", "--model", "resnet20_cifar", "--target", 0.8, "--method", "iterative")
    schedule = load_schedule(shown)
    assert code == 0 and schedule.epochs == 30 and schedule.pruners["imp"].sparsity.to == 0.8


def test_a_draft_goes_to_a_file_and_never_over_another(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "new" / "s.yaml"
    code, shown, said = run(capsys, "init", "--model", "digits_cnn", "--epochs", 12, "--out", path)
    assert (code, shown) == (0, "") and "schedengine plan" in said
    assert load_schedule(path).epochs == 12 and f"--schedule {path}" in path.read_text()
    code, _, errors = run(capsys, "init", "--model", "digits_cnn", "--out", path)
    assert code == 1 and "is there already" in errors and load_schedule(path).epochs == 12


def test_a_draft_that_cannot_be_written_is_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, errors = run(capsys, "init", "--model", "digits_cnn", "--out", tmp_path / "file" / "s.yaml")
    assert code == 1 and "cannot be written" in errors and "choose another place" in errors


def test_a_model_with_nothing_to_prune_is_an_error(capsys: pytest.CaptureFixture[str], own: Path) -> None:
    code, shown, errors = run(capsys, "init", "--model", "own_nets:empty")
    assert (code, shown) == (1, "") and "no Conv or Linear weight to prune" in errors
