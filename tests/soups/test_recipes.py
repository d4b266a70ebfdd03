"""Which candidates are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedengine import SchedEngineError
from schedengine.soups.recipes import Greedy, Uniform


def test_a_uniform_soup_is_of_all_and_asks_for_no_score() -> None:
    assert Uniform().choose(3, lambda some: pytest.fail("asked")) == [0, 1, 2]


def table(scores: dict[tuple[int, ...], float], metric: str = "top1"):  # type: ignore[no-untyped-def]
    return lambda some: {metric: scores[tuple(some)]}


def test_a_greedy_soup_adds_the_next_best_while_the_average_is_no_worse() -> None:
    scores = {(0,): 70.0, (1,): 80.0, (2,): 75.0, (1, 2): 81.0, (0, 1, 2): 80.9}
    assert Greedy().choose(3, table(scores)) == [1, 2]


def test_of_a_loss_less_is_better() -> None:
    scores = {(0,): 0.5, (1,): 0.4, (0, 1): 0.4}
    assert Greedy("loss").choose(2, table(scores, "loss")) == [0, 1]


def test_of_equal_candidates_the_first_begins() -> None:
    assert Greedy().choose(2, table({(0,): 70.0, (1,): 70.0, (0, 1): 60.0})) == [0]


def test_an_evaluation_without_the_metric_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="goes by 'top1' of the evaluation, .*; got loss"):
        Greedy().choose(2, lambda some: {"loss": 1.0})
    with pytest.raises(SchedEngineError, match=r"goes by 'loss' of the evaluation, .*{'loss': 0.5}; got 0.7"):
        Greedy("loss").check(0.7)


def test_a_candidate_that_diverged_is_the_worst() -> None:
    scores = {(0,): nan, (1,): 0.4, (0, 1): nan}
    assert Greedy("loss").choose(2, table(scores, "loss")) == [1]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_a_greedy_soup_is_never_worse_than_its_best_candidate(alone: list[float], random) -> None:  # type: ignore[no-untyped-def]
    scores: dict[tuple[int, ...], float] = {(number,): worth for number, worth in enumerate(alone)}

    def score(some: Sequence[int]) -> dict[str, float]:
        return {"top1": scores.setdefault(tuple(some), random.uniform(0, 100))}

    assert scores[tuple(Greedy().choose(len(alone), score))] >= max(alone)
