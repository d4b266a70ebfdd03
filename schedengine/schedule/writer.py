"""Objects -> plain values, the inverse of ``reader.py``: only what differs from the defaults is written."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import PlainSerializer

from schedengine.registry import Component, main_field
from schedengine.schedule.fields import Field, fields_of, items_of


def to_plain(spec: Any) -> dict[str, Any]:
    """A spec as the mapping that reads back to it."""
    written = {}
    for key, field in fields_of(type(spec)).items():
        value = getattr(spec, field.name)
        if value != field.default:
            written[key] = _value(field, value)
    return written


def _value(field: Field, value: Any) -> Any:
    serialize = _serializer(field.annotation)
    if serialize is not None and value is not None:
        return serialize(value)
    items = items_of(field.annotation)
    if items is not None:
        inner = Field("", "", items[1], None)
        if items[0] is list:
            return [_value(inner, item) for item in value]
        return {key: _value(inner, item) for key, item in value.items()}
    if field.component is not None and dataclasses.is_dataclass(value):
        return component_to_plain(field.component, value)
    return plain(value)


def _serializer(annotation: Any) -> Callable[[Any], Any] | None:
    """How an annotation says its values are written (pydantic's ``PlainSerializer``), looking through ``Optional``."""
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, PlainSerializer):
            return item.func  # type: ignore[return-value]  # ours take the value alone
    if get_origin(annotation) not in (Annotated, Union, types.UnionType):
        return None  # what a list holds writes itself, one by one
    return next((found for part in get_args(annotation) if (found := _serializer(part))), None)


def component_to_plain(component: Component, member: Any) -> Any:
    """A member of a registry in its shortest form."""
    name, fields = component.registry.name_of(member), to_plain(member)
    if not fields:
        return {component.tag: name} if component.tag and not component.shorthand else name
    value = next(iter(fields.values()))
    is_main = list(fields) == [main_field(type(member)).rstrip("_")] and _may_stand_alone(type(member), value)
    if is_main and name == component.shorthand and not isinstance(value, dict):
        return value
    if component.tag:
        return {component.tag: name, **fields}
    return {name: value if is_main else fields}


def _may_stand_alone(cls: type, value: Any) -> bool:
    """Whether a value without its key reads as the value, not as the class's fields."""
    if not isinstance(value, dict):
        return True
    is_allowed = bool(value) and getattr(cls, "shorthand_is_mapping", False)
    return is_allowed and not any(key in fields_of(cls) for key in value)


def plain(value: Any) -> Any:
    """Any value of a spec as YAML can write it."""
    if hasattr(value, "plain"):
        return value.plain()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        written = to_plain(value)
        main = getattr(value, "shorthand", None)
        if main is not None and written.keys() <= {main}:
            return written.get(main, getattr(value, main))
        return written
    return value
