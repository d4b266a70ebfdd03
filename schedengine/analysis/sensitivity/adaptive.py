"""Which cells need more images: a cell is done when its drop is known as closely as asked, or is certainly too large.

Only counts go in, so that a sweep can stop anywhere and go on from what it has written down.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy

from schedengine.analysis.sensitivity.bounds import Bounds, Flags, Pairs, drop_bounds
from schedengine.analysis.sensitivity.cells import DENSE, Cell
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.errors import SchedEngineError

FLOOR = 10.0
"""Points; a layer that costs more alone is not pruned so far."""

_CLOSE = 0.96
_BEYOND = 0.9995


class Adaptive:
    """Decides from the counts of a sweep, batch after batch, which of its cells are still wanted.

    A cell's drop is what its top-1 over all images is below that of the dense network, in points. It is done once

    - it is known within ``within``: ``high - low <= 2 * within``, bounds at 96 %; or
    - it is certainly beyond ``floor``: ``low > floor``, bounds at 99.95 %; these are then its bounds; or
    - all images were seen: its bounds are exact, and equal.

    The images must come in a random order, drawn beforehand (one order for all cells will do).

    **How sure.** Of the bounds with which cells are done, 95 % or more hold, although they are looked at after every
    batch. That is found by simulation (``benchmarks/bounds.py coverage``: 1,000 to 50,000 images, 0 to 80 % of them
    differ, drops up to 80 points), not proven; bounds by betting, which are (Waudby-Smith and Ramdas 2020,
    arXiv:2010.09686), take a fifth to a quarter more images at their best. Looking often costs little where it is for a
    width, which says little about the side to which an estimate errs: what 96 has more than 95. Looking for a drop
    beyond the floor stops on what it looks for, hence 99.95. Each cell's bounds hold so often, not those of all cells
    at once; cells that are shown the same images err together.

    Args:
        dense: counts of the dense network on all images.
        within: points, above 0.
        floor: points, 0 or more; 100 for none.

    Raises:
        SchedEngineError: ``within`` or ``floor`` is outside its range.
    """

    def __init__(self, dense: Counts, *, within: float, floor: float = FLOOR) -> None:
        if not 0 < within <= 100:
            raise SchedEngineError(f"within: {within:g} points; a drop can be known within more than 0 and up to 100")
        if not 0 <= floor <= 100:
            raise SchedEngineError(f"floor: {floor:g} points; it is from 0 to 100 (none)")
        self._dense, self._within, self._floor = dense, within, floor

    def wanted(self, counts: Mapping[Cell, Counts]) -> list[Cell]:
        """Those cells that are not done.

        Args:
            counts: of each cell, summed over the batches that it was shown: the first ones, without a gap.
        """
        _, is_done = self._look(counts)
        return [cell for cell, done in zip(counts, is_done.tolist(), strict=True) if not done]

    def bounds(self, counts: Mapping[Cell, Counts]) -> Bounds:
        """Of the drop, a value a cell, in the order of the counts; 0 for a cell that removes nothing.

        Args:
            counts: as in ``wanted``.
        """
        bounds, _ = self._look(counts)
        return bounds

    def _look(self, counts: Mapping[Cell, Counts]) -> tuple[Bounds, Flags]:
        bounds, is_done = decide(Pairs.of(list(counts.values()), self._dense), self._within, self._floor)
        is_dense = numpy.array([cell.key == DENSE for cell in counts], dtype=bool)
        drop, low, high = (numpy.where(is_dense, 0.0, each) for each in (bounds.drop, bounds.low, bounds.high))
        return Bounds(drop, low, high), is_done | is_dense


def decide(pairs: Pairs, within: float, floor: float) -> tuple[Bounds, Flags]:
    """The bounds of cells, and which of them are done, as ``Adaptive`` says.

    Args:
        pairs: what was seen of them.
        within, floor: in points.
    """
    close, sure = drop_bounds(pairs, _CLOSE), drop_bounds(pairs, _BEYOND)
    is_beyond = sure.low > floor
    low, high = numpy.where(is_beyond, sure.low, close.low), numpy.where(is_beyond, sure.high, close.high)
    # A millionth, for the rounding of points. A cell that is not a number is done: more images make it none.
    is_wide = high - low > 2 * within + 1e-6
    return Bounds(close.drop, low, high), is_beyond | ~is_wide
