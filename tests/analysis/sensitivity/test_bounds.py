"""Bounds of a drop from some of the images, against tail sums and the whole truth."""

from __future__ import annotations

import itertools
from math import comb

import numpy
import pytest

from schedengine.analysis.sensitivity.bounds import Pairs, count_bounds, drop_bounds
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.errors import ModelError


def at_most(hits: int, seen: int, among: int, total: int) -> float:
    ways = sum(comb(among, found) * comb(total - among, seen - found) for found in range(hits + 1))
    return ways / comb(total, seen)


def bounds(hits: int, seen: int, total: int, tail: float = 0.025) -> tuple[int, int]:
    low, high = count_bounds(numpy.array([hits]), numpy.array([seen]), total, tail)
    return int(low[0]), int(high[0])


def pairs(lost: int, won: int, right_seen: int, wrong_seen: int, right: int, wrong: int) -> Pairs:
    cell = Counts(right_seen + wrong_seen, right_seen - lost + won, lost=lost, won=won)
    return Pairs.of([cell], Counts(right + wrong, right))


@pytest.mark.parametrize("seen", [1, 7, 30, 59])
def test_a_bound_is_the_last_number_that_leaves_the_tail(seen: int) -> None:
    for hits in range(seen + 1):
        low, high = bounds(hits, seen, 60)
        possible = range(hits, 60 - seen + hits + 1)
        assert high == max(among for among in possible if at_most(hits, seen, among, 60) > 0.025)
        assert low == min(among for among in possible if 1 - at_most(hits - 1, seen, among, 60) > 0.025)


def test_large_numbers_have_the_tail_too() -> None:
    low, high = bounds(300, 1_000, 2_000)
    assert at_most(300, 1_000, high, 2_000) > 0.025 >= at_most(300, 1_000, high + 1, 2_000)
    assert 1 - at_most(299, 1_000, low, 2_000) > 0.025 >= 1 - at_most(299, 1_000, low - 1, 2_000)


@pytest.mark.parametrize("among", [0, 1, 3, 10, 29, 50])
def test_a_bound_of_a_count_holds_as_often_as_it_says(among: int) -> None:
    held = [among <= bounds(hits, 20, 50)[1] for hits in range(21)]
    chances = [comb(among, hits) * comb(50 - among, 20 - hits) / comb(50, 20) for hits in range(21)]
    assert sum(chance for chance, holds in zip(chances, held) if holds) >= 0.975


def test_nothing_seen_is_nothing_known() -> None:
    assert bounds(0, 0, 60) == (0, 60)
    found = drop_bounds(pairs(0, 0, 0, 0, 80, 20))
    assert (found.low[0], found.high[0]) == (-20.0, 80.0)


def test_all_seen_is_all_known() -> None:
    found = drop_bounds(pairs(31, 7, 880, 120, 880, 120))
    assert (found.drop[0], found.low[0], found.high[0]) == pytest.approx((2.4, 2.4, 2.4), abs=1e-12)


def test_no_loss_among_300_images_is_not_no_loss() -> None:
    # The rule of three, two-sided: 3.69 of 300, a little less because 300 of 10,000 are known.
    found = drop_bounds(pairs(0, 0, 264, 36, 8_800, 1_200))
    assert found.drop[0] == 0
    assert 1.1 < found.high[0] < 1.23
    assert -1.23 < found.low[0] < -1.1


def test_a_network_that_is_never_wrong_leaves_only_losses() -> None:
    found = drop_bounds(pairs(4, 0, 200, 0, 1_000, 0))
    low, high = bounds(4, 200, 1_000)
    assert (found.low[0], found.high[0]) == (low / 10, high / 10)


def test_many_images_come_near_the_normal_bound() -> None:
    # Of 10,000 right 1,000 seen, 200 lost: 1.96 standard errors, with the finite population's correction.
    found = drop_bounds(pairs(200, 0, 1_000, 0, 10_000, 0))
    half = 1.96 * 100 * (0.2 * 0.8 / 1_000 * 0.9) ** 0.5
    assert (found.high[0] - found.low[0]) / 2 == pytest.approx(half, rel=0.03)


def test_bounds_are_closer_the_more_images_are_seen() -> None:
    shares = [drop_bounds(pairs(8 * part, 2 * part, 80 * part, 20 * part, 800, 200)) for part in range(1, 11)]
    widths = [float(found.high[0] - found.low[0]) for found in shares]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 0


def test_more_confidence_is_wider() -> None:
    seen = pairs(20, 5, 880, 120, 8_800, 1_200)
    often, rarely = drop_bounds(seen, 0.999), drop_bounds(seen, 0.9)
    assert often.low[0] < rarely.low[0] < often.drop[0] < rarely.high[0] < often.high[0]


def test_what_the_dense_network_has_right_follows_from_the_counts() -> None:
    # The dense network has 6 of 10 right; the cell loses 2 of them, and has 5 right in all: 4 kept, 1 won.
    found = Pairs.of([Counts(samples=10, top1=5, lost=2, won=1)], Counts(samples=100, top1=60))
    values = (found.lost[0], found.won[0], found.right_seen[0], found.wrong_seen[0], found.right, found.wrong)
    assert values == (2, 1, 6, 4, 60, 40)


def test_a_cell_whose_scores_are_not_numbers_has_no_bounds() -> None:
    cells = [Counts(samples=10, top1=2, lost=1, nonfinite=5), Counts(samples=10, top1=6)]
    found = drop_bounds(Pairs.of(cells, Counts(samples=10, top1=6)))
    assert numpy.isnan([found.drop[0], found.low[0], found.high[0]]).all()
    assert found.drop[1] == 0


def test_a_dense_network_whose_scores_are_not_numbers_is_an_error() -> None:
    with pytest.raises(ModelError, match="not finite on 1 of 10 images"):
        Pairs.of([Counts(10)], Counts(samples=10, nonfinite=1))


@pytest.mark.parametrize("tenths", [1, 5, 9])
@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (3, 4), (10, 0), (10, 10), (60, 3)])
def test_bounds_of_a_subset_hold_in_95_of_100_samples(lost: int, won: int, tenths: int) -> None:
    # All samples there can be of 150 images that the dense network has right, and 50 that it has wrong.
    losses, wins = (draws(among, total * tenths // 10, total) for among, total in ((lost, 150), (won, 50)))
    held = 0.0
    for (losing, chance), (winning, other) in itertools.product(losses, wins):
        found = drop_bounds(pairs(losing, winning, 15 * tenths, 5 * tenths, 150, 50))
        held += chance * other * bool(found.low[0] - 1e-9 <= (lost - won) / 2 <= found.high[0] + 1e-9)
    assert held >= 0.95


def draws(among: int, seen: int, total: int) -> list[tuple[int, float]]:
    return [
        (hits, comb(among, hits) * comb(total - among, seen - hits) / comb(total, seen))
        for hits in range(max(0, seen - (total - among)), min(among, seen) + 1)
    ]


def test_one_image_missing_leaves_its_drop_open() -> None:
    # 999 of 1,000 seen: the last may be lost or not, and all that was seen is still counted.
    found = drop_bounds(pairs(3, 4, 879, 120, 880, 120))
    assert found.low[0] <= -0.1 <= 0.0 <= found.high[0]
