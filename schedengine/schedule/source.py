"""Text -> a tree of plain values that remembers where each one stood. The only module that touches PyYAML.

Scalars are those of YAML 1.2 in both dialects: ``1e-4`` is a number, ``off`` and ``2:4`` are strings. Nothing of the
document's meaning is known here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from schedengine.errors import Mark, Problem, ScheduleError

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 100_000
MAX_INTEGER = 2**63
"""A schedule is a page of text; these bounds stop alias bombs and absurd nesting before they cost anything, and numbers
that nothing counts up to."""


@dataclass
class Node:
    """A value of the document: a scalar, a ``dict[str, Node]`` or a ``list[Node]``.

    Args:
        value: the scalar or the container.
        path: in the words of the file, ``pruners.fine.sparsity.to``.
        mark: where the value starts; None if the document came as a dict.
        keys: for a mapping, where each key stands.
    """

    value: Any
    path: str = ""
    mark: Mark | None = None
    keys: dict[str, Mark | None] = field(default_factory=dict)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    def plain(self) -> Any:
        """The value without its marks."""
        if self.is_mapping:
            return {key: child.plain() for key, child in self.value.items()}
        if self.is_list:
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: object) -> Node | None:
        """The value under a key or an index, if there is one."""
        if self.is_mapping:
            return self.value.get(key)  # type: ignore[no-any-return]
        if self.is_list and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]  # type: ignore[no-any-return]
        return None

    def problem(self, message: str, *, key: str | None = None) -> Problem:
        """Something wrong here, or with one of this mapping's keys."""
        if key is None:
            return Problem(message, self.path, self.mark)
        return Problem(message, join(self.path, key), self.keys.get(key) or self.mark)

    def derived(self, value: Any) -> Node:
        """Another value that stands for this one: same place, same path. Plain containers become nodes too."""
        if isinstance(value, Node):
            return value
        if isinstance(value, dict):
            value = {key: self.derived(child) for key, child in value.items()}
        elif isinstance(value, (list, tuple)):
            value = [self.derived(child) for child in value]
        return Node(value, self.path, self.mark)


def join(path: str, key: object) -> str:
    """``path.key``, or ``path[3]`` for a number."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


@dataclass
class Source:
    """A document that could be read.

    Args:
        root: its tree.
        name: of the file, or ``<text>`` or ``<dict>``.
        text: as it stood; empty for a dict.
        duplicates: keys that stand twice in one mapping; the last value is the one in the tree.
    """

    root: Node
    name: str
    text: str = ""
    duplicates: list[Problem] = field(default_factory=list)


def read(document: str | Path | Mapping[str, Any]) -> Source:
    """Read a path, a text, or a dict.

    A string with a line break, or with a colon and a space, is text; any other is a path.

    Raises:
        ScheduleError: no such file, a directory, not UTF-8, empty, not YAML, or out of bounds.
    """
    if isinstance(document, Mapping):
        return Source(_from_plain(document, "", 0), "<dict>")
    if isinstance(document, str) and ("\n" in document or ": " in document or not document.strip()):
        return _parse(document, "<text>")
    path = Path(document)
    return _parse(_read_file(path), str(path))


def _read_file(path: Path) -> str:
    def refuse(message: str, line: int = 1, column: int = 1) -> ScheduleError:
        return ScheduleError([Problem(message, "", Mark(str(path), line, column))])

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        near = ", ".join(sorted(other.name for other in path.parent.glob("*.y*ml"))[:5]) if path.parent.is_dir() else ""
        raise refuse("there is no such file" + (f"; beside it: {near}" if near else "")) from None
    except IsADirectoryError:
        raise refuse("is a directory; name the schedule file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise refuse(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > MAX_BYTES:
        raise refuse(f"is larger than {MAX_BYTES:,} bytes; no schedule is")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise refuse(f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8", line, column) from error


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema instead of 1.1's."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def _parse(text: str, name: str) -> Source:
    if len(text) > MAX_BYTES:
        raise ScheduleError([Problem(f"is longer than {MAX_BYTES:,} characters; no schedule is", "", Mark(name, 1, 1))])
    try:
        _check_bounds(text, name)
        document = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ScheduleError([_syntax_problem(error, text, name)]) from error
    except yaml.YAMLError as error:
        raise ScheduleError([_reader_problem(error, text, name)]) from error
    if document is None or (document.tag == "tag:yaml.org,2002:null" and not document.value):
        raise ScheduleError([Problem("is empty; a schedule has at least 'policies:'", "", Mark(name, 1, 1))])
    builder = _Builder(name)
    return Source(builder.build(document, ""), name, text, builder.duplicates)


def _check_bounds(text: str, name: str) -> None:
    """Refuse absurd nesting before anything recurses. Events come from PyYAML's parser, which does not recurse."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ScheduleError(
                [Problem(f"is nested more than {MAX_DEPTH} deep; no schedule is", "", _mark(event.start_mark, name))]
            )


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, name: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "is not YAML"
    place = _mark(mark, name) if mark else Mark(name, 1, 1)
    line = text.splitlines()[place.line - 1] if 0 < place.line <= len(text.splitlines()) else ""
    hint = ""
    if "alias" in f"{what} {error.context}" and "*" in line:
        hint = '; a name that starts with * is a YAML alias: quote the glob, "*.weight"'
    elif "\\t" in what or "\t" in line[: place.column]:
        hint = "; indent with spaces, not tabs"
    elif "mapping values are not allowed" in what:
        hint = "; check the indentation of this line and the colons before it"
    elif "another document" in what:
        return Problem("YAML syntax: a second document begins; one schedule a file, without '---' between", "", place)
    context = f" ({error.context}{_since(error, place)})" if error.context and error.problem else ""
    return Problem(f"YAML syntax: {what}{context}{hint}", "", place)


