"""The best choice for every amount, against all choices tried."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedengine.analysis.sensitivity.knapsack import Choices, Frontier


def choices(gains: list[float], costs: list[float]) -> Choices:
    return Choices(np.array(gains, dtype=float), np.array(costs, dtype=float))


def test_a_target_between_the_corners_of_the_hull_is_met_exactly() -> None:
    # Of 0, 3 or 10 and 0 or 4: 7 costs 2 + 2; a Lagrangian sees only 10 for 5.
    frontier = Frontier([choices([0, 3, 10], [0, 2, 5]), choices([0, 4], [0, 2])])
    assert frontier.at_least(7) == [1, 1] and frontier.costs[7] == 4
    assert frontier.at_least(8) == [2, 0] and frontier.costs[8] == 5


def test_nothing_is_removed_for_nothing() -> None:
    assert Frontier([choices([0, 5], [0, 1]), choices([0, 2], [0, 3])]).at_least(0) == [0, 0]


def test_what_is_zero_already_counts() -> None:
    assert Frontier([choices([3, 5], [0, 1]), choices([0, 4], [0, 9])]).at_least(3) == [0, 0]


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match="9 is more than can be removed, 5"):
        Frontier([choices([0, 5], [0, 1])]).at_least(9)


def test_coarse_units_still_remove_at_least_what_is_asked() -> None:
    frontier = Frontier([choices([0, 333, 1000], [0, 1, 4]), choices([0, 777], [0, 2])], units=10)
    chosen = frontier.at_least(900)
    assert [0, 333, 1000][chosen[0]] + [0, 777][chosen[1]] >= 900


OFFERS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 20)), min_size=1, max_size=4)


@given(st.lists(OFFERS, min_size=1, max_size=4), st.data())
def test_no_choice_of_all_is_cheaper(offers: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    offers = [[(0, 0), *one] for one in offers]
    frontier = Frontier([choices([gain for gain, _ in one], [cost for _, cost in one]) for one in offers])
    amount = data.draw(st.integers(0, int(frontier.most)))
    best = min(sum(cost for _, cost in tried) for tried in itertools.product(*offers)
               if sum(gain for gain, _ in tried) >= amount)  # fmt: skip
    chosen = [one[place] for one, place in zip(offers, frontier.at_least(amount))]
    assert sum(gain for gain, _ in chosen) >= amount
    assert sum(cost for _, cost in chosen) == frontier.costs[amount] == best
