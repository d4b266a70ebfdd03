"""The language as a JSON Schema, for editors and other programs: generated from the registries, so never behind them.

It says what keys there are, what they hold and what they mean. What depends on several parts of a file (references,
windows, phases) only ``load_schedule`` checks.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from schedengine.errors import SchedEngineError
from schedengine.pruners.pruner import Pruner
from schedengine.registry import Component, main_field
from schedengine.schedule import distiller
from schedengine.schedule.describe import describe
from schedengine.schedule.document import ACTIONS, KINDS, Policy, Schedule
from schedengine.schedule.fields import REQUIRED, Field, fields_of, items_of, spec_of
from schedengine.schedule.load import SECTIONS

Json = dict[str, Any]
_REF = "#/$defs/{model}"


def json_schema() -> Json:
    """The JSON Schema (draft 2020-12) of schedule files.

    Returns:
        Plain values. Version 2 in every detail; of version 1, Distiller's, the sections and a policy's shape.
    """
    schema = _Schema()
    schema.definitions["version1"] = _version1()
    schema.definitions["version2"] = schema.version2()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "schedengine schedule",
        "type": "object",
        "required": ["policies"],
        "if": {"required": ["version"], "properties": {"version": {"const": 2}}},
        "then": {"$ref": _REF.format(model="version2")},
        "else": {"$ref": _REF.format(model="version1")},
        "$defs": schema.definitions,
    }


class _Schema:
    """Collects one definition for each class that a file can name.

    Attributes:
        definitions: name -> schema, for ``$defs``.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Json] = {}

    def version2(self) -> Json:
        said = describe(Schedule).args
        sections = {key: self._described(self.field(section), said.get(key)) for key, section in SECTIONS.items()}
        version = {"const": 2, "description": "of the language; 1 is Distiller's"}
        return _mapping({"version": version, **sections}, ["version", "policies"])

    def field(self, field: Field) -> Json:
        """What one key may hold."""
        return self.value(field.annotation, is_optional=field.default is None)

    def value(self, annotation: Any, *, is_optional: bool = False) -> Json:
        """What any annotation may hold; the same cases in the same order as the reader's."""
        component, items, cls = Field("", "", annotation, None).component, items_of(annotation), spec_of(annotation)
        if component is not None:
            forms = self.component(component)
            return {"anyOf": [*forms["anyOf"], {"type": "null"}]} if is_optional else forms
        if items is not None and items[0] is list:
            return {"type": "array", "items": self.value(items[1])}
        if items is not None:
            return {"type": "object", "additionalProperties": self.value(items[1])}
        if cls is not None and hasattr(cls, "__pydantic_fields__"):
            spec = self.spec(cls, cls.__name__)
            return {"anyOf": [self._main(cls), spec]} if hasattr(cls, "shorthand") else spec
        return self.leaf(annotation)

    def leaf(self, annotation: Any) -> Json:
        """A value that pydantic checks."""
        schema = TypeAdapter(annotation).json_schema(ref_template=_REF)
        self.definitions.update(schema.pop("$defs", {}))
        return schema

    def spec(self, cls: type, name: str, *, tag: tuple[str, str] | None = None) -> Json:
        """A reference to the mapping of a class's fields.

        Args:
            name: of its definition.
            tag: a key that holds the class's name beside its fields, and that name.
        """
        if name not in self.definitions:
            self.definitions[name] = {}  # a phase holds phases
            self.definitions[name] = self._fields(cls, tag)
        return {"$ref": _REF.format(model=name)}

    def component(self, component: Component) -> Json:
        """All the forms in which a member of a registry can be written."""
        forms = [form for name in component.registry.names() for form in self._member(component, name)]
        if component.shorthand:
            forms.insert(0, {"allOf": [{"type": "number"}, self._main(component.registry.get(component.shorthand))]})
        if component.mapping is not None:
            forms.append(self.leaf(component.mapping))
        return {"anyOf": forms}

    def _member(self, component: Component, name: str) -> list[Json]:
        try:
            cls = component.registry.get(name)
        except SchedEngineError:  # its library is not installed
            return []
        label = f"{component.registry.kind}.{name}".replace(" ", "-")
        fields, forms = fields_of(cls), []
        if all(field.default is not REQUIRED for field in fields.values()):
            forms.append(self._described({"const": name}, describe(cls).summary))
        if component.tag:
            forms.append(self.spec(cls, label, tag=(component.tag, name)))
        arguments = [self.spec(cls, f"{label}.fields"), *([self._main(cls)] if fields else [])]
        return [*forms, _mapping({name: {"anyOf": arguments}}, [name])]

    def _main(self, cls: type) -> Json:
        return self.field(fields_of(cls)[main_field(cls).rstrip("_")])

    def _fields(self, cls: type, tag: tuple[str, str] | None) -> Json:
        said, fields = describe(cls), fields_of(cls)
        properties = {key: self._described(self.field(field), said.args.get(key)) for key, field in fields.items()}
        required = [key for key, field in fields.items() if field.default is REQUIRED]
        if tag is not None:
            properties, required = {tag[0]: {"const": tag[1]}, **properties}, [tag[0], *required]
        return self._described(_mapping(properties, required), said.summary) | _CHOICES.get(cls, {})

    @staticmethod
    def _described(schema: Json, text: str | None) -> Json:
        return {**schema, "description": text} if text else schema


def _mapping(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _one_of(*keys: str) -> Json:
    """Exactly one of the keys has a value; null counts as absent."""
    return {"oneOf": [{"required": [key], "properties": {key: {"not": {"type": "null"}}}} for key in keys]}


_CHOICES: dict[type, Json] = {
    Pruner: {
        "if": {
            "required": ["granularity"],
            "properties": {"granularity": {"type": "object", "required": ["keep"]}},
        },
        "then": {"properties": {key: {"type": "null"} for key in ("sparsity", "threshold")}},
        "else": _one_of("sparsity", "threshold"),
    },
    Policy: {"allOf": [_one_of(*KINDS, *ACTIONS), _one_of("at", "during")]},
}


def _version1() -> Json:
    component = {"type": "object", "required": ["class"], "properties": {"class": {"type": "string"}}}
    instance = {
        "type": "object",
        "required": ["instance_name"],
        "properties": {"instance_name": {"type": "string"}, "args": {"type": ["object", "null"]}},
    }
    epoch = {"type": "integer", "minimum": 0}
    policy = {
        "type": "object",
        "properties": {
            **dict.fromkeys(distiller.KINDS, instance),
            "epochs": {"type": "array", "items": epoch, "minItems": 1},
            **dict.fromkeys(distiller.WINDOW, epoch),
        },
        "additionalProperties": False,
        "oneOf": [{"required": [kind]} for kind in distiller.KINDS],
        "anyOf": [{"required": ["epochs"]}, {"required": list(distiller.WINDOW)}],
    }
    instances = {"type": "object", "additionalProperties": component}
    sections = {section: instances for section in distiller.SECTIONS if section not in ("version", "policies")}
    return _mapping({"version": {"const": 1}, **sections, "policies": {"type": "array", "items": policy}}, ["policies"])