def _since(error: yaml.MarkedYAMLError, place: Mark) -> str:
    """Where the construct begins that goes wrong at ``place``, if on another line: a bracket or quote never closed."""
    begin = error.context_mark
    return f" that begins at line {begin.line + 1}" if begin is not None and begin.line + 1 != place.line else ""


def _reader_problem(error: yaml.YAMLError, text: str, name: str) -> Problem:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return Problem(f"YAML syntax: {error}", "", Mark(name, 1, 1))
    before = text[:position]
    place = Mark(name, before.count("\n") + 1, position - before.rfind("\n"))
    return Problem("has a control character, which YAML does not allow; remove it", "", place)


def _mark(mark: Any, name: str) -> Mark:
    return Mark(name, mark.line + 1, mark.column + 1)


class _Builder:
    """PyYAML's node graph -> our tree: aliases are expanded (within bounds), merges done, duplicates recorded."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.duplicates: list[Problem] = []
        self._constructor = yaml.constructor.SafeConstructor()
        self._count = 0
        self._open: set[int] = set()
        self._seen: set[int] = set()

    def build(self, node: Any, path: str) -> Node:
        mark = _mark(node.start_mark, self.name)
        self._count += 1
        if self._count > MAX_NODES:
            raise ScheduleError([Problem(f"expands to more than {MAX_NODES:,} values; too many aliases", path, mark)])
        if id(node) in self._open:
            raise ScheduleError([Problem("an alias contains itself; write the value out", path, mark)])
        if isinstance(node, yaml.ScalarNode):
            return Node(self._scalar(node, path, mark), path, mark)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise ScheduleError([self._foreign_tag(node, path)])
        self._open.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            built = Node([self.build(item, join(path, index)) for index, item in enumerate(node.value)], path, mark)
        else:
            built = self._mapping(node, path, mark)
        self._open.discard(id(node))
        self._seen.add(id(node))
        return built

    def _scalar(self, node: Any, path: str, mark: Mark) -> Any:
        constructors: dict[str, Callable[[str], Any]] = {
            "tag:yaml.org,2002:null": lambda _: None,
            "tag:yaml.org,2002:bool": _boolean,
            "tag:yaml.org,2002:int": _integer,
            "tag:yaml.org,2002:float": _float,
            "tag:yaml.org,2002:str": str,
        }
        constructor = constructors.get(node.tag)
        if constructor is None:
            raise ScheduleError([self._foreign_tag(node, path)])
        try:
            return constructor(node.value)
        except ValueError:
            kind = node.tag.rpartition(":")[2]
            raise ScheduleError([Problem(f"cannot be read as {kind} (got {node.value[:60]!r})", path, mark)]) from None

    def _foreign_tag(self, node: Any, path: str) -> Problem:
        message = f"the tag {node.tag} is not supported (a tag can name code); write a plain value"
        return Problem(message, path, _mark(node.start_mark, self.name))

    def _mapping(self, node: Any, path: str, mark: Mark) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Mark | None] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            key_mark = _mark(key_node.start_mark, self.name)
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged += self._merged(value_node, path)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise ScheduleError([Problem("a key must be a word, not a list or a mapping", path, key_mark)])
            key = key_node.value
            if key in values and id(node) not in self._seen:
                self.duplicates.append(
                    Problem(
                        f"the key stands twice, first at line {keys[key].line if keys[key] else '?'}; "  # type: ignore[union-attr]
                        "the last one would win: remove or rename one",
                        join(path, key),
                        key_mark,
                    )
                )
            values[key] = self.build(value_node, join(path, key))
            keys[key] = key_mark
        for other in merged:
            for key, child in other.value.items():
                if key not in values:
                    values[key], keys[key] = child, other.keys.get(key)
        return Node(values, path, mark, keys)

    def _merged(self, node: Any, path: str) -> Iterator[Node] | list[Node]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        built = [self.build(item, path) for item in nodes]
        for item in built:
            if not item.is_mapping:
                raise ScheduleError([Problem("only a mapping can be merged with '<<'", path, item.mark)])
        return built


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):  # reached with an explicit tag only
        raise ValueError(text)
    return text.lower() == "true"


def _integer(text: str) -> int:
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    base = {"0o": 8, "0x": 16}.get(digits[:2], 10)
    number = sign * int(digits[2:] if base != 10 else digits, base)
    if abs(number) > MAX_INTEGER:
        raise ValueError(text)
    return number


def _float(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _from_plain(value: Any, path: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ScheduleError([Problem(f"is nested more than {MAX_DEPTH} deep; no schedule is", path)])
    if isinstance(value, Mapping):
        children = {str(key): _from_plain(child, join(path, str(key)), depth + 1) for key, child in value.items()}
        return Node(children, path)
    if isinstance(value, (list, tuple)):
        return Node([_from_plain(item, join(path, index), depth + 1) for index, item in enumerate(value)], path)
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise ScheduleError([Problem(f"an integer beyond {MAX_INTEGER:.0e} cannot stand in a schedule", path)])
    if value is None or isinstance(value, (bool, int, float, str)):
        return Node(value, path)
    raise ScheduleError([Problem(f"a {type(value).__name__} cannot stand in a schedule; use plain values", path)])


def comments(source: Source) -> list[tuple[Mark, str]]:
    """The comments of a document in order: where each begins, and its text from the ``#`` on."""
    found, text, line, counted = [], source.text, 1, 0
    for start, stop in _gaps(text):
        for match in _COMMENT.finditer(text, start, stop):
            breaks = list(_BREAK.finditer(text, counted, match.start()))
            line, counted = line + len(breaks), breaks[-1].end() if breaks else counted
            found.append((Mark(source.name, line, match.start() - counted + 1), match[0].rstrip()))
    return found


