"""Which cells are still wanted, and whether their bounds hold when they are not."""

from __future__ import annotations

import numpy
import pytest

from schedengine.analysis.sensitivity.adaptive import Adaptive, decide
from schedengine.analysis.sensitivity.bounds import Pairs
from schedengine.analysis.sensitivity.cells import Cell
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.errors import SchedEngineError

DENSE = Counts(samples=1_000, top1=880)
"""Of each batch of 50, it has 44 right."""


def cell(key: bytes = b"pruned") -> Cell:
    return Cell("fc.weight", 0.5, 100, 50, key=key)


def adaptive(within: float = 1.0, floor: float = 10.0) -> Adaptive:
    return Adaptive(DENSE, within=within, floor=floor)


def shown(batches: int, lost: int = 0, won: int = 0) -> Counts:
    return Counts(50 * batches, 44 * batches - lost + won, lost=lost, won=won)


def test_a_cell_is_wanted_until_it_is_known() -> None:
    one, sweep = cell(), adaptive(within=2.0)
    is_wanted = [bool(sweep.wanted({one: shown(batches)})) for batches in range(21)]
    first = is_wanted.index(False)
    assert 2 < first < 6
    assert is_wanted == [True] * first + [False] * (21 - first)


def test_a_cell_that_is_done_is_known_as_closely_as_asked() -> None:
    one, sweep = cell(), adaptive(within=1.0)
    counts = next(counts for batches in range(21) if not sweep.wanted({one: (counts := shown(batches, batches))}))
    bounds = sweep.bounds({one: counts})
    assert bounds.high[0] - bounds.low[0] <= 2.0 + 1e-9
    assert bounds.low[0] < 100 / 50 < bounds.high[0]


def test_a_cell_that_loses_half_is_done_at_once() -> None:
    one, sweep = cell(), adaptive(within=0.1, floor=20.0)
    assert not sweep.wanted({one: shown(1, lost=30)})
    assert sweep.bounds({one: shown(1, lost=30)}).low[0] > 20


def test_a_cell_that_may_be_above_the_floor_is_wanted() -> None:
    assert adaptive(within=0.1, floor=20.0).wanted({(one := cell()): shown(1, lost=13)}) == [one]


def test_a_floor_of_100_stops_nothing() -> None:
    assert adaptive(within=0.1, floor=100.0).wanted({(one := cell()): shown(15, lost=300)}) == [one]


def test_all_images_end_everything_exactly() -> None:
    one, sweep = cell(), adaptive(within=0.01)
    counts = {one: shown(20, lost=47, won=12)}
    assert not sweep.wanted(counts)
    bounds = sweep.bounds(counts)
    assert (bounds.drop[0], bounds.low[0], bounds.high[0]) == pytest.approx((3.5, 3.5, 3.5))


def test_cells_are_judged_each_on_its_own_images() -> None:
    early, late = cell(), cell()
    bounds = adaptive().bounds({early: shown(2, lost=60), late: shown(20, lost=60)})
    assert bounds.high[0] > bounds.low[0] > 10
    assert bounds.high[1] == bounds.low[1] == 6.0


def test_a_cell_that_removes_nothing_is_known_without_an_image() -> None:
    one, sweep = cell(key=b""), adaptive()
    assert not sweep.wanted({one: Counts()})
    assert sweep.bounds({one: Counts()}).high[0] == 0


def test_a_cell_whose_scores_are_not_numbers_is_not_wanted() -> None:
    one, sweep = cell(), adaptive()
    counts = {one: Counts(50, 30, lost=10, nonfinite=3)}
    assert not sweep.wanted(counts)
    assert numpy.isnan(sweep.bounds(counts).low[0])


@pytest.mark.parametrize("within", [0.0, -1.0, 101.0, float("nan")])
def test_a_width_outside_its_range_is_refused(within: float) -> None:
    with pytest.raises(SchedEngineError, match="within: .* points; a drop can be known within"):
        adaptive(within=within)


def test_a_floor_outside_its_range_is_refused() -> None:
    with pytest.raises(SchedEngineError, match="floor: -1 points"):
        adaptive(floor=-1)


@pytest.mark.parametrize(("lost", "won"), [(2, 0), (5, 3), (25, 15), (60, 10), (100, 0), (105, 5), (130, 30), (600, 5)])
def test_bounds_hold_although_every_batch_is_looked_at(lost: int, won: int) -> None:
    # The floor is where it does most harm: at the drop of two of these.
    bounds = stopped(numpy.random.default_rng(1), lost, won, cells=1_500)
    drop = (lost - won) / 10
    # Three standard errors of 1,500 trials below 95 %.
    assert ((bounds[0] <= drop + 1e-9) & (drop <= bounds[1] + 1e-9)).mean() > 0.933


def stopped(random: numpy.random.Generator, lost: int, won: int, cells: int) -> numpy.ndarray[tuple[int, int]]:
    """Bounds (2, cells) with which so many cells that lose and win as much, shown different images, are done."""
    seen, found = numpy.zeros((2, cells), dtype=int), numpy.full((2, cells), numpy.nan)
    for batch in range(20):
        for kind, (events, size, total) in enumerate(((lost, 44, 880), (won, 6, 120))):
            rest = total - size * batch - events + seen[kind]
            seen[kind] += random.hypergeometric(events - seen[kind], rest, size)
        sizes = [numpy.full(cells, size * (batch + 1)) for size in (44, 6)]
        pairs = Pairs(seen[0], seen[1], sizes[0], sizes[1], 880, 120, numpy.zeros(cells, dtype=bool))
        bounds, is_done = decide(pairs, 1.0, 10.0)
        is_first = is_done & numpy.isnan(found[0])
        found[:, is_first] = numpy.stack([bounds.low, bounds.high])[:, is_first]
    return found
