"""The comments of the old text, and the pieces they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from schedengine.errors import Mark
from schedengine.schedule.convert.places import Trail, children
from schedengine.schedule.source import Node, Source, comments

Side = Literal["above", "beside", "below"]
"""Where a comment stands; below is after all that belongs to the piece."""
Target = tuple[Trail, Side]


@dataclass(frozen=True)
class Run:
    """Comments on consecutive lines of their own, or one beside something.

    Args:
        marks: where each begins.
        texts: each from its ``#`` on.
        is_beside: whether something stands before it on its line.
        gaps: whether blank lines stand before and after.
    """

    marks: Sequence[Mark]
    texts: Sequence[str]
    is_beside: bool
    gaps: tuple[bool, bool] = (False, False)

    def split(self, at: int) -> tuple[Run, Run]:
        """The first so many, and the others."""
        before, after = self.gaps
        first = replace(self, marks=self.marks[:at], texts=self.texts[:at], gaps=(before, False))
        return first, replace(self, marks=self.marks[at:], texts=self.texts[at:], gaps=(False, after))

    def lines(self, indent: int) -> list[str]:
        """As lines of their own, indented as they were among themselves."""
        least = min(mark.column for mark in self.marks)
        lines = [" " * (indent + mark.column - least) + text for mark, text in zip(self.marks, self.texts)]
        return [*[""] * self.gaps[0], *lines, *[""] * self.gaps[1]]


@dataclass(frozen=True)
class Note:
    """A run, and where it goes in the new tree."""

    run: Run
    trail: Trail
    side: Side


def runs(source: Source) -> Iterator[Run]:
    """The comments of a file, in its order."""
    lines = ["", *source.text.splitlines(), ""]

    def is_beside(mark: Mark) -> bool:
        return bool(lines[mark.line][: mark.column - 1].strip("\ufeff \t"))

    def stays_with(one: tuple[int, tuple[Mark, str]]) -> tuple[int, int]:
        number, (mark, _) = one
        return (number if is_beside(mark) else -1), mark.line - number

    for _, group in groupby(enumerate(comments(source)), stays_with):
        marks, texts = zip(*(comment for _, comment in group))
        if is_beside(marks[0]):
            yield Run(marks, texts, True)
        else:
            gaps = not lines[marks[0].line - 1].strip(), not lines[marks[-1].line + 1].strip()
            yield Run(marks, texts, False, gaps)


@dataclass(frozen=True)
class _Piece:
    """A key or an item of the old file, and where it begins for the eye: an item with its dash."""

    trail: Trail
    line: int
    column: int


class Pieces:
    """What the old file is made of, in its order.

    Args:
        source: the file.
        places: where its pieces are in the new tree.
    """

    def __init__(self, source: Source, places: dict[Trail, Trail]) -> None:
        self.places = places
        lines = source.text.splitlines()
        first: dict[tuple[int, int], _Piece] = {}
        self._columns: dict[Trail, int] = {}
        """By what pieces are part of: where those begin, as far to the left as any."""
        for trail, mark in _starts(source.root):
            column = _column(trail, mark, lines)
            self._columns[trail[:-1]] = min(column, self._columns.get(trail[:-1], column))
            # An item and its first key begin together, and what an alias repeats begins where the original does.
            first.setdefault((mark.line, mark.column), _Piece(trail, mark.line, column))
        self._pieces = [first[place] for place in sorted(first)]

    def attach(self, run: Run) -> list[Note]:
        """Where comments go: beside what begins on their line, else above the next piece.

        Those that are indented deeper than the next piece belong below the one before.
        """
        line = run.marks[0].line
        number = sum(piece.line < line for piece in self._pieces)
        if run.is_beside:
            return [Note(run, *self._beside(number, line))]
        if number == 0:
            return [Note(run, (), "above")]
        first, deep = run.marks[0].column, run.marks[0].column > self._column_of(number)
        owner = self._owner(number, first) if deep else None
        if owner is None:
            return [Note(run, *self._above(number))]
        size = next((at for at, mark in enumerate(run.marks) if mark.column < first), len(run.marks))
        below, rest = run.split(size)
        return [Note(below, owner, "below"), *(self.attach(rest) if rest.marks else [])]

    def _column_of(self, number: int) -> int:
        return self._pieces[number].column if number < len(self._pieces) else 0

    def _beside(self, number: int, line: int) -> Target:
        if number == len(self._pieces) or self._pieces[number].line > line:
            number = max(number - 1, 0)  # nothing begins here: a bracket closes
        trail = self._pieces[number].trail
        return (self.places[trail], "beside") if trail in self.places else self._above(number, siblings=False)

    def _above(self, number: int, *, siblings: bool = True) -> Target:
        """The piece; if it is gone, the next one beside it, or what it was part of, or what comes after that."""
        rest = self._pieces[number:]
        if rest and rest[0].trail in self.places:
            return self.places[rest[0].trail], "above"
        around = rest[0].trail[:-1] if rest and siblings else ()
        if around in self.places:
            depth = len(self.places[around]) + 1
            for piece in rest:
                if piece.trail in self.places and piece.trail[:-1] == around:
                    return self.places[piece.trail][:depth], "above"
        for piece in rest:
            for length in range(len(piece.trail), 0, -1):
                if piece.trail[:length] in self.places:
                    return self.places[piece.trail[:length]], "above"
        return (), "below"

    def _owner(self, number: int, column: int) -> Trail | None:
        """The innermost piece around the one before that comments, by their column, can stand below."""
        before = self._pieces[number - 1].trail
        after = self._pieces[number].trail if number < len(self._pieces) else ()
        for length in range(len(before), 0, -1):
            trail = before[:length]
            if trail in self.places and trail != after[:length] and self._columns[trail[:-1]] <= column:
                return self.places[trail]
        return None


def _starts(node: Node, trail: Trail = ()) -> Iterator[tuple[Trail, Mark]]:
    """Where each key and each item stands, what holds others before them."""
    for key, child in children(node):
        mark = node.keys.get(str(key)) if node.is_mapping else child.mark
        if mark is not None:
            yield (*trail, key), mark
        yield from _starts(child, (*trail, key))


def _column(trail: Trail, mark: Mark, lines: Sequence[str]) -> int:
    if isinstance(trail[-1], str):
        return mark.column
    dash = re.search(r"-\s+$", lines[mark.line - 1][: mark.column - 1])
    return mark.column if dash is None else dash.start() + 1
