"""A set of parameters -> the few globs that pick these and no others."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from schedengine.selection import ParameterTable, match_glob

_MOST_NUMBERS = 4
"""Numbers of a name that are tried as ``*``; each doubles the globs to try."""


def globs_for(table: ParameterTable, names: Iterable[str], allowed: Iterable[str] = ()) -> dict[str, list[str]]:
    """Globs and names that together pick exactly these parameters, each of them once.

    A part of the model of which all is wanted is one glob (``layer1.*``). Where it holds others too, numbers become
    ``*``, and the glob that picks most comes first (``encoder.layers.encoder_layer_*.mlp.*``).

    Args:
        table: the model's parameters.
        names: normalised; those that globs may pick, see ``ParameterTable.is_named_by_patterns``.
        allowed: others that a glob may pick on the way.

    Returns:
        Glob or full name -> the names that it is the first to pick, in the model's order.

    Example:
        >>> from torch import nn
        >>> block = nn.ModuleDict({"conv": nn.Conv2d(2, 2, 1), "table": nn.Embedding(3, 2)})
        >>> model = nn.ModuleDict({"body": nn.ModuleList([block, nn.ModuleDict(block)]), "fc": nn.Linear(2, 2)})
        >>> globs_for(ParameterTable(model), ["body.0.conv.weight", "fc.weight"])
        {'body.0.conv.weight': ['body.0.conv.weight'], 'fc.weight': ['fc.weight']}
    """
    wanted = set(names)
    fine = wanted | set(allowed)
    picks = {glob: found for glob in _candidates(wanted) if (found := _picked(table, glob)) <= fine}
    covers: dict[str, set[str]] = {}
    left = set(wanted)
    for glob in (glob for glob in picks if _is_whole_part(glob) and len(picks[glob] & wanted) > 1):
        covers[glob] = picks[glob] & left
        left -= picks[glob]
    while left:
        best = min(picks, key=lambda glob: (-len(picks[glob] & left), glob.count("*"), len(glob), glob))
        covers[best] = picks[best] & left
        left -= picks[best]
    order = {name: number for number, name in enumerate(table.names)}
    sorted_covers = {glob: sorted(found, key=order.__getitem__) for glob, found in covers.items()}
    # A glob that picks a single parameter says no more than its name.
    named = {found[0] if len(found) == 1 else glob: found for glob, found in sorted_covers.items()}
    return dict(sorted(named.items(), key=lambda entry: order[entry[1][0]]))


def _candidates(names: Iterable[str]) -> set[str]:
    """Full names, parts of the model (``layer1.*``), and both with some of their numbers as ``*``."""
    found: set[str] = set()
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            part = ".".join(parts[:depth])
            found |= {f"{glob}.*" for glob in (_with_stars(part) if depth > 1 else [part])}
        found |= set(_with_stars(name))
    return found


def _with_stars(name: str) -> Iterator[str]:
    """A name with every subset of its numbers replaced."""
    pieces = re.split(r"(\d+)", name)
    numbers = list(range(1, len(pieces), 2))[:_MOST_NUMBERS]
    for chosen in itertools.product((False, True), repeat=len(numbers)):
        starred = {number for number, is_starred in zip(numbers, chosen) if is_starred}
        yield "".join("*" if place in starred else piece for place, piece in enumerate(pieces))


def _picked(table: ParameterTable, glob: str) -> set[str]:
    """As a selector understands it."""
    if "*" not in glob:
        return {glob}
    return {name for name in match_glob(table, glob) if table.is_named_by_patterns(name)}


def _is_whole_part(glob: str) -> bool:
    return glob.count(".") == 1 and glob.endswith(".*")
