"""The sparsities that a sweep tries."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation

from schedengine.errors import SchedEngineError

_MOST = 1000
_RIGHT = "write numbers in [0, 1) and ranges start:stop:step (the stop is included), as in 0:0.95:0.05 or 0,0.5,0.9"


def parse_levels(levels: str | float | Iterable[float]) -> tuple[float, ...]:
    """The levels that a user asks for, ascending, each once.

    Args:
        levels: ``start:stop:step``, numbers with commas between them, both mixed; or a number or numbers. A range is
            counted in decimal arithmetic and includes its stop where a step meets it.

    Returns:
        fractions removed, in [0, 1).

    Raises:
        SchedEngineError: not such a text, a level outside [0, 1), a step that leads nowhere, or more than 1000 levels.

    Example:
        >>> parse_levels("0:0.15:0.05,0.9")
        (0.0, 0.05, 0.1, 0.15, 0.9)
    """
    if isinstance(levels, str):
        found = [level for part in levels.split(",") for level in _read(part.strip(), levels)]
    else:
        given = [levels] if isinstance(levels, (int, float)) else list(levels)
        # What numpy.arange makes of 0.15 is 0.15000000000000002.
        found = [round(float(level), 12) for level in given]
    wrong = [level for level in found if not 0 <= level < 1]
    if wrong:
        raise SchedEngineError(f"levels: {wrong[0]:g} is outside [0, 1); a level is the fraction that is removed")
    if not found:
        raise SchedEngineError(f"levels: none given; {_RIGHT}")
    return tuple(sorted(set(found)))


def _read(part: str, text: str) -> list[float]:
    try:
        numbers = [Decimal(word) for word in part.split(":")]
    except InvalidOperation:
        numbers = []
    if len(numbers) not in (1, 3) or not all(number.is_finite() for number in numbers):
        raise SchedEngineError(f"levels: cannot read {part!r} in {text!r}; {_RIGHT}")
    return [float(numbers[0])] if len(numbers) == 1 else _range(part, *numbers)


def _range(part: str, start: Decimal, stop: Decimal, step: Decimal) -> list[float]:
    if step <= 0 or start > stop:
        raise SchedEngineError(f"levels: {part!r} has no levels; the step is above 0 and the stop not below the start")
    count = int((stop - start) / step) + 1
    if count > _MOST:
        raise SchedEngineError(f"levels: {part!r} gives {count:,} levels; at most {_MOST:,} are measured")
    return [float(start + number * step) for number in range(count)]
