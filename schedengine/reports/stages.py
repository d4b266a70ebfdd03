"""Many parameters -> a few stages of the network, so that each panel of a picture can be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby


def stages(names: Sequence[str], most: int = 12) -> list[list[str]]:
    """Split parameters, in the model's order, where the network's own stages begin.

    A stage is what has the first component of the name in common, after those that all names share. Stages too large
    are split evenly; small neighbours stay together.

    Args:
        names: distinct, in order.
        most: in a part.

    Example:
        >>> stages(["conv1.weight", "layer1.0.weight", "layer1.1.weight", "layer2.0.weight", "fc.weight"], 3)
        [['conv1.weight', 'layer1.0.weight', 'layer1.1.weight'], ['layer2.0.weight', 'fc.weight']]
    """
    shared = len(common_prefix(names))
    found = [list(part) for _, part in groupby(names, key=lambda name: name[shared:].partition(".")[0])]
    parts: list[list[str]] = []
    for piece in (piece for stage in found for piece in _split(stage, most)):
        if parts and len(parts[-1]) + len(piece) <= most:
            parts[-1] = parts[-1] + piece
        else:
            parts.append(piece)
    return parts


def common_prefix(names: Sequence[str]) -> str:
    """The components that all names begin with, with the dot at their end; not the whole of a single name.

    Example:
        >>> common_prefix(["module.conv1.weight", "module.conv2.weight"])
        'module.'
    """
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    same = next((place for place, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[: first.rfind(".", 0, same) + 1]


def short_names(names: Sequence[str]) -> list[str]:
    """Without what all of them begin with, and without ``.weight`` if all end in it.

    Example:
        >>> short_names(["module.conv1.weight", "module.fc.weight"])
        ['conv1', 'fc']
    """
    shared = len(common_prefix(names))
    ending = ".weight" if all(name.endswith(".weight") for name in names) else ""
    return [name[shared:].removesuffix(ending) for name in names]


def _split(stage: list[str], most: int) -> list[list[str]]:
    pieces = math.ceil(len(stage) / most)
    size = math.ceil(len(stage) / pieces)
    return [stage[start : start + size] for start in range(0, len(stage), size)]
