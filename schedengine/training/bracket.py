"""Where to turn a knob next, so that the sparsity that comes out is the one asked: ends first, then between."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schedengine.schedule.knobs import Knob

_LEAST = 1e-12
"""A density that counts as none."""
_DIGITS = 4
_MARGIN = 0.1
"""Share of a bracket at its ends that interpolation stays out of: a curve that bends would hardly move one end."""


Known = tuple[float, float]
"""A value on the knob's axis, and the sparsity that came out."""


@dataclass(frozen=True)
class Point:
    """A value that was tried.

    Args:
        value: of the knob.
        sparsity: that came out, in [0, 1]; None where the training came to nothing.
    """

    value: float
    sparsity: float | None


def miss(sparsity: float, target: float) -> float:
    """How far a sparsity is from the target, as a factor of the density: log((1 - sparsity) / (1 - target)).

    Args:
        sparsity: in [0, 1].
        target: in (0, 1).

    Returns:
        Above 0 where too much is left. 0.8 and 0.95 are as far from 0.9: twice and half the density.
    """
    return math.log(max(1 - sparsity, _LEAST) / (1 - target))


def next_value(points: Sequence[Point], knob: Knob, target: float) -> float | None:
    """The value to try next.

    First the ends of the range, then the middle; then between those neighbours that enclose the target, where the curve
    through them and the point nearest to the target meets it: the knob as a polynomial of log(sparsity / density)
    (inverse quadratic interpolation, as in Brent, 1973, Algorithms for Minimization without Derivatives). The middle
    again where they say nothing of the way between (all or nothing was pruned), or three trials in a row missed to the
    same side.

    Args:
        points: tried so far, in order of time.

    Returns:
        Four digits of it; None where no two neighbours enclose the target, or nothing is left between them.
    """
    tried = {point.value for point in points}
    for end in (knob.low, knob.high):
        if end not in tried:
            return end
    known = [(knob.scaled(point.value), point.sparsity) for point in points if point.sparsity is not None]
    pair = _bracket(sorted(known), target)
    if pair is None:
        return None
    (low, here), (high, there) = pair
    is_open = {here, there} & {0.0, 1.0} or len(known) == 2 or _stagnates([one for _, one in known], target)
    value = float(f"{knob.value((low + high) / 2 if is_open else _meeting(known, pair, target)):.{_DIGITS}g}")
    return value if low < knob.scaled(value) < high and value not in tried else None


def _bracket(known: Sequence[Known], target: float) -> tuple[Known, Known] | None:
    """Of the neighbours that enclose the target, those nearest to it."""
    pairs = [(one, other) for one, other in itertools.pairwise(known) if (one[1] < target) != (other[1] < target)]
    return min(pairs, key=lambda pair: max(abs(miss(one[1], target)) for one in pair), default=None)


def _meeting(known: Sequence[Known], pair: tuple[Known, Known], target: float) -> float:
    """Where between two neighbours the target is met."""
    points = {_odds(sparsity) - _odds(target): scaled for scaled, sparsity in pair}
    others = {_odds(sparsity) - _odds(target): scaled for scaled, sparsity in known if 0 < sparsity < 1}
    nearest = min((one for one in others if one not in points), key=abs, default=None)
    low, high = pair[0][0], pair[1][0]
    margin = _MARGIN * (high - low)
    if nearest is not None:
        curved = _at_zero({**points, nearest: others[nearest]})
        if low + margin <= curved <= high - margin:
            return curved
    return min(max(_at_zero(points), low + margin), high - margin)


def _odds(sparsity: float) -> float:
    return math.log(sparsity / (1 - sparsity))


def _at_zero(points: Mapping[float, float]) -> float:
    """The polynomial through points, of their keys, at 0 (Lagrange)."""
    return sum(
        value * math.prod(-other / (one - other) for other in points if other != one) for one, value in points.items()
    )


def _stagnates(sparsities: Sequence[float], target: float) -> bool:
    """Whether the last three trials between the ends missed to the same side."""
    last = [sparsity < target for sparsity in sparsities[2:]][-3:]
    return len(last) == 3 and len(set(last)) == 1
