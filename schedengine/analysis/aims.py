"""How many weights a cut removes, from what it asks for and the shapes alone: groups are whole, some are protected."""

from __future__ import annotations

import math

from schedengine.pruners.aim import Aim
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.cutting import reachable, removable_groups
from schedengine.sparsity.allocation import Shapes
from schedengine.sparsity.selection import removal_count


def exact_weights(pruner: BoundPruner, shapes: Shapes, aim: Aim, name: str) -> int | None:
    """How many weights of one parameter are gone after a cut; None where scores decide between parameters.

    Where ``ties`` is ``all``, weights of equal scores may make it more.
    """
    if aim.levels is None and len(shapes) > 1:
        return None
    groups, worth = pruner.counts(shapes)[name]
    size = math.prod(shapes[name]) // groups
    if aim.levels is not None:
        return removable_groups(pruner.spec, groups, aim.levels[name]) * size
    wanted = removal_count(aim.total, groups * worth, pruner.spec.rounding) // worth
    return min(wanted, max(0, groups - pruner.spec.min_keep)) * size


def asked_weights(pruner: BoundPruner, shapes: Shapes, aim: Aim) -> int:
    """How many weights of all parameters are gone after a cut; at most so many, where it is not ``is_exact``."""
    if aim.levels is None and len(shapes) > 1:
        return round(
            reachable(pruner.spec, pruner.counts(shapes), aim.total).most * sum(map(math.prod, shapes.values()))
        )
    return sum(exact_weights(pruner, shapes, aim, name) or 0 for name in shapes)


def is_exact(pruner: BoundPruner, shapes: Shapes, aim: Aim) -> bool:
    """Whether shapes say how many weights go in all: one order over several parameters skips large groups."""
    sizes = (size for _, size in pruner.counts(shapes).values())
    return aim.levels is not None or len(shapes) == 1 or all(size == 1 for size in sizes)
