"""The new tree as lines, with the comments above, beside and below what they belong to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from schedengine.schedule.convert.comments import Note
from schedengine.schedule.convert.places import Trail, children
from schedengine.schedule.source import Node, to_flow

WIDTH = 110
"""Characters in a line, where words allow; comments stay as they are."""


def written(new: Node, notes: Sequence[Note]) -> str:
    """A tree as text, with comments where they belong.

    Args:
        new: the tree, in the order in which it is written.
        notes: in the order of the old text, which they keep.
    """
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
        for key, child in children(node):
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
    return bool(children(node))


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
