"""Distiller's dialect -> version 2 text, with every comment where it belongs.

The tree is that of ``distiller.py``, as for ``load_schedule``; here it gets a layout, and the comments of the old text.
A comment belongs to a piece of the old file (a section, an instance, a policy, a key, an item) and goes where that one
went. YAML libraries that keep comments lose those of a piece that changes its shape, and here nearly every piece does.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

from schedengine.errors import Mark, ScheduleError
from schedengine.pruners.pruner import Pruner
from schedengine.regularizers.regularizer import Regularizer
from schedengine.schedule import distiller
from schedengine.schedule.fields import fields_of
from schedengine.schedule.load import load_schedule
from schedengine.schedule.source import Node, Source, comments, read, to_flow

WIDTH = 110
"""Characters in a line, where words allow; comments stay as they are."""
Trail = tuple[str | int, ...]
"""A place in a tree: keys and indices from the root on."""
Side = Literal["above", "beside", "below"]
"""Where a comment stands; below is after all that belongs to the piece."""
Target = tuple[Trail, Side]
_AXES: dict[str | int, list[str]] = {
    "pruners": list(fields_of(Pruner)),
    "regularizers": list(fields_of(Regularizer)),
}
_BECOMES = {
    "starting_epoch": "from",
    "ending_epoch": "until",
    "frequency": "every",
    "epochs": "at",
    "mini_batch_pruning_frequency": "refresh",
    "keep_mask": "keep_mask",
    "group_type": "granularity",
    "class": "penalty",
}
"""Keys of version 1 whose values do not say by their marks where they went."""


def convert(document: str | Path) -> str:
    """A version 1 schedule, Distiller's, as the version 2 text that does the same, with all its comments.

    What the file says keeps its order; after it stand the axes that Distiller's class decides. A comment stays above or
    beside its key; one beside a key that is gone moves above what that key was part of.

    Args:
        document: a path, or the YAML text itself (it has a line break or a ``key: value``).

    Returns:
        The text; ``load_schedule`` reads the same schedule from it.

    Raises:
        ScheduleError: the file is version 2 already, or everything that is wrong with it.

    Example:
        >>> print(convert('''
        ... version: 1
        ... lr_schedulers:
        ...   steps: {class: StepLR, step_size: 45, gamma: 0.1}  # three times
        ... policies:
        ...   - lr_scheduler: {instance_name: steps}
        ...     starting_epoch: 0
        ...     ending_epoch: 180  # exclusive
        ...     frequency: 1
        ... '''), end="")
        version: 2
        effects: warn
        <BLANKLINE>
        lr_schedulers:
          steps: {class: StepLR, step_size: 45, gamma: 0.1}  # three times
        <BLANKLINE>
        policies:
          - lr_scheduler: steps
            clock: run
            during: run
            from: 1
            until: 181  # exclusive
            every: 1
    """
    source = read(document)
    version = source.root.child("version")
    if version is not None and version.value == 2:
        raise ScheduleError([version.problem("is version 2 already; only version 1, Distiller's, is converted")])
    load_schedule(document)  # says what is wrong or doubtful
    new = _rewritten(source.root)
    places = _places(source.root, new)
    _sort(new, places)
    pieces = _Pieces(source, places)
    text = _written(new, [note for run in _runs(source) for note in pieces.attach(run)])
    assert read(text).root.plain() == new.plain(), "the text reads as another schedule"
    return text


# --- the version 2 tree ----------------------------------------------------------------------------------------------


def _rewritten(root: Node) -> Node:
    old = copy.deepcopy(root)
    old.value.pop("version", None)
    new = distiller.rewrite(old, [], [])
    new.value = {"version": Node(2), **new.value}
    return new


def _places(old: Node, new: Node) -> dict[Trail, Trail]:
    """Where pieces of the old tree are in the new one, in the order of the old; without those that are gone."""
    places: dict[Trail, Trail] = {("version",): ("version",)}
    for section in [key for key in old.value if key in new.value and key != "version"]:
        places[(section,)] = (section,)
        parts = _children(new.value[section])
        for key, part in _children(old.value[section]):
            is_same = [at == key if isinstance(key, str) else one.mark == part.mark for at, one in parts]
            successors: dict[Trail, Node] = {(section, at): one for (at, one), same in zip(parts, is_same) if same}
            if successors:
                places |= _places_within(part, (section, key), successors)
    return places


def _places_within(part: Node, old: Trail, successors: dict[Trail, Node]) -> dict[Trail, Trail]:
    """Those of an instance or a policy: where the mark of the value is, else by name.

    A policy may have become several: the first stands for it, and the last has its window.
    """
    inside = {trail: node for start, one in successors.items() for trail, node in _nodes(one, start)}
    by_mark: dict[Mark | None, Trail] = {}
    for trail, node in inside.items():
        by_mark.setdefault(node.mark, trail)
    first, *_, last = [*successors, *successors]
    places = {old: first}
    for trail, node in list(_nodes(part, old))[1:]:
        key, around = trail[-1], places.get(trail[:-1])
        renamed = (*last, _BECOMES.get(str(key), ""))
        if node.mark in by_mark:
            places[trail] = by_mark[node.mark]
        elif around is not None and (*around, key) in inside:
            places[trail] = (*around, key)
        elif key == "instance_name" or key in distiller.KINDS:
            places[trail] = first
        elif renamed in inside:
            places[trail] = renamed
    return places


def _sort(new: Node, places: dict[Trail, Trail]) -> None:
    """Put sections, instances and their keys in the order of the old file, which its comments have too.

    Two pruners that were one stay together; axes of which the old file says nothing come last.
    """
    _sort_by_mark(new)
    for section, node in new.value.items():
        if node.is_mapping:
            _sort_by_mark(node)
            for name, part in node.value.items():
                said = [place[2] for place in places.values() if len(place) > 2 and place[:2] == (section, name)]
                order = dict.fromkeys([*said, *_AXES.get(section, ()), *part.value])
                part.value = {key: part.value[key] for key in order if key in part.value}


def _sort_by_mark(node: Node) -> None:
    def place(child: Node) -> tuple[int, int]:
        return (0, 0) if child.mark is None else (child.mark.line, child.mark.column)

    node.value = dict(sorted(node.value.items(), key=lambda one: place(one[1])))


def _children(node: Node) -> list[tuple[str | int, Node]]:
    if node.is_mapping:
        return list(node.value.items())
    return list(enumerate(node.value)) if node.is_list else []


def _nodes(node: Node, trail: Trail) -> Iterator[tuple[Trail, Node]]:
    yield trail, node
    for key, child in _children(node):
        yield from _nodes(child, (*trail, key))


# --- the comments of the old text, and the pieces they belong to -----------------------------------------------------


@dataclass(frozen=True)
class _Run:
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

    def split(self, at: int) -> tuple[_Run, _Run]:
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
class _Note:
    """A run, and where it goes in the new tree."""

    run: _Run
    trail: Trail
    side: Side


def _runs(source: Source) -> Iterator[_Run]:
    lines = ["", *source.text.splitlines(), ""]

    def is_beside(mark: Mark) -> bool:
        return bool(lines[mark.line][: mark.column - 1].strip("\ufeff \t"))

    def stays_with(one: tuple[int, tuple[Mark, str]]) -> tuple[int, int]:
        number, (mark, _) = one
        return (number if is_beside(mark) else -1), mark.line - number

    for _, group in groupby(enumerate(comments(source)), stays_with):
        marks, texts = zip(*(comment for _, comment in group))
        if is_beside(marks[0]):
            yield _Run(marks, texts, True)
        else:
            gaps = not lines[marks[0].line - 1].strip(), not lines[marks[-1].line + 1].strip()
            yield _Run(marks, texts, False, gaps)


@dataclass(frozen=True)
class _Piece:
    """A key or an item of the old file, and where it begins for the eye: an item with its dash."""

    trail: Trail
    line: int
    column: int


class _Pieces:
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

    def attach(self, run: _Run) -> list[_Note]:
        """Where comments go: beside what begins on their line, else above the next piece.

        Those that are indented deeper than the next piece belong below the one before.
        """
        line = run.marks[0].line
        number = sum(piece.line < line for piece in self._pieces)
        if run.is_beside:
            return [_Note(run, *self._beside(number, line))]
        if number == 0:
            return [_Note(run, (), "above")]
        first, deep = run.marks[0].column, run.marks[0].column > self._column_of(number)
        owner = self._owner(number, first) if deep else None
        if owner is None:
            return [_Note(run, *self._above(number))]
        size = next((at for at, mark in enumerate(run.marks) if mark.column < first), len(run.marks))
        below, rest = run.split(size)
        return [_Note(below, owner, "below"), *(self.attach(rest) if rest.marks else [])]

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
    for key, child in _children(node):
        mark = node.keys.get(str(key)) if node.is_mapping else child.mark
        if mark is not None:
            yield (*trail, key), mark
        yield from _starts(child, (*trail, key))


def _column(trail: Trail, mark: Mark, lines: Sequence[str]) -> int:
    if isinstance(trail[-1], str):
        return mark.column
    dash = re.search(r"-\s+$", lines[mark.line - 1][: mark.column - 1])
    return mark.column if dash is None else dash.start() + 1


# --- the new text ----------------------------------------------------------------------------------------------------


def _written(new: Node, notes: Sequence[_Note]) -> str:
    layout = _Layout({note.trail for note in notes}, {note.trail for note in notes if note.side == "beside"})
    layout.put_children(new, (), 0)
    layout.join_twins(new.value["policies"])
    above: dict[int, list[str]] = {}
    beside: dict[int, list[str]] = {}
    last = 0
    for note in notes:  # in their order, even where pieces changed theirs: none goes before the one before it
        start, stop, indent = layout.spans[note.trail]
        wanted = {"above": 2 * start, "beside": 2 * start + 1, "below": 2 * stop}[note.side]
        last = max(last, wanted)
        if note.side == "beside" and last == wanted:
            beside.setdefault(start, []).extend(note.run.texts)
            continue
        last += last % 2
        above.setdefault(last // 2, []).extend(note.run.lines(indent if last == wanted else layout.indent(last // 2)))
    lines = []
    for number, line in enumerate([*layout.lines, ""]):
        *earlier, own = beside.get(number, [""])  # a line has room for one
        margin = " " * layout.indent(number)
        lines += [*above.get(number, ()), *(margin + text for text in earlier), f"{line}  {own}".rstrip()]
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


@dataclass
class _Layout:
    """A tree as lines: what fits on one stays on it, unless a comment needs a line of something within.

    Args:
        commented: what has comments above, beside or below.
        beside: those of them that have one beside.

    Attributes:
        lines: so far.
        spans: of each piece that begins a line: this line, the line after its last one, its indentation.
    """

    commented: set[Trail]
    beside: set[Trail]
    lines: list[str] = field(default_factory=list)
    spans: dict[Trail, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._opened = {trail[:length] for trail in self.commented for length in range(len(trail))}

    def put_children(self, node: Node, trail: Trail, indent: int) -> None:
        """A line or more for each; sections, and parts of a section that are long, stand apart."""
        for key, child in _children(node):
            inner = (*trail, key)
            if not trail and _is_nested(child):
                self.lines.append("")
            start = len(self.lines)
            if node.is_list:
                self._put_item(child, inner, indent)
            else:
                self._put(f"{to_flow(key)}: ", child, inner, indent)
            self.spans[inner] = (start, len(self.lines), indent)
            if len(inner) == 2 and len(self.lines) > start + 1:
                self.lines.append("")

    def join_twins(self, policies: Node) -> None:
        """Of policies that were one, what is below the first is below the last; and the whole is a piece too."""
        for number, policy in enumerate(policies.value):
            twins = [at for at, one in enumerate(policies.value) if one.mark == policy.mark]
            start, _, indent = self.spans["policies", number]
            self.spans["policies", number] = start, self.spans["policies", twins[-1]][1], indent
        self.spans[()] = 0, len(self.lines), 0

    def indent(self, number: int) -> int:
        """Of a line, or of the next one with text."""
        line = next((line for line in self.lines[number:] if line), "")
        return len(line) - len(line.lstrip())

    def _put_item(self, node: Node, trail: Trail, indent: int) -> None:
        start = len(self.lines)
        if self._is_line(node, trail, indent + 2):
            self._put("- ", node, trail, indent)
        else:
            self.put_children(node, trail, indent + 2)
            self.lines[start] = f"{' ' * indent}- {self.lines[start][indent + 2 :]}"

    def _put(self, head: str, node: Node, trail: Trail, indent: int) -> None:
        start = " " * indent + head
        if self._is_line(node, trail, len(start)):
            self.lines.append(start + to_flow(node.plain()))
        elif node.is_list and not self._is_split(node, trail):
            self.lines += _wrapped(start + "[", [to_flow(child.plain()) for child in node.value])
        else:
            self.lines.append(start.rstrip())
            self.put_children(node, trail, indent + 2)

    def _is_line(self, node: Node, trail: Trail, indent: int) -> bool:
        """Whether a value stands on the line of its key; sections never do."""
        if not _is_nested(node):
            return True
        return len(trail) > 1 and trail not in self._opened and indent + len(to_flow(node.plain())) <= WIDTH

    def _is_split(self, node: Node, trail: Trail) -> bool:
        """Whether each item of a list needs a line of its own."""
        is_deep = any(_is_nested(child) for child in node.value)
        return is_deep or len(trail) == 1 or trail in self._opened or trail in self.beside


def _is_nested(node: Node) -> bool:
    return bool(_children(node))


def _wrapped(start: str, items: Sequence[str]) -> list[str]:
    lines = [start]
    for number, item in enumerate(items):
        word = item + ("]" if number == len(items) - 1 else ",")
        if number == 0:
            lines[-1] += word
        elif len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += " " + word
        else:
            lines.append(" " * len(start) + word)
    return lines
