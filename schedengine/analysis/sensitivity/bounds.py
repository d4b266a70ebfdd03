"""How much a cell loses on all images, when it was shown some of them: an estimate and two bounds.

The dense network has been shown all of them. So the images fall into two populations of known size, those that it has
right and those that it has wrong, and of each a part was drawn without replacement: what a cell lost is a count in the
first, what it won a count in the second, and the two are independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray

from schedengine.analysis.sensitivity.counts import Counts
from schedengine.errors import ModelError

Integers = NDArray[numpy.int64]
Floats = NDArray[numpy.float64]
Flags = NDArray[numpy.bool_]

CONFIDENCE = 0.95
"""Of bounds whose number of images was fixed beforehand."""


@dataclass(frozen=True)
class Pairs:
    """What was seen of cells beside the dense network, image by image; arrays of one shape, a value a cell.

    Args:
        lost: images seen that the dense network has right and the cell has wrong.
        won: images seen that are the other way round.
        right_seen, wrong_seen: images seen that the dense network has right, and wrong.
        right, wrong: of all images.
        is_unknown: cells with a score that is not finite, which have no accuracy; their counts are not looked at.
    """

    lost: Integers
    won: Integers
    right_seen: Integers
    wrong_seen: Integers
    right: int
    wrong: int
    is_unknown: Flags

    @staticmethod
    def of(cells: Sequence[Counts], dense: Counts) -> Pairs:
        """From counts.

        Args:
            cells: of each cell, on the images that it was shown.
            dense: of the dense network on all images.

        Raises:
            ModelError: a score of the dense network is not finite.
        """
        if dense.nonfinite:
            raise ModelError(
                f"the dense network's scores are not finite on {dense.nonfinite:,} of {dense.samples:,} images: "
                "it has no accuracy that a cell could be compared with"
            )
        known = [Counts() if one.nonfinite else one for one in cells]
        samples, top1, lost, won = (_column(known, name) for name in ("samples", "top1", "lost", "won"))
        right, is_unknown = top1 + lost - won, _column(cells, "nonfinite") > 0
        return Pairs(lost, won, right, samples - right, dense.top1, dense.samples - dense.top1, is_unknown)


@dataclass(frozen=True)
class Bounds:
    """Of the drop of cells against the dense network over all images, in points of accuracy; a value a cell.

    Top-1 over all images is that of the dense network, which is known, less the drop; its bounds follow.

    Args:
        drop: estimate; negative where the cell is better.
        low, high: bounds; equal to it where all images were seen.

    All three are nan for a cell with a score that is not finite.
    """

    drop: Floats
    low: Floats
    high: Floats


def drop_bounds(pairs: Pairs, confidence: float = CONFIDENCE) -> Bounds:
    """Bound the drop over all images.

    The bounds of the lost and of the won are exact (``count_bounds``); those of the difference put them together as
    variances add (MOVER): ``high = d + sqrt((lost.high - lost)**2 + (won - won.low)**2)``, and ``low`` likewise. A
    count that was never seen keeps its upper bound (3.7 images of those seen, at 95 %), so nothing is certain early.

    For a number of images fixed beforehand, the probability that both hold, summed over all samples
    (``benchmarks/bounds.py subset``: 1,000 and 10,000 images, 2 to 99 % of them seen, up to 500 lost and 200 won), is
    the confidence or more in 2,609 of 2,610 cases, at 95 %; in the other, 94.2 %. It is proven where a count is known.

    Args:
        pairs: what was seen.
        confidence: probability that both bounds hold, [0.5, 1).

    Reference:
        G. Y. Zou, A. Donner (2008), Construction of confidence limits about effect measures: a general approach,
        Statistics in Medicine 27. There for infinite populations; here the limits put together are hypergeometric.
    """
    tail = (1 - confidence) / 2
    lost, lost_below, lost_above = _spread(pairs.lost, pairs.right_seen, pairs.right, tail)
    won, won_below, won_above = _spread(pairs.won, pairs.wrong_seen, pairs.wrong, tail)
    drop, images = lost - won, pairs.right + pairs.wrong
    # Outwards to whole images, which a drop is: where few images are missing, an estimate between two numbers of images
    # would leave out the next one. The small term is for the rounding of the roots.
    low = numpy.floor(drop - numpy.hypot(lost_below, won_above) + 1e-6)
    high = numpy.ceil(drop + numpy.hypot(lost_above, won_below) - 1e-6)
    return Bounds(*(numpy.where(pairs.is_unknown, math.nan, 100.0 * each / images) for each in (drop, low, high)))


def count_bounds(hits: Integers, seen: Integers, total: int, tail: float) -> tuple[Integers, Integers]:
    """Exact bounds of how many of a population are hits, from a sample drawn without replacement.

    ``low`` is the least number that leaves more than ``tail`` to seeing ``hits`` or more, ``high`` the largest that
    leaves more to seeing as many or fewer; each holds with probability 1 - tail at least, whatever the number is.

    Args:
        hits: in the sample, [0, seen].
        seen: size of the sample, [0, total].
        total: size of the population.
        tail: probability that a bound does not hold, (0, 0.5).

    Reference:
        H. S. Konijn (1973), Statistical Theory of Sample Survey Design and Analysis: the limits of Clopper and Pearson
        (1934) for a finite population.
    """
    distinct, back = numpy.unique(numpy.stack([hits, seen]), axis=1, return_inverse=True)
    hits, seen = distinct
    high = _highest(hits, seen, total, tail)
    low = total - _highest(seen - hits, seen, total, tail)
    return low[back], high[back]


def _spread(hits: Integers, seen: Integers, total: int, tail: float) -> tuple[Floats, Floats, Floats]:
    """An estimate of how many are hits, and how far below and above it the bounds are."""
    estimate = hits * total / numpy.maximum(seen, 1)
    low, high = count_bounds(hits, seen, total, tail)
    return estimate, numpy.maximum(estimate - low, 0), numpy.maximum(high - estimate, 0)


def _highest(hits: Integers, seen: Integers, total: int, tail: float) -> Integers:
    """By bisection; the probability of seeing few falls as there are more."""
    high = total - seen + hits
    low = numpy.minimum(hits * total // numpy.maximum(seen, 1), high)
    while (low < high).any():
        middle = (low + high + 1) // 2
        is_likely = _at_most(hits, seen, middle, total) > tail
        low, high = numpy.where(is_likely, middle, low), numpy.where(is_likely, high, middle - 1)
        high = numpy.maximum(low, high)
    return numpy.asarray(low)


def _at_most(hits: Integers, seen: Integers, among: Integers, total: int) -> Floats:
    """Hypergeometric: the probability of ``hits`` or fewer in the sample, given how many there are ``among`` the total,
    which is the expected number or more: the terms far below ``hits`` are then too small to count."""
    most = int(hits.max())
    found = hits[:, None] - numpy.arange(min(most, 40 + math.isqrt(49 * most)) + 1)
    seen, among = seen[:, None], among[:, None]
    is_possible = (found >= 0) & (found <= among) & (seen - found <= total - among)
    found = numpy.where(is_possible, found, numpy.maximum(0, seen - (total - among)))
    logs = _log_ways(total, among, found) + _log_ways(total, total - among, seen - found)
    terms = numpy.exp(numpy.where(is_possible, logs - _log_ways(total, total, seen), -math.inf))
    return numpy.asarray(terms.sum(1))


def _log_ways(total: int, of: Integers | int, chosen: Integers) -> Floats:
    """Log of the binomial coefficient; ``total`` is the largest of all numbers."""
    logs = _log_factorials(total)
    return numpy.asarray(logs[of] - logs[chosen] - logs[of - chosen])


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> Floats:
    return numpy.concatenate([[0.0], numpy.log(numpy.arange(1, most + 1)).cumsum()])


def _column(counts: Sequence[Counts], name: str) -> Integers:
    return numpy.array([getattr(one, name) for one in counts], dtype=numpy.int64)
