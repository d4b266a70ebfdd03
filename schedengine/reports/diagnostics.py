"""Problems as a compiler shows them: where, how grave, what; the line of the source, and a caret under the place."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from schedengine.errors import Mark, Problem

WIDTH = 100
"""Columns of a source line that are shown; a longer line is cut around the caret."""
MAX_BYTES = 1_000_000
_TAB = " " * 4
_CUT = "..."
_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # those of YAML, which marks count by; splitlines() has more


def render(problem: Problem, severity: str = "error", *, text: str | None = None) -> str:
    """A problem in one to three lines.

    Args:
        problem: with a mark or without.
        severity: error, warning or note.
        text: of the source; None reads the file that the mark names, if there is one.

    Example:
        >>> print(render(Problem("must be less than 1 (got 2)", "to", Mark("s.yaml", 1, 5)), text="to: 2"))
        s.yaml:1:5: error: to: must be less than 1 (got 2)
          1 | to: 2
            |     ^
    """
    where = "" if problem.mark is None else f"{problem.mark}: "
    path = f"{problem.path}: " if problem.path else ""
    return "\n".join([f"{where}{severity}: {path}{problem.message}", *_excerpt(problem.mark, text)])


def caret(line: str, column: int, width: int = WIDTH) -> tuple[str, str]:
    """A source line as a terminal shows it, and the line below it with a caret under a column.

    Tabs become spaces; what a terminal would obey rather than show (control and direction characters) becomes U+FFFD.
    Wide characters take two columns, combining ones none.

    Args:
        column: of a character, from 1; one beyond the end points just behind it.
        width: columns at most; a longer line is cut around the caret.

    Example:
        >>> caret("to: 2", 5)
        ('to: 2', '    ^')
    """
    cells = [_cell(character) for character in line]
    at = min(max(column, 1) - 1, len(cells))
    while 0 < at < len(cells) and _columns(line[at]) == 0:  # what combines stands over the character before it
        at -= 1
    first, last = _shown(cells, at, width)
    before = _CUT if first else ""
    shown = "".join(text for text, _ in cells[first:last])
    gap = len(before) + sum(columns for _, columns in cells[first:at])
    return f"{before}{shown}{_CUT if last < len(cells) else ''}".rstrip(), f"{' ' * gap}^"


def _excerpt(mark: Mark | None, text: str | None) -> list[str]:
    source = text if text is not None or mark is None else _read(mark.file)
    lines = [] if source is None else _BREAK.split(source)
    if mark is None or mark.line > len(lines) or not lines[mark.line - 1].strip():
        return []
    shown, below = caret(lines[mark.line - 1], mark.column)
    gutter = f"  {mark.line}"
    return [f"{gutter} | {shown}", f"{' ' * len(gutter)} | {below}"]


def _read(file: str) -> str | None:
    """The text of a file; None where there is none to read (a text, a dict, a pipe that has been read)."""
    try:
        if not Path(file).is_file():
            return None
        with Path(file).open("rb") as source:
            return source.read(MAX_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None


def _cell(character: str) -> tuple[str, int]:
    """What is shown for a character, and how many columns it takes."""
    if character == "\t":
        return _TAB, len(_TAB)
    return (character, _columns(character)) if character.isprintable() else ("\ufffd", 1)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _shown(cells: list[tuple[str, int]], at: int, width: int) -> tuple[int, int]:
    """Which cells to show: all, or as many around ``at`` as there is room for, with room for the marks of the cuts."""
    columns = [count for _, count in cells]
    if sum(columns) <= width:
        return 0, len(cells)
    room = width - 2 * len(_CUT)
    first = last = at
    used = 0
    while (first > 0 or last < len(cells)) and used < room:
        is_left = first > 0 and (last == len(cells) or at - first <= last - at)
        first, last = (first - 1, last) if is_left else (first, last + 1)
        used += columns[first if is_left else last - 1]
    return first, last