_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_COMMENT = re.compile("#[^\r\n\x85\u2028\u2029]*")


def _gaps(text: str) -> Iterator[tuple[int, int]]:
    """What no token covers, as characters from and until; the first line of a block scalar may hold a comment too."""
    stop = 0
    for token in yaml.scan(text, Loader=_Loader):
        start = token.start_mark.index
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            head = _BREAK.search(text, start)
            start = head.start() if head else len(text)
        if start > stop:
            yield stop, start
        stop = max(stop, token.end_mark.index)
    yield stop, len(text)


def to_flow(value: Any) -> str:
    """A plain value on one line, as it can stand anywhere in a document."""
    style: dict[str, Any] = {"default_flow_style": True, "width": MAX_INTEGER}
    text = yaml.dump([value], Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style)
    return str(text[1:-2])


def to_text(document: Mapping[str, Any]) -> str:
    """A plain document as YAML 1.2 text that ``read`` reads back to the same values."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True, default_flow_style=None)


class _Dumper(yaml.SafeDumper):
    """Writes scalars so that the YAML 1.2 reader above, and a YAML 1.1 reader, both get the same value."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = not text.isprintable() or any(pattern.match(text) for pattern in _ambiguous)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


def _represent_float(dumper: yaml.SafeDumper, number: float) -> yaml.ScalarNode:
    if not math.isfinite(number):
        text = ".nan" if math.isnan(number) else ".inf" if number > 0 else "-.inf"
    else:
        text = repr(number)
        if "e" in text and "." not in text:
            text = text.replace("e", ".0e")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_ambiguous = [pattern for resolvers in _Loader.yaml_implicit_resolvers.values() for _, pattern in resolvers]
_Dumper.add_representer(str, _represent_str)
_Dumper.add_representer(float, _represent_float)
