"""Which weights go together: Distiller's group types as our granularities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.errors import Problem
from schedengine.schedule.distiller.rows import Rewrite, names_to_values
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

FILTERS = {"3D": "filter", "Filters": "filter"}
CHANNELS = {"Channels": "channel"}
RANKED = {**FILTERS, **CHANNELS, "Rows": "channel", "Blocks": "blocks"}
"""Those of classes that rank; what blocks are here their shape says."""
THRESHOLDED = {**FILTERS, "2D": "kernel", **CHANNELS, "Rows": "row", "Cols": "column", "4D": "tensor"}
PENALISED: dict[str, str | tuple[str, ...]] = {
    **THRESHOLDED,
    "Rows+Cols": ("row", "column"),
    "Channels+4D": ("channel", "tensor"),
}


def structured(inner: Rewrite, criterion: Any, types: Mapping[str, str], **axes: Any) -> Rewrite:
    """A rewriting for structures, of one for single weights.

    Args:
        inner: the other axes.
        criterion: which structures go first.
        types: granularities by the words for them that the class knows.
        axes: what the class does otherwise than ``inner`` says.
    """

    def rewrite(node: Node, problems: list[Problem]) -> dict[str, Any]:
        group = node.value["group_type"]
        if group.is_mapping or group.is_list or group.value not in types:
            problems.append(group.problem(f"must be one of {', '.join(types)} (got {show(group.plain())})"))
            return {}
        granularity = _blocks(node, problems) if group.value == "Blocks" else types[group.value]
        together = {"together": "leader"} if _is_led(node, problems) else {}
        return {**inner(node, problems), "criterion": criterion, "granularity": granularity, **together, **axes}

    return rewrite


def _is_led(node: Node, problems: list[Problem]) -> bool:
    dependency = node.value.get("group_dependency")
    if dependency is None or dependency.value is None:
        return False
    if dependency.value != "Leader":
        problems.append(dependency.problem(f"must be Leader (got {show(dependency.plain())}), or be left out"))
    return True


def _blocks(node: Node, problems: list[Problem]) -> Any:
    """``[r, d, 1, 1]``: r * d kernels in a row, as Distiller computes it; or r filters, for d = 1."""
    extra = node.value.get("kwargs")
    shape = extra.value.get("block_shape") if extra is not None and extra.is_mapping else None
    if shape is None:
        found = "" if extra is None else f" (got {show(extra.plain())})"
        what = f"group_type Blocks needs 'kwargs: {{block_shape: [r, d, 1, 1]}}'{found}"
        problems.append((extra or node).problem(what))
        return "element"
    extents = shape.plain()
    if not (isinstance(extents, list) and len(extents) == 4 and all(type(one) is int and one > 0 for one in extents)):
        problems.append(shape.problem(f"must be four whole numbers above 0 (got {show(extents)})"))
        return "element"
    if extents[2:] != [1, 1]:
        problems.append(shape.problem(f"must end in 1, 1: blocks are of one position each (got {show(extents)})"))
    return {"block": [extents[0]]} if extents[1] == 1 else {"consecutive": extents[0] * extents[1]}


def regims(node: Node, problems: list[Problem], types: Mapping[str, str | tuple[str, ...]]) -> dict[str, Node]:
    """``reg_regims: {parameter: [number, group type]}`` as the numbers of each of our granularities."""
    mapping = names_to_values(node, "reg_regims", problems)
    if mapping is None:
        return {}
    found: dict[str, Node] = {}
    for name, entry in mapping.value.items():
        if not entry.is_list or len(entry.value) != 2:
            problems.append(entry.problem(f"must be [number, group type] (got {show(entry.plain())})"))
            continue
        number, kind = entry.value
        if not isinstance(kind.value, str) or kind.value not in types:
            problems.append(kind.problem(f"must be one of {', '.join(types)} (got {show(kind.plain())})"))
            continue
        granularities = types[kind.value]
        for granularity in (granularities,) if isinstance(granularities, str) else granularities:
            found.setdefault(granularity, mapping.derived({})).value[name] = number
    return found
