"""Tables for the terminal, and the same as JSON. The only module that draws with rich."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schedengine.reports.strips import ASCII, BLOCKS

_WIDE = 200
_PLAIN = str.maketrans({**dict(zip(BLOCKS, ASCII)), "·": ".", "±": "+-"})


def show_table(
    title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], note: str = "", *, text: Collection[str] = ()
) -> None:
    """Print a table to standard output.

    Args:
        title: what it is about.
        headers: one a column.
        rows: cells, already formatted; printed as they are, whatever they hold, as far as the terminal can write it.
        note: lines below that say what the numbers count.
        text: headers of the columns of words, beside the first one; the others are numbers, and stand to the right.
    """
    table = Table(title=Text(writable(title)), box=box.SIMPLE_HEAD, title_justify="left")
    for number, header in enumerate(headers):
        side: Literal["left", "right"] = "left" if number == 0 or header in text else "right"
        table.add_column(Text(writable(header)), justify=side, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(writable(cell)) for cell in row))
    console = Console(highlight=False)
    # A pipe has no width, and a terminal may be narrower than the table, which would cut off numbers.
    needed = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    console.width = max(needed, console.width if console.is_terminal else _WIDE)
    console.print(table)
    if note:
        console.print(writable(note), style="dim", markup=False, soft_wrap=True)


def writable(text: str) -> str:
    """The text in characters that standard output can write; what has no likeness there is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def percent(value: float | None, digits: int = 2) -> str:
    """A value in [0, 100].

    Example:
        >>> percent(97.125), percent(None)
        ('97.12 %', '-')
    """
    return "-" if _is_unknown(value) else f"{value:.{digits}f} %"


def fraction(value: float | None) -> str:
    """A sparsity in [0, 1].

    Example:
        >>> fraction(0.9), fraction(float("nan"))
        ('0.9000', '-')
    """
    return "-" if _is_unknown(value) else f"{value:.4f}"


def count(value: float | None) -> str:
    """A number of things.

    Example:
        >>> count(25557032), count(None)
        ('25,557,032', '-')
    """
    return "-" if value is None or _is_unknown(value) else f"{round(value):,}"


def _is_unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def to_json(value: Any) -> str:
    """JSON of plain values and DataFrames (a list of rows); what is not a finite number is null.

    Example:
        >>> print(to_json({"sparsity": float("nan")}))
        {
          "sparsity": null
        }
    """
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    elif hasattr(value, "item") and not hasattr(value, "__len__"):  # a number of numpy's
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    is_missing = type(value).__name__ == "NAType" or (isinstance(value, float) and not math.isfinite(value))
    return None if is_missing else value
