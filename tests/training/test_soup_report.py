"""What a run says of an average and of its candidates."""

from __future__ import annotations

import json

import pytest

from schedengine.training.evaluate import Evaluation
from schedengine.training.scores import Scores
from schedengine.training.soup_report import SoupScores


def scores(validation: float | None, test: float) -> Scores:
    measured = None if validation is None else Evaluation(0.5, validation, 99.0, 100)
    return {"validation": measured, "test": Evaluation(0.5, test, 99.0, 200)}


def soup(*candidates: Scores) -> SoupScores:
    return SoupScores("cycle-2", "cycle", 7, (0, 1), 0.63, candidates, scores(95.0, 93.0))


def test_the_mean_is_that_of_all_candidates() -> None:
    found = soup(scores(90.0, 80.0), scores(91.0, 84.0), scores(95.0, 85.0))
    assert found.mean("validation") == 92.0 and found.mean("test") == 83.0


def test_the_best_is_chosen_on_validation_whatever_it_scores_on_test() -> None:
    found = soup(scores(90.0, 99.0), scores(91.0, 84.0), scores(91.0, 98.0))
    assert found.best("validation") == 91.0 and found.best("test") == 84.0


def test_without_validation_there_is_no_best() -> None:
    found = soup(scores(None, 80.0), scores(None, 84.0))
    assert found.mean("validation") is None and found.best("test") is None
    assert found.mean("test") == pytest.approx(82.0)


def test_it_comes_back_from_a_file_as_it_was() -> None:
    found = soup(scores(90.0, 80.0), scores(None, 84.0))
    assert SoupScores.from_plain(json.loads(json.dumps(found.plain()))) == found
