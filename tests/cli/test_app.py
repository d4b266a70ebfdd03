"""The program: exit codes, messages, and how soon it answers."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from schedengine.cli import app as program
from schedengine.errors import EffectWarning, Mark, Problem, SchedEngineError, ScheduleError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            program.main([str(argument) for argument in arguments])
        return (int(left.value.code or 0), *capsys.readouterr())

    return call


def test_help_names_the_commands_and_imports_no_torch() -> None:
    code = (
        "import sys; from schedengine.cli.app import main\n"
        "try: main(['--help'])\nfinally: print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(command in shown for command in ("train", "evaluate", "schema"))
    assert shown.splitlines()[-1] == "False"


def test_the_package_runs_as_a_module() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "schedengine", "--version"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith("schedengine ")


def test_an_unknown_option_is_wrong_usage(run: Run) -> None:
    assert run("train", "--no-such-option")[0] == 2


def test_a_users_mistake_is_one_message_and_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise SchedEngineError("weights: no such file")

    monkeypatch.setattr(program, "app", fails)
    assert run() == (1, "", "error: weights: no such file\n")


def test_each_problem_of_a_schedule_is_shown_with_its_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text("pruners:\n  a: {b: 1}\n")

    def fails(**_: object) -> None:
        raise ScheduleError([Problem("wrong", "pruners.a", Mark("s.yaml", 2, 6)), Problem("also wrong")])

    monkeypatch.setattr(program, "app", fails)
    shown = ["s.yaml:2:6: error: pruners.a: wrong", "  2 |   a: {b: 1}", "    |      ^", "error: also wrong"]
    assert run()[2].splitlines() == shown


def test_our_warnings_are_lines_on_standard_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def warns(**_: object) -> None:
        for _time in range(2):
            warnings.warn("pruner 'a' removed nothing", EffectWarning, stacklevel=1)

    monkeypatch.setattr(program, "app", warns)
    assert run() == (0, "", "warning: pruner 'a' removed nothing\n" * 2)


def test_a_bug_of_ours_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(program, "app", breaks)
    with pytest.raises(ZeroDivisionError):
        program.main([])
