"""What a registered class says about its keys: the one place where reader, writer and JSON Schema learn it from."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from schedengine.registry import Component

REQUIRED = object()


@dataclass(frozen=True)
class Field:
    """A key of a mapping in the file.

    Args:
        name: of the attribute (``from_``).
        key: in the file (``from``).
        annotation: as written, ``Annotated`` metadata included.
        default: the value when the key is absent, or ``REQUIRED``.
    """

    name: str
    key: str
    annotation: Any
    default: Any

    @property
    def component(self) -> Component | None:
        """The registry that this key names a member of, if it does."""
        return component_of(self.annotation)


def component_of(annotation: Any) -> Component | None:
    """The ``Component`` marker in an annotation, looking through ``Optional``."""
    if get_origin(annotation) is Annotated:
        found = next((item for item in get_args(annotation)[1:] if isinstance(item, Component)), None)
        return found or component_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for part in get_args(annotation) if (found := component_of(part))), None)
    return None


def spec_of(annotation: Any) -> type | None:
    """The dataclass that an annotation is, if it is one, looking through ``Optional``."""
    if get_origin(annotation) is Annotated:
        return spec_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        others = [part for part in get_args(annotation) if part is not type(None)]
        return spec_of(others[0]) if len(others) == 1 else None
    return annotation if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) else None


def items_of(annotation: Any) -> tuple[type, Any] | None:
    """(list or dict, annotation of its values) for a container of specs or components; None for anything else."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    kind: type
    if origin is Annotated:
        return items_of(arguments[0])
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        kind, value = list, arguments[0]
    elif origin is dict:
        kind, value = dict, arguments[1]
    else:
        return None
    return (kind, value) if spec_of(value) or component_of(value) else None


def fields_of(cls: Any) -> dict[str, Field]:
    """The keys of a registered class, by key, in the order of the class."""
    return _fields_of(cls)


@functools.cache
def _fields_of(cls: Any) -> dict[str, Field]:
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for item in dataclasses.fields(cls):
        if not item.init or typing.get_origin(hints[item.name]) is typing.ClassVar:
            continue
        key = item.name.rstrip("_")
        found[key] = Field(item.name, key, hints[item.name], _default(item))
    return found


def _default(item: dataclasses.Field[Any]) -> Any:
    default = item.default
    if isinstance(default, FieldInfo):
        if default.default_factory is not None:
            return default.get_default(call_default_factory=True, validated_data={})
        default = default.default
        return REQUIRED if default in (PydanticUndefined, Ellipsis) else default
    if default is not dataclasses.MISSING:
        return default
    if item.default_factory is not dataclasses.MISSING:
        return item.default_factory()
    return REQUIRED
