"""Tables for the terminal. The only module that draws with rich."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

_WIDE = 200


def show_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> None:
    """Print a table to standard output; the first column is text, the others are numbers.

    Args:
        title: what it is about.
        headers: one a column.
        rows: cells, already formatted.
        note: a line below that says what the numbers count.
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for number, header in enumerate(headers):
        table.add_column(header, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # A pipe has no width; a table that is cut off there would lose numbers.
    width = None if Console().is_terminal else _WIDE
    console = Console(highlight=False, width=width)
    console.print(table)
    if note:
        console.print(note, style="dim", markup=False, soft_wrap=True)


def percent(value: float | None, digits: int = 2) -> str:
    """A value in [0, 100].

    Example:
        >>> percent(97.125), percent(None)
        ('97.12 %', '-')
    """
    return "-" if value is None else f"{value:.{digits}f} %"


def fraction(value: float | None) -> str:
    """A sparsity in [0, 1].

    Example:
        >>> fraction(0.9)
        '0.9000'
    """
    return "-" if value is None else f"{value:.4f}"
