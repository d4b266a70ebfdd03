"""Names in a file -> classes. What can be named is a literal table per room; nothing is imported to list it.

A registered class is its own schema: a frozen pydantic dataclass whose fields are the keys of the file (a trailing
underscore is dropped, so that ``from_`` is written ``from``). A schedule writes a component as

    criterion: magnitude                    its name, if every field has a default
    criterion: {magnitude: {norm: l2}}      its name and its fields
    granularity: {block: [4, 1]}            its name and the value of its first field
    sparsity: {ramp: cubic, to: 0.9}        the same in one mapping, where the field of the owner has a tag (``ramp``)
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict

from schedengine.errors import SchedEngineError, did_you_mean

SPEC = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""The pydantic configuration of every registered class: ``@dataclass(frozen=True, config=SPEC)``."""


class Registry:
    """One room's names.

    Args:
        kind: what a name stands for, in the singular, as messages call it (``criterion``).
        entries: name -> ``"package.module:Class"``; the module is imported when the name is first used.
        refused: names that users may expect here -> why they are not, and what to write instead.

    Example:
        >>> colours = Registry("colour", {"fraction": "fractions:Fraction"})
        >>> colours.get("fraction").__name__
        'Fraction'
        >>> colours.get("fractoin")
        Traceback (most recent call last):
        ...
        schedengine.errors.SchedEngineError: unknown colour 'fractoin'; did you mean fraction?
    """

    def __init__(self, kind: str, entries: dict[str, str], refused: dict[str, str] | None = None) -> None:
        self.kind = kind
        self._refused = refused or {}
        self._entries: dict[str, str | type] = dict(entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def names(self) -> list[str]:
        """All names, in the order of the table."""
        return list(self._entries)

    def get(self, name: str) -> type[Any]:
        """The class behind a name.

        Raises:
            SchedEngineError: the name is not known; the message has the nearest ones.
        """
        if name in self._refused:
            raise SchedEngineError(self._refused[name])
        if name not in self._entries:
            raise SchedEngineError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self._entries)}")
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            entry = self._entries[name] = getattr(importlib.import_module(module), attribute)
        return entry

    def name_of(self, component: object) -> str:
        """The name under which a component's class is registered (what a dump writes)."""
        for name in self._entries:
            if self.get(name) is type(component):
                return name
        raise SchedEngineError(f"{type(component).__name__} is not a registered {self.kind}")

    def register(self, name: str, cls: type) -> None:
        """Add a class of your own; schedules can name it from then on.

        Args:
            name: the word in the file.
            cls: a frozen pydantic dataclass, see the module's docstring.

        Raises:
            SchedEngineError: the name is taken, or the class is not a dataclass.
        """
        if name in self._entries:
            raise SchedEngineError(f"{self.kind} {name!r} is registered already")
        if not dataclasses.is_dataclass(cls):
            raise SchedEngineError(f"{self.kind} {name!r}: {cls.__name__} is not a dataclass; see docs/extending.md")
        self._entries[name] = cls


@dataclass(frozen=True)
class Component:
    """Marks a field as naming a member of a registry: ``Annotated[Criterion, Component(CRITERIA)]``.

    Args:
        registry: where the name is looked up.
        tag: the key that holds the name when name and fields share one mapping (``ramp``, ``class``); None for none.
        shorthand: the name meant by a bare number (``sparsity: 0.9``), which becomes its first field; None for none.
        mapping: the type of a plain mapping that may stand here instead (``dict[str, Level]``); None for none.
    """

    registry: Registry
    tag: str | None = None
    shorthand: str | None = None
    mapping: Any = None


def main_field(cls: type) -> str:
    """The field that a value without a key belongs to: the class's ``shorthand``, else its first field."""
    named: str | None = getattr(cls, "shorthand", None)
    return named or next(item.name for item in dataclasses.fields(cls))
