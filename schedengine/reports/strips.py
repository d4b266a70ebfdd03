"""Curves as one line of text each, for a terminal."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
ASCII = " .:-=+*#@"


def strip(values: Sequence[float], *, top: float | None = None, blocks: str = BLOCKS) -> str:
    """A character a value, higher for larger ones; only 0 is blank, and what is not known is ``?``.

    Args:
        values: 0 or more; nan for not known.
        top: what fills a character; None for the largest value.
        blocks: characters from empty to full.

    Example:
        >>> strip([0, 0.25, 0.5, 1.0])
        ' ▂▄█'
    """
    known = [value for value in values if math.isfinite(value)]
    most = max(known, default=0.0) if top is None else top
    return "".join(_block(value, most, blocks) for value in values)


def _block(value: float, most: float, blocks: str) -> str:
    if not math.isfinite(value):
        return "?"
    if value <= 0 or most <= 0:
        return blocks[0]
    full = len(blocks) - 1
    return blocks[max(1, min(full, math.ceil(value / most * full - 1e-9)))]


def segments(bands: Sequence[tuple[str, int, int]], length: int, width: int) -> str:
    """Stretches of time as one line: each begins with a bar and its name, cut off where it ends.

    Args:
        bands: name, start and end (exclusive), in order, without overlap.
        length: of the whole.
        width: characters.

    Example:
        >>> segments([("dense", 0, 5), ("cycle", 5, 10)], 10, 16)
        '|dense··|cycle··'
    """
    line = [" "] * width
    for name, start, stop in bands:
        first, last = round(start * width / length), round(stop * width / length)
        text = f"|{name}".ljust(last - first, "·")[: last - first]
        line[first:last] = text
    return "".join(line)


def sample(points: Sequence[tuple[float, float]], length: float, width: int) -> list[float]:
    """What holds at the ends of ``width`` equal stretches of [0, ``length``).

    Args:
        points: time and value, in order of time; a value holds until the next one, and before the first it is 0.

    Example:
        >>> sample([(1.0, 0.5), (2.0, 0.8)], 4, 4)
        [0.0, 0.5, 0.8, 0.8]
    """
    times = [time for time, _ in points]
    ends = ((column + 1) * length / width for column in range(width))
    reached = (bisect_left(times, end - 1e-9) for end in ends)
    return [points[number - 1][1] if number else 0.0 for number in reached]
