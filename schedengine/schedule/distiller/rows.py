"""A row of the alias table: one of Distiller's classes; and how the arguments of a class are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schedengine.errors import Problem
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

Rewrite = Callable[[Node, list[Problem]], dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One of Distiller's classes.

    Args:
        needs: arguments without which it cannot work.
        takes: the others.
        rewrite: its arguments as our mapping; appends to the problems what it finds wrong.
        is_split: the rewritten mapping holds one instance for each structure, by the structure's name.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...]
    rewrite: Rewrite
    is_split: bool = False


def is_number(node: Node) -> bool:
    """Whether it is one; true and false are not."""
    return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)


def check_number(node: Node, problems: list[Problem]) -> None:
    """Append a problem if it is none."""
    if not is_number(node):
        problems.append(node.problem(f"must be a number (got {show(node.plain())})"))


def is_absent(node: Node, key: str) -> bool:
    """Whether an argument is left out, or null."""
    return key not in node.value or node.value[key].value is None


def one_of(node: Node, words: Mapping[str, Any], problems: list[Problem]) -> Any:
    """What one of Distiller's words is here; of any other the first word's, and a problem."""
    if not isinstance(node.value, str) or node.value not in words:
        problems.append(node.problem(f"must be one of {', '.join(words)} (got {show(node.plain())})"))
        return next(iter(words.values()))
    return words[node.value]


def names_to_values(node: Node, key: str, problems: list[Problem]) -> Node | None:
    """An argument that maps parameter names to values; None, and a problem, if it does not."""
    mapping = node.value[key]
    if not mapping.is_mapping or not mapping.value:
        problems.append(mapping.problem(f"must map parameter names to numbers (got {show(mapping.plain())})"))
        return None
    return mapping  # type: ignore[no-any-return]


def names_to_levels(node: Node, problems: list[Problem]) -> Node | None:
    """Without those of 0, which Distiller skips: a mask of theirs would replace that of another pruner."""
    levels = names_to_values(node, "levels", problems)
    if levels is None or ("*" in levels.value and levels.value["*"].value != 0):
        return levels
    positive = {name: level for name, level in levels.value.items() if level.value != 0}
    return Node(positive or levels.value, levels.path, levels.mark, levels.keys)
