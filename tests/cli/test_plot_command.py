"""``schedengine plot``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import result, write_replicas, write_run

from schedengine.cli.app import main

Program = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Program:
    """Runs the program: exit code, standard output, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        return (int(left.value.code or 0), *capsys.readouterr())

    return call


def test_a_run_gets_its_overview_in_its_own_folder(run: Program, tmp_path: Path) -> None:
    path = write_run(tmp_path / "r", [80, 90], result=result(90, 91, 89))
    assert run("plot", path) == (0, f"written: {path / 'plot.png'}\n", "")
    assert (path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_several_runs_are_drawn_here_and_the_unfinished_is_named(
    run: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a", [80, 90], result=result(90, 91, 89))
    write_run(tmp_path / "b", [80], seed=1)
    assert run("plot", "a", "b") == (0, "written: plot.png\n", "b: not finished, 1 epoch so far\n")


def test_columns_and_labels_are_the_users(run: Program, tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, [80, 90], schedule=name) for name in "ab"]
    options = ("--x", "seconds", "--y", "top1", "--label", "slow", "--label", "fast", "--out", tmp_path / "p.svg")
    assert run("plot", *paths, *options)[0] == 0
    text = (tmp_path / "p.svg").read_text()
    assert ">time (s)<" in text and ">validation top-1 (%)<" in text and ">slow<" in text


def test_an_unknown_column_is_one_line(run: Program, tmp_path: Path) -> None:
    code, _, errors = run("plot", write_run(tmp_path / "r", [80]), "--y", "top2")
    assert code == 1 and errors.splitlines()[-1].startswith("error: no column 'top2'; did you mean top")


def test_what_is_drawn_upwards_must_be_said(run: Program, tmp_path: Path) -> None:
    assert run("plot", write_run(tmp_path / "r", [80]), "--x", "epoch")[0] == 2


def test_a_kind_of_picture_that_there_is_not_is_refused_before_reading(run: Program, tmp_path: Path) -> None:
    code, _, errors = run("plot", tmp_path / "nothing", "--out", "p.gif")
    assert code == 1 and "pictures end in" in errors


def test_replicas_are_drawn_with_their_average(run: Program, tmp_path: Path) -> None:
    path = write_replicas(tmp_path / "r")
    for options in ((), ("--y", "top1")):
        code, _, errors = run("plot", path, *options, "--out", tmp_path / "p.svg")
        assert code == 0 and "10 epochs so far, those of every replica counted" in errors
        assert ">average of replicas (soup)<" in (tmp_path / "p.svg").read_text()
