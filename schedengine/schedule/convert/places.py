"""Where pieces of the old tree are in the new one, and the new one in the order of the old."""

from __future__ import annotations

from collections.abc import Iterator

from schedengine.errors import Mark
from schedengine.pruners.pruner import Pruner
from schedengine.regularizers.regularizer import Regularizer
from schedengine.schedule import distiller
from schedengine.schedule.fields import fields_of
from schedengine.schedule.source import Node

Trail = tuple[str | int, ...]
"""A place in a tree: keys and indices from the root on."""
_AXES: dict[str | int, list[str]] = {
    "pruners": list(fields_of(Pruner)),
    "regularizers": list(fields_of(Regularizer)),
}
_BECOMES = {
    "starting_epoch": "from",
    "ending_epoch": "until",
    "frequency": "every",
    "epochs": "at",
    "mini_batch_pruning_frequency": "refresh",
    "keep_mask": "keep_mask",
    "group_type": "granularity",
    "class": "penalty",
}
"""Keys of version 1 whose values do not say by their marks where they went."""


def find_places(old: Node, new: Node) -> dict[Trail, Trail]:
    """Where pieces of the old tree are in the new one, in the order of the old; without those that are gone."""
    places: dict[Trail, Trail] = {("version",): ("version",)}
    for section in [key for key in old.value if key in new.value and key != "version"]:
        places[(section,)] = (section,)
        parts = children(new.value[section])
        for key, part in children(old.value[section]):
            is_same = [at == key if isinstance(key, str) else one.mark == part.mark for at, one in parts]
            successors: dict[Trail, Node] = {(section, at): one for (at, one), same in zip(parts, is_same) if same}
            if successors:
                places |= _places_within(part, (section, key), successors)
    return places


def _places_within(part: Node, old: Trail, successors: dict[Trail, Node]) -> dict[Trail, Trail]:
    """Those of an instance or a policy: where the mark of the value is, else by name.

    A policy may have become several: the first stands for it, and the last has its window.
    """
    inside = {trail: node for start, one in successors.items() for trail, node in _nodes(one, start)}
    by_mark: dict[Mark | None, Trail] = {}
    for trail, node in inside.items():
        by_mark.setdefault(node.mark, trail)
    first, *_, last = [*successors, *successors]
    places = {old: first}
    for trail, node in list(_nodes(part, old))[1:]:
        key, around = trail[-1], places.get(trail[:-1])
        renamed = (*last, _BECOMES.get(str(key), ""))
        if node.mark in by_mark:
            places[trail] = by_mark[node.mark]
        elif around is not None and (*around, key) in inside:
            places[trail] = (*around, key)
        elif key == "instance_name" or key in distiller.KINDS:
            places[trail] = first
        elif renamed in inside:
            places[trail] = renamed
    return places


def sort_(new: Node, places: dict[Trail, Trail]) -> None:
    """Put sections, instances and their keys in the order of the old file, which its comments have too.

    Two pruners that were one stay together; axes of which the old file says nothing come last.
    """
    _sort_by_mark(new)
    for section, node in new.value.items():
        if node.is_mapping:
            _sort_by_mark(node)
            for name, part in node.value.items():
                said = [place[2] for place in places.values() if len(place) > 2 and place[:2] == (section, name)]
                order = dict.fromkeys([*said, *_AXES.get(section, ()), *part.value])
                part.value = {key: part.value[key] for key in order if key in part.value}


def _sort_by_mark(node: Node) -> None:
    def place(child: Node) -> tuple[int, int]:
        return (0, 0) if child.mark is None else (child.mark.line, child.mark.column)

    node.value = dict(sorted(node.value.items(), key=lambda one: place(one[1])))


def children(node: Node) -> list[tuple[str | int, Node]]:
    """What a mapping or a list holds, with its keys or indices; of a scalar nothing."""
    if node.is_mapping:
        return list(node.value.items())
    return list(enumerate(node.value)) if node.is_list else []


def _nodes(node: Node, trail: Trail) -> Iterator[tuple[Trail, Node]]:
    yield trail, node
    for key, child in children(node):
        yield from _nodes(child, (*trail, key))
