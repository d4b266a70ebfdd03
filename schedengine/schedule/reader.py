"""Tree -> objects: every key checked against the class that it belongs to, every problem kept with its place.

The classes are their own schema (see ``registry.py``); scalars are checked by pydantic, structure here, so that an
unknown key gets its nearest name and a wrong value the line it stands on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schedengine.errors import Problem, SchedEngineError, did_you_mean
from schedengine.registry import Component, main_field
from schedengine.schedule.fields import REQUIRED, Field, fields_of, items_of, spec_of
from schedengine.schedule.source import Node

FAILED = object()
"""What could not be read; the reason is among the problems."""


class Reader:
    """Reads nodes, collecting problems instead of stopping at the first.

    Attributes:
        problems: what was found wrong so far.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def spec(self, cls: type, node: Node, *, ignore: Sequence[str] = ()) -> Any:
        """An instance of ``cls`` from a mapping, or ``FAILED``.

        Args:
            ignore: keys that the caller has read already.
        """
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
            return f"needs {component.tag!r}, the name of a {kind}: {', '.join(names)}"
        if node.is_mapping and len(node.value) == 1:
            return f"unknown {kind} {next(iter(node.value))!r}; {did_you_mean(next(iter(node.value)), names)}"
        return f"must name one {kind}, alone or as {{name: {{...}}}} (got {show(node.plain())}); known: {', '.join(names)}"

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
        by_place: dict[str, tuple[Node, Any]] = {}
        for detail in error.errors(include_url=False):
            place = _descend(node, detail["loc"])
            known = by_place.get(place.path)
            if known is None or _weight(detail["type"]) > _weight(known[1]["type"]):
                by_place[place.path] = (place, detail)
        for place, detail in by_place.values():
            self.problems.append(place.problem(_message(detail, place)))


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


def _weight(kind: str) -> int:
    """How much an error of one branch of a union tells: a wrong range more than a wrong type."""
    if kind in ("none_required", "is_instance_of"):
        return 0
    return 1 if kind.endswith("_type") else 2


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
        return f"must be {relation[1]} {context[relation[0]]} (got {got})"
    if kind in ("float_type", "int_type", "int_from_float", "float_parsing", "int_parsing"):
        what = "a whole number" if kind.startswith("int") else "a number"
        return f"must be {what} (got {got}){_unquoted(node.plain())}"
    if kind in ("bool_type", "bool_parsing"):
        return f"must be true or false (got {got})"
    if kind == "string_type":
        return f"must be a word (got {got})"
    if kind == "literal_error":
        return f"must be {context['expected']} (got {got})"
    if kind in ("value_error", "assertion_error"):
        return f"{str(context.get('error', detail['msg']))} (got {got})"
    message = str(detail["msg"])
    return f"{message[0].lower()}{message[1:]} (got {got})"


def _unquoted(value: Any) -> str:
    try:
        float(value)
    except (TypeError, ValueError):
        return ""
    return "; remove the quotes" if isinstance(value, str) else ""


def show(value: Any) -> str:
    """A value for a message, in one short line."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:76]} ..."


