"""A section of a file: its instances, each rewritten by the row of its class."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from schedengine.errors import Problem, did_you_mean
from schedengine.lr import LR_SCHEDULES
from schedengine.schedule.distiller.rows import Row
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

_AXES = ("criterion", "granularity", "allocation", "sparsity", "threshold", "update", "penalty", "strength")
_NO_NOISE = (0, "is not available: scores are not noisy here; use RandomRankedFilterPruner as a control")
_INERT: dict[str, tuple[Any, str]] = {
    "noise": _NO_NOISE,
    "ranking_noise": _NO_NOISE,
    "group_size": (1, "cannot be other than 1, with which Distiller crashes; use together, or blocks, in version 2"),
    "rounding_fn": (None, "has no effect in Distiller, which rounds down; write 'rounding' in version 2"),
    "magnitude_fn": (
        None,
        "is not available: a file names no functions; use the class of the norm, L1Ranked... or L2Ranked...",
    ),
}
"""Arguments that may stand at the value that changes nothing -> that value, and what to say of any other."""


@dataclass(frozen=True)
class Instances:
    """Those of a section, without those that have problems.

    Args:
        nodes: ours, by name.
        became: the names of ours, by the name of Distiller's that became them.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    became: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, node: Node, *, of: str) -> None:
        """One of ours."""
        self.nodes[name] = node
        self.became.setdefault(of, []).append(name)


def rewritten(root: Node, section: str, rows: Mapping[str, Row], problems: list[Problem]) -> Instances:
    """The instances of a section, by the rows of their classes.

    Args:
        root: of the file.
        section: one that may be missing.
        rows: by class.
        problems: what is wrong is appended.
    """
    found = Instances()
    defined = _section(root, section, problems)
    taken = {name for name, _ in defined}
    for name, node in defined:
        for suffix, fields in _parts(node, rows, problems).items():
            own = free(f"{name}_{suffix}", taken) if suffix else name
            taken.add(own)
            found.add(own, node.derived(fields), of=name)
    return found


def lr_schedulers(root: Node, problems: list[Problem]) -> Instances:
    """Those of the file; their classes are ours too."""
    found = Instances()
    for name, node in _section(root, "lr_schedulers", problems):
        cls = node.value.get("class")
        if cls is None:
            problems.append(node.problem("needs 'class'"))
            continue
        if cls.value == "PolynomialLR":  # Distiller's own wins over torch's, which came later
            node.value["class"] = cls.derived("DistillerPolynomialLR")
        elif isinstance(cls.value, str) and cls.value.islower() and cls.value in LR_SCHEDULES:
            what = f"{cls.value!r} belongs to version 2; write 'version: 2', or torch's class name"
            problems.append(cls.problem(what))
            continue
        found.add(name, node, of=name)
    return found


def free(name: str, taken: Collection[str]) -> str:
    """A name, with a number from 2 on if it is taken."""
    return next(new for number in range(1, 1000) if (new := name if number == 1 else f"{name}_{number}") not in taken)


def _section(root: Node, section: str, problems: list[Problem]) -> list[tuple[str, Node]]:
    node = root.value.get(section)
    if node is None:
        return []
    if not node.is_mapping:
        problems.append(node.problem(f"must be a mapping of names to components (got {show(node.plain())})"))
        return []
    for child in node.value.values():
        if not child.is_mapping:
            problems.append(child.problem(f"must be a mapping with 'class' (got {show(child.plain())})"))
    return [(name, child) for name, child in node.value.items() if child.is_mapping]


def _parts(node: Node, rows: Mapping[str, Row], problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """What an instance becomes: one of ours, or several, by what their names end in; nothing if it has problems."""
    row, before = _row(node, rows, problems), len(problems)
    if row is None:
        return {}
    _check_keys(node, row, problems)
    fields = row.rewrite(node, problems) if len(problems) == before else {}
    if len(problems) > before or not fields:
        return {}
    if not row.is_split:
        return {"": fields}
    return fields if len(fields) > 1 else {"": next(iter(fields.values()))}


def _row(node: Node, rows: Mapping[str, Row], problems: list[Problem]) -> Row | None:
    cls = node.value.get("class")
    if cls is None or not isinstance(cls.value, str):
        axes = [key for key in _AXES if key in node.value]
        mixed = f"; {axes[0]!r} belongs to version 2: write 'version: 2'" if axes else ""
        problems.append(node.problem(f"needs 'class'{mixed}"))
    elif cls.value not in rows:
        problems.append(cls.problem(f"unknown class {cls.value!r}; {did_you_mean(cls.value, rows)}"))
    else:
        return rows[cls.value]
    return None


def _check_keys(node: Node, row: Row, problems: list[Problem]) -> None:
    known = (*row.needs, *row.takes, "class")
    for key in node.value:
        if key not in known:
            what = "belongs to version 2" if key in _AXES else "unknown key"
            problems.append(node.problem(f"{what}; {did_you_mean(key, known)}", key=key))
        elif key in _INERT and node.value[key].value not in (None, _INERT[key][0]):
            problems.append(node.problem(_INERT[key][1], key=key))
    for key in row.needs:
        if key not in node.value:
            problems.append(node.problem(f"needs {key!r}"))
    _check_weights(node, problems)


def _check_weights(node: Node, problems: list[Problem]) -> None:
    weights = node.value.get("weights")
    if weights is None:
        return
    # A bare name is legal, and several of Distiller's files have one (by substring there; here it is a name).
    names = weights.value if weights.is_list else [weights]
    if not (names and all(isinstance(name.value, str) for name in names)):
        problems.append(weights.problem(f"must be a list of parameter names (got {show(weights.plain())})"))
