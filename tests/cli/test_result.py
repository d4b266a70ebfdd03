"""The table of averages at the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedengine.cli.result import show_result
from schedengine.training.evaluate import Evaluation
from schedengine.training.report import Report
from schedengine.training.scores import Scores
from schedengine.training.soup_report import SoupScores


def scores(validation: float | None, test: float) -> Scores:
    return {
        "validation": None if validation is None else Evaluation(0.5, validation, 99.0, 100),
        "test": Evaluation(0.5, test, 99.0, 200),
    }


def shown(capsys: pytest.CaptureFixture[str], *soups: SoupScores) -> list[list[str]]:
    """Lines as words."""
    report = Report(4, (), 0.5, 0.5, 100, None, "", scores(95.0, 94.0), None, soups=soups)
    show_result(report, Path("run"))
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_soup_stands_beside_the_mean_and_the_best_of_its_candidates(capsys: pytest.CaptureFixture[str]) -> None:
    candidates = (scores(90.0, 93.5), scores(92.0, 93.0), scores(91.0, 92.5))
    lines = shown(capsys, SoupScores("cycle-2", "cycle", 3, (0, 1), 0.5, candidates, scores(95.0, 94.0)))
    numbers = "91.00 92.00 95.00 93.00 93.00 94.00 +1.00 +1.00"
    assert f"cycle-2 3 2 of 3 0.5000 {numbers}".split() in lines
    assert any("run/soups/cycle-2`" in words for words in lines)


def test_without_validation_there_are_no_columns_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    candidates = (scores(None, 93.0), scores(None, 92.0))
    lines = shown(capsys, SoupScores("cycle-1", "cycle", 3, (0, 1), 0.5, candidates, scores(None, 94.0)))
    numbers = "92.50 94.00 +1.50"
    assert f"cycle-1 3 2 of 2 0.5000 {numbers}".split() in lines


def test_a_run_without_averages_has_no_table_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert ["Soups"] not in shown(capsys)
