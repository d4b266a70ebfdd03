"""Tree -> objects: every key checked against the class that it belongs to, every problem kept with its place.

The classes are their own schema (see ``registry.py``); scalars are checked by pydantic, structure here, so that an
unknown key gets its nearest name and a wrong value the line it stands on.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schedengine.errors import Problem, SchedEngineError, did_you_mean
from schedengine.registry import Component, main_field
from schedengine.schedule.fields import REQUIRED, Field, fields_of, items_of, spec_of
from schedengine.schedule.source import Node

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
FAILED = object()
"""What could not be read; the reason is among the problems."""


class Reader:
    """Reads nodes, collecting problems instead of stopping at the first.

    Attributes:
        problems: what was found wrong so far.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.said: list[Node] = []
        """Mappings whose problem has been told already; they are not read."""

    def spec(self, cls: type, node: Node, *, ignore: Sequence[str] = ()) -> Any:
        """An instance of ``cls`` from a mapping, or ``FAILED``.

        Args:
            ignore: keys that the caller has read already.
        """
        if any(node is one for one in self.said):
            return FAILED
        is_word = isinstance(node.value, (str, int, float)) and not isinstance(node.value, bool)
        if is_word and hasattr(cls, "shorthand"):
            node, word = node.derived({}), node
            node.value[cls.shorthand] = word
        if not node.is_mapping:
            self.problems.append(
                node.problem(f"must be a mapping of {', '.join(fields_of(cls))} (got {show(node.plain())})")
            )
            return FAILED
        before = len(self.problems)
        fields = fields_of(cls)
        for key in node.value:
            if key not in fields and key not in ignore:
                self.problems.append(node.problem(f"unknown key; {did_you_mean(key, fields)}", key=key))
        values = {}
        for key, field in fields.items():
            child = node.child(key)
            if child is not None and not (child.value is None and field.default is None):
                values[field.name] = self.field(field, child)
            elif field.default is REQUIRED:
                self.problems.append(node.problem(f"needs {key!r}"))
        if len(self.problems) > before:
            return FAILED
        return self._construct(cls, values, node)

    def field(self, field: Field, node: Node) -> Any:
        """The value of one key, or ``FAILED``."""
        return self.value(field.annotation, node, field.component)

    def value(self, annotation: Any, node: Node, component: Component | None = None) -> Any:
        """A value of any annotation, or ``FAILED``."""
        if component is not None:
            return self.component(component, node)
        items = items_of(annotation)
        if items is not None:
            return self._items(*items, node)
        cls = spec_of(annotation)
        if cls is not None and hasattr(cls, "__pydantic_fields__"):
            return self.spec(cls, node)
        return self.leaf(annotation, node)

    def component(self, component: Component, node: Node) -> Any:
        """A member of a registry in any of the forms that ``registry.py`` shows, or ``FAILED``."""
        registry, value = component.registry, node.value
        if isinstance(value, str):
            if component.shorthand and _NUMBER.fullmatch(value):
                self.problems.append(node.problem(f"must be a number (got {show(value)}); remove the quotes"))
                return FAILED
            return self._member(component, value, node, node.derived({}))
        if isinstance(value, (int, float)) and not isinstance(value, bool) and component.shorthand:
            return self._member(component, component.shorthand, node, node)
        if node.is_mapping and component.tag and component.tag in value:
            name = value[component.tag]
            if not isinstance(name.value, str):
                self.problems.append(name.problem(f"must be the name of a {registry.kind} (got {show(name.plain())})"))
                return FAILED
            return self._member(component, name.value, name, node, ignore=(component.tag,))
        if node.is_mapping and len(value) == 1 and next(iter(value)) in registry:
            name, child = next(iter(value.items()))
            return self._member(component, name, node, child)
        if node.is_mapping and component.mapping is not None:
            return self.leaf(component.mapping, node)
        self.problems.append(node.problem(self._component_forms(component, node)))
        return FAILED

    def leaf(self, annotation: Any, node: Node) -> Any:
        """A value that pydantic checks, or ``FAILED``."""
        try:
            return _adapter(annotation).validate_python(node.plain())
        except ValidationError as error:
            self._translate(error, node)
            return FAILED

    def _items(self, kind: type, annotation: Any, node: Node) -> Any:
        component = Field("", "", annotation, None).component
        if kind is list:
            if not node.is_list:
                self.problems.append(node.problem(f"must be a list (got {show(node.plain())})"))
                return FAILED
            return tuple(self.value(annotation, child, component) for child in node.value)
        if not node.is_mapping:
            self.problems.append(node.problem(f"must be a mapping of names (got {show(node.plain())})"))
            return FAILED
        return {key: self.value(annotation, child, component) for key, child in node.value.items()}

    def _member(
        self, component: Component, name: str, name_node: Node, arguments: Node, *, ignore: Sequence[str] = ()
    ) -> Any:
        try:
            cls = component.registry.get(name)
        except SchedEngineError as error:
            self.problems.append(name_node.problem(str(error)))
            return FAILED
        is_value = not arguments.is_mapping or not (
            not arguments.value or ignore or any(key in fields_of(cls) for key in arguments.value)
        )
        if is_value and (not arguments.is_mapping or getattr(cls, "shorthand_is_mapping", False)):
            if not fields_of(cls):
                self.problems.append(arguments.problem(f"{name} takes no value (got {show(arguments.plain())})"))
                return FAILED
            key = main_field(cls)
            value = self.field(fields_of(cls)[key.rstrip("_")], arguments)
            return FAILED if value is FAILED else self._construct(cls, {key: value}, arguments)
        return self.spec(cls, arguments, ignore=ignore)

    def _component_forms(self, component: Component, node: Node) -> str:
        names = component.registry.names()
        kind = component.registry.kind
        if node.is_mapping and component.tag:
            near = difflib.get_close_matches(component.tag, node.value, n=1)
            found = f" (got {near[0]!r})" if near else ""
            return f"needs {component.tag!r}, the name of a {kind}: {', '.join(names)}{found}"
        if node.is_mapping and len(node.value) == 1:
            return f"unknown {kind} {next(iter(node.value))!r}; {did_you_mean(next(iter(node.value)), names)}"
        got = show(node.plain())
        return f"must name one {kind}, alone or as {{name: {{...}}}} (got {got}); known: {', '.join(names)}"

    def _construct(self, cls: type, values: dict[str, Any], node: Node) -> Any:
        try:
            return cls(**values)
        except ValidationError as error:
            self._translate(error, node)
        except (SchedEngineError, ValueError, TypeError) as error:
            self.problems.append(node.problem(str(error)))
        return FAILED

    def _translate(self, error: ValidationError, node: Node) -> None:
        """pydantic's errors as problems; of a union's branches, the one that says most."""
        by_place: dict[str, tuple[Node, list[Any]]] = {}
        for detail in error.errors(include_url=False):
            place = _descend(node, detail["loc"])
            by_place.setdefault(place.path, (place, []))[1].append(detail)
        for path, (place, details) in by_place.items():
            is_deeper = any(other.startswith((f"{path}.", f"{path}[")) for other in by_place)
            if not (is_deeper and all(_is_type(detail) for detail in details)):
                self.problems.append(place.problem(_messages(details, place)))


