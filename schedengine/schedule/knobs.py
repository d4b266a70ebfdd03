"""A number in a schedule's text that may be turned: found by its path, another put in its place, all else as it was."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from schedengine.errors import Problem, SchedEngineError, ScheduleError, did_you_mean
from schedengine.schedule.document import KINDS
from schedengine.schedule.source import Node, Source, read, to_flow

_FORM = "write path=low:high, as in pruners.str.weight_decay=1e-5:1e-3; :linear after it for a linear range"
_SCALAR = re.compile(r"[^\s,\[\]{}]+")


@dataclass(frozen=True)
class Knob:
    """A number of the file, and the range that it may be turned in.

    Args:
        path: ``section.instance.key...``; keys between the instance and the last ones may be left out where one number
            alone is meant.
        low, high: both ends belong to the range.
        is_log: whether equal steps are equal factors; both ends are above 0 then.

    Raises:
        SchedEngineError: the range is empty, or logarithmic and not above 0.
    """

    path: str
    low: float
    high: float
    is_log: bool

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SchedEngineError(f"knob {self.path}: from {self.low:g} to {self.high:g} is no range; {_FORM}")
        if self.is_log and self.low <= 0:
            raise SchedEngineError(f"knob {self.path}: a logarithmic range begins above 0 (got {self.low:g})")

    @classmethod
    def parse(cls, text: str) -> Knob:
        """Read what the command line writes; logarithmic where both ends are above 0 and nothing else is said.

        Raises:
            SchedEngineError: it is not of this form.

        Example:
            >>> Knob.parse("pruners.str.weight_decay=1e-5:1e-3")
            Knob(path='pruners.str.weight_decay', low=1e-05, high=0.001, is_log=True)
        """
        path, _, span = text.rpartition("=")
        ends, is_linear = span.removesuffix(":linear").split(":"), span.endswith(":linear")
        try:
            low, high = (float(end) for end in ends)
        except ValueError:
            raise SchedEngineError(f"knob {text!r}: {_FORM}") from None
        if not path:
            raise SchedEngineError(f"knob {text!r}: {_FORM}")
        return cls(path, low, high, is_log=not is_linear and low > 0 and high > 0)

    def scaled(self, value: float) -> float:
        """On the axis on which equal steps are equal."""
        return math.log(value) if self.is_log else value

    def value(self, scaled: float) -> float:
        """Back from that axis."""
        return math.exp(scaled) if self.is_log else scaled

    def plain(self) -> str:
        """What ``parse`` reads back."""
        is_linear = not self.is_log and self.low > 0
        return f"{self.path}={self.low:g}:{self.high:g}{':linear' if is_linear else ''}"

    def __str__(self) -> str:
        return f"{self.path} in {self.low:g} to {self.high:g} ({'logarithmic' if self.is_log else 'linear'})"


@dataclass(frozen=True)
class Dial:
    """Where a knob's number stands in a text.

    Args:
        source: the text, read.
        node: the number.
        section, instance: what it belongs to; the instance is empty outside the sections of instances.
    """

    source: Source
    node: Node
    section: str
    instance: str

    @classmethod
    def find(cls, source: Source, path: str) -> Dial:
        """Look a number up.

        Args:
            path: as in ``Knob``, in the words of the file.

        Raises:
            ScheduleError: there is no such number, or more than one.
        """
        found = list(_numbers(source))
        exact = [one for one in found if one.node.path == path]
        matches = exact or [one for one in found if one._is_meant(path)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            which = ", ".join(one.node.path for one in matches)
            raise ScheduleError([source.root.problem(f"{path} may be each of {which}; write the whole path")])
        raise ScheduleError([_missing(source, path, [one.node.path for one in found])])

    def _is_meant(self, path: str) -> bool:
        head = f"{self.section}.{self.instance}." if self.instance else f"{self.section}."
        return path.startswith(head) and self.node.path.endswith(f".{path.removeprefix(head)}")

    def turned(self, value: float) -> str:
        """The text with another number in its place.

        Raises:
            ScheduleError: the number stands for other places of the file too (an anchor).
        """
        mark, text = self.node.mark, self.source.text
        assert mark is not None
        start = sum(map(len, text.splitlines(keepends=True)[: mark.line - 1])) + mark.column - 1
        written = _SCALAR.match(text, start)
        new = text if written is None else text[:start] + to_flow(value) + text[written.end() :]
        expected = {**_scalars(self.source.root), self.node.path: value}
        if _try_scalars(new) != expected:
            what = "is written with an anchor or a tag, or stands for other places too; write the number itself here"
            raise ScheduleError([self.node.problem(what)])
        return new


def _missing(source: Source, path: str, numbers: list[str]) -> Problem:
    section, _, rest = path.partition(".")
    own = [one for one in numbers if one.startswith(f"{section}.{rest.partition('.')[0]}.")]
    near = f"numbers there: {', '.join(own)}" if own else did_you_mean(path, numbers)
    message = f"there is no number {path!r} in the file, which a knob turns; {near}"
    return source.root.problem(f"{message}. Write a default that is to be turned into the file")


def _numbers(source: Source) -> Iterator[Dial]:
    """Every number of a document that means something: all but its version."""
    sections = source.root.value if source.root.is_mapping else {}
    for section, node in sections.items():
        if section in KINDS.values() and node.is_mapping:
            for instance, inner in node.value.items():
                yield from (Dial(source, one, section, instance) for one in _leaves(inner) if _is_number(one))
        elif section != "version":
            yield from (Dial(source, one, section, "") for one in _leaves(node) if _is_number(one))


def _leaves(node: Node) -> Iterator[Node]:
    if node.is_mapping or node.is_list:
        for child in node.value.values() if node.is_mapping else node.value:
            yield from _leaves(child)
    else:
        yield node


def _is_number(node: Node) -> bool:
    return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def _scalars(root: Node) -> dict[str, object]:
    return {one.path: one.value for one in _leaves(root)}


def _try_scalars(text: str) -> dict[str, object] | None:
    try:
        return _scalars(read(text).root)
    except ScheduleError:
        return None
