"""``schedengine check``: its exit code and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from schedengine.cli import app as program
from schedengine.lr.trace import NOTE, Trace
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights

Run = Callable[..., tuple[int, str, str]]
TEXT = """\
version: 2
pruners:
  once: {sparsity: 0.5}
policies:
  - {pruner: once, at: 2}
"""


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Checks a text: exit code, standard output, standard error."""

    def call(text: str, *arguments: object) -> tuple[int, str, str]:
        file = tmp_path / "s.yaml"
        file.write_text(text)
        with pytest.raises(SystemExit) as left:
            program.main(["check", str(file), *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out.replace(str(file), "s.yaml"), err

    return call


def test_a_clean_schedule_is_ok(check: Run) -> None:
    found = check(TEXT, "--model", "digits_cnn", "--epochs", 5)
    assert found == (0, "ok: 1 pruner, 5 epochs\n", "")


def test_an_error_is_shown_with_its_line_and_exits_1(check: Run) -> None:
    code, out, _ = check(TEXT.replace("once: {", "once: {parameters: conv1.weigth, "), "--model", "digits_cnn")
    assert code == 1
    assert out.splitlines()[0].startswith("s.yaml:3:22: error: pruners.once.parameters: 'conv1.weigth' is no parameter")
    assert out.splitlines()[1:3] == [
        "  3 |   once: {parameters: conv1.weigth, sparsity: 0.5}",
        "    |                      ^",
    ]


def test_a_warning_exits_0_and_with_strict_1(check: Run) -> None:
    text = TEXT.replace("at: 2", "at: end")
    code, out, _ = check(text, "--model", "digits_cnn", "--epochs", 5)
    assert (code, out.splitlines()[-1]) == (0, "ok, 1 warning: 1 pruner, 5 epochs")
    assert check(text, "--model", "digits_cnn", "--epochs", 5, "--strict")[0] == 1


def test_notes_are_no_warnings(check: Run) -> None:
    code, out, _ = check(TEXT, "--strict")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["note", "note", "ok"]


def test_json_has_a_mapping_for_each_finding(check: Run) -> None:
    code, out, _ = check(TEXT.replace("0.5", "1.5"), "--json")
    assert code == 1
    assert json.loads(out) == [
        {
            "severity": "error",
            "file": "s.yaml",
            "line": 3,
            "column": 20,
            "path": "pruners.once.sparsity",
            "message": "must be less than 1 (got 1.5)",
        }
    ]


def test_an_unknown_model_is_the_users_mistake(check: Run) -> None:
    code, _, err = check(TEXT, "--model", "digits_cn")
    assert (code, err.splitlines()[0].endswith("did you mean digits_cnn?")) == (1, True)


RETRAINED = """\
version: 2
phases: [{name: retrain, epochs: 2}]
pruners: {once: {sparsity: 0.5}}
lr_schedulers: {retrain: {class: LRW}}
policies: [{pruner: once, at: retrain}, {lr_scheduler: retrain, during: retrain}]
"""


def test_weights_with_a_trace_are_a_dense_training(check: Run, tmp_path: Path) -> None:
    code, out, _ = check(RETRAINED)
    assert code == 1 and "LRW: its rates come from those of a dense training, and none is known" in out
    save_weights(build_model("digits_cnn"), tmp_path / "w.safetensors", {NOTE: Trace([0.1] * 3, 1).to_text()})
    assert check(RETRAINED, "--weights", tmp_path / "w.safetensors")[0] == 0


def test_a_trace_that_is_too_short_is_an_error(check: Run, tmp_path: Path) -> None:
    save_weights(build_model("digits_cnn"), tmp_path / "w.safetensors", {NOTE: Trace([0.1], 1).to_text()})
    code, out, _ = check(RETRAINED, "--weights", tmp_path / "w.safetensors")
    assert code == 1 and "LRW goes back 2 epochs, and the trace of the dense training has 1" in out


@pytest.mark.parametrize(("note", "what"), [(None, "no such file"), ("{}", "trace (lr_trace) is damaged")])
def test_weights_that_cannot_be_read_are_the_users_mistake(
    check: Run, tmp_path: Path, note: str | None, what: str
) -> None:
    if note is not None:
        save_weights(build_model("digits_cnn"), tmp_path / "w.safetensors", {NOTE: note})
    code, _, err = check(RETRAINED, "--weights", tmp_path / "w.safetensors")
    assert code == 1 and what in err and "w.safetensors" in err


def test_a_schedule_is_checked_rescaled(check: Run) -> None:
    text = TEXT.replace("policies", "phases: [{name: all, epochs: 10}]\npolicies")
    assert check(text, "--model", "digits_cnn", "--budget", 20) == (0, "ok: 1 pruner, 20 epochs\n", "")
