"""``schedengine evaluate`` and ``schedengine schema``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from schedengine.cli.app import main
from schedengine.training.checkpoint import save_checkpoint
from schedengine.zoo.corruptions import CORRUPTIONS
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return (int(left.value.code or 0), *capsys.readouterr())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A digits_cnn that calls every image a 3, and whose last layer is all zeros."""
    model = build_model("digits_cnn")
    with torch.no_grad():
        model.fc.weight.zero_()  # type: ignore[union-attr,operator]
        model.fc.bias.copy_(torch.eye(10)[3])  # type: ignore[union-attr,operator]
    save_weights(model, tmp_path / "w.safetensors", {})
    return tmp_path / "w.safetensors"


def test_saved_weights_are_measured_on_the_test_split(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    _, shown, _ = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", weights, "--json")
    found = json.loads(shown)
    assert (found["split"], found["samples"], found["weights"], found["zeros"]) == ("test", 359, 60_688, 640)
    assert found["top1"] == pytest.approx(100 * 37 / 359)  # 183 of the digits are a 3; a fifth of them
    assert found["sparsity"] == 640 / 60_688


def test_the_table_says_what_its_numbers_count(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    code, shown, _ = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", weights, "--split", "validation")
    assert code == 0 and "validation" in shown and "of all Conv and Linear weights" in shown


def test_weights_of_another_model_are_refused(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    code, _, errors = run(capsys, "evaluate", "--model", "resnet8_cifar", "--data", "fake", "--weights", weights)
    assert code == 1 and "does not fit the model" in errors


def test_a_split_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    options = ("--validation", 0, "--split", "validation")
    code, _, errors = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", weights, *options)
    assert code == 1 and "no validation split" in errors


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("schedengine.schedule.json_schema")
    code, shown, _ = run(capsys, "schema")
    assert code == 0 and "$schema" in json.loads(shown)


def test_a_runs_checkpoint_is_no_file_of_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_checkpoint({"model": {}}, tmp_path / "checkpoint.pt")
    code, _, errors = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", tmp_path / "checkpoint.pt")
    assert code == 1 and "not weights; give model.safetensors beside it" in errors


def test_a_model_that_does_not_take_the_images_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    save_weights(build_model("squeezenet1_1", classes=10), tmp_path / "w.safetensors", {})
    options = ("--data", "fake", "--image-size", 8, "--weights", tmp_path / "w.safetensors")
    code, _, errors = run(capsys, "evaluate", "--model", "squeezenet1_1", *options)
    assert code == 1 and "squeezenet1_1 does not take the images of fake, 3x8x8: " in errors


def test_corrupted_images_are_measured_beside_the_clean_ones(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    _, shown, _ = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", weights, "--corrupted", "--json")
    found = json.loads(shown)
    rows = found["corrupted"]["top1"]
    assert [*rows["fog"]] == ["1", "2", "3", "4", "5", "mean"] and [*rows] == [*CORRUPTIONS, "mean"]
    assert all(value == pytest.approx(found["top1"]) for row in rows.values() for value in row.values())  # all are 3s


def test_the_corrupted_table_has_a_row_a_corruption(capsys: pytest.CaptureFixture[str], weights: Path) -> None:
    code, shown, _ = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", weights, "--corrupted")
    assert code == 0 and all(f"\n  {name} " in shown for name in (*CORRUPTIONS, "mean"))
    assert "clean: 10.31 %" in shown and "severity 5" in shown and "seed 0" in shown


def test_images_of_a_dataset_cannot_be_corrupted(
    capsys: pytest.CaptureFixture[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_digits.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "def load():\n    part = TensorDataset(torch.rand(10, 1, 8, 8), torch.arange(10))\n    return part, part\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ("--data", "own_digits:load", "--validation", 0, "--corrupted")
    code, _, errors = run(capsys, "evaluate", "--model", "digits_cnn", "--weights", weights, *options)
    assert code == 1 and "a Dataset's images cannot be corrupted" in errors