@functools.lru_cache(maxsize=512)
def _cached_adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(annotation)
    except TypeError:  # an annotation with an unhashable default in it
        return TypeAdapter(annotation)


def _descend(node: Node, location: Sequence[int | str]) -> Node:
    """Follow pydantic's path as far as it names keys of the file; its own words (branches of a union) are skipped."""
    for part in location:
        child = node.child(part)
        if child is None and isinstance(part, str):
            child = node.child(part.rstrip("_"))
        node = child or node
    return node


_TYPES = {
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a word",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}


def _is_type(detail: dict[str, Any]) -> bool:
    """Whether a branch of a union says no more than that the value is of another type."""
    return detail["type"] in _TYPES or detail["type"] in ("none_required", "is_instance_of", "dataclass_exact_type")


def _messages(details: Sequence[dict[str, Any]], node: Node) -> str:
    """One message for what the branches of a union say: a wrong range tells more than a wrong type."""
    telling = next((detail for detail in details if not _is_type(detail)), None)
    if telling is not None:
        return _message(telling, node)
    wanted = dict.fromkeys(_TYPES[detail["type"]] for detail in details if detail["type"] in _TYPES)
    value = node.plain()
    return f"must be {' or '.join(wanted) or 'something else'} (got {show(value)}){_unquoted(value, wanted)}"


def _message(detail: dict[str, Any], node: Node) -> str:
    got = show(node.plain())
    kind, context = detail["type"], detail.get("ctx", {})
    relation = {
        "greater_than": ("gt", "greater than"),
        "greater_than_equal": ("ge", "at least"),
        "less_than": ("lt", "less than"),
        "less_than_equal": ("le", "at most"),
    }.get(kind)
    if relation:
        return f"must be {relation[1]} {context[relation[0]]:g} (got {got}){_percent(node.plain(), context)}"
    if kind == "literal_error":
        near = difflib.get_close_matches(str(node.plain()), re.findall(r"'([^']*)'", context["expected"]), n=1)
        return f"must be {context['expected']} (got {got})" + (f"; did you mean {near[0]}?" if near else "")
    if kind == "too_short":
        return "the list is empty; give at least one entry"
    if kind == "value_error":
        what = str(context["error"])
        return what if node.is_mapping or got in what else f"{what} (got {got})"
    message = str(detail["msg"])
    return f"{message[0].lower()}{message[1:]} (got {got})"


def _percent(value: Any, limits: dict[str, Any]) -> str:
    """What to do about 90 where a fraction should be."""
    is_share = limits.get("lt") == 1 or limits.get("le") == 1
    return f"; write the fraction, {value / 100:g}" if is_share and 2 <= value < 100 else ""


def _unquoted(value: Any, wanted: Iterable[str]) -> str:
    """What to do about a number in quotes where a number should be, or one without where a word should be."""
    if isinstance(value, str) and any("number" in what for what in wanted):
        if value.endswith("%") and _NUMBER.fullmatch(value[:-1]):
            return f"; write the fraction, {float(value[:-1]) / 100:g}"
        return "; remove the quotes" if _NUMBER.fullmatch(value) else ""
    is_plain = isinstance(value, (bool, int, float))
    return "; put it in quotes" if is_plain and list(wanted) == ["a word"] else ""


def show(value: Any) -> str:
    """A value for a message, in one short line."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."
