"""Docstrings as data: what a class says about itself and its keys, for the JSON Schema and the documentation."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises|Example|Reference):(?:\s+(\S.*))?")
_ENTRY = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")


@dataclass(frozen=True)
class Description:
    """What a docstring says.

    Args:
        summary: its first sentence, on one line.
        text: what follows before the first section; paragraphs as they stand.
        args: key in the file -> what it means, on one line.
        reference: where the idea comes from, on one line; empty for none.
    """

    summary: str = ""
    text: str = ""
    args: dict[str, str] = field(default_factory=dict)
    reference: str = ""


def describe(cls: type) -> Description:
    """A class's docstring, with the keys that it inherits.

    Args:
        cls: with a docstring in Google's style; without one of its own it has no summary.

    Example:
        >>> from schedengine.sparsity.ramps import Cubic
        >>> describe(Cubic).args["to"]
        'target of the last cut; a target per parameter takes its place.'
    """
    args: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        args |= parse(_own_docstring(base)).args
    own = parse(_own_docstring(cls))
    return Description(own.summary, own.text, args, own.reference)


def parse(docstring: str) -> Description:
    """A docstring in Google's style.

    Args:
        docstring: cleaned or not.
    """
    sections: dict[str, list[str]] = {"": []}
    current = ""
    for line in inspect.cleandoc(docstring).splitlines():
        header = _SECTION.fullmatch(line)
        if header:
            current = header[1]
            sections[current] = [header[2]] if header[2] else []
        else:
            sections[current].append(line)
    summary, _, text = "\n".join(sections[""]).strip().partition("\n\n")
    reference = _one_line("\n".join(sections.get("Reference", [])))
    return Description(_one_line(summary), text.strip(), _entries(sections.get("Args", [])), reference)


def _entries(lines: list[str]) -> dict[str, str]:
    entries: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry:
            names = [name.rstrip("_") for name in entry[1].split(", ")]
        for name in names:
            entries[name] = entry[2] if entry else f"{entries[name]} {line.strip()}".strip()
    return entries


def _own_docstring(cls: type) -> str:
    """Not an inherited one, and not the signature that ``dataclass`` puts where there is none."""
    docstring = cls.__dict__.get("__doc__") or ""
    return "" if docstring.startswith(f"{cls.__name__}(") or cls is object else docstring


def _one_line(text: str) -> str:
    return " ".join(text.split())
