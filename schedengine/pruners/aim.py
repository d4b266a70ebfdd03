"""What a cut asks for, as far as shapes and time tell. Computes; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from schedengine.granularity import Granularity, Keep
from schedengine.pruners.pruner import Pruner
from schedengine.sparsity.allocation import Allocation, Shapes
from schedengine.sparsity.ramps import Geometric


@dataclass(frozen=True)
class Aim:
    """What one cut asks for, as far as shapes and time tell.

    Args:
        total: fraction of the selected weights that is to be gone.
        levels: the same of each parameter; None where one order over all of them decides.
    """

    total: float
    levels: dict[str, float] | None


def aim_of(
    spec: Pruner,
    by_name: Mapping[str, float] | None,
    shapes: Shapes,
    number: int,
    count: int,
    zeros: Mapping[str, int] | None = None,
    key: str = "",
) -> Aim | None:
    """What a cut asks for. None where a limit on the scores decides.

    Args:
        spec: the pruner's axes.
        by_name: level of each parameter, where the spec has a mapping.
        shapes: of its parameters.
        number, count: the ``number``-th of ``count`` cuts, or moves of the target.
        zeros: of each parameter before the first cut, which targets never go below; None for a dense start.
        key: names the event, for a target that is drawn.

    Raises:
        SchedEngineError: the ramp does not fit this many cuts, or the allocation cannot share the target.
    """
    ramp, allocation = spec.sparsity, spec.allocation
    if isinstance(spec.granularity, Keep):
        share = spec.granularity.sparsity
        return Aim(share, dict.fromkeys(shapes, share))
    if ramp is None:
        return None
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    gone = dict.fromkeys(shapes, 0) if zeros is None else zeros
    if by_name is not None:
        levels = {
            name: ramp.at(number, count, to=level, start=gone[name] / sizes[name], key=f"{key or number}/{name}")
            for name, level in by_name.items()
        }
        return Aim(sum(levels[name] * sizes[name] for name in sizes) / sum(sizes.values()), levels)
    assert isinstance(allocation, Allocation)
    total = ramp.at(number, count, start=sum(gone.values()) / sum(sizes.values()), key=key)
    return Aim(total, None if allocation.scope == "global" else allocation.levels(shapes, total))


def staged(level: float, gone: float, number: int, rounds: int) -> float:
    """What a round asks for, where a cut comes in rounds: each takes the same share of what is left.

    Args:
        level: fraction that the cut removes, [0, 1).
        gone: fraction that is gone before it.
        number: of the round, from 1.

    Example:
        >>> [round(staged(0.9, 0.0, number, 5), 4) for number in range(1, 6)]
        [0.369, 0.6019, 0.7488, 0.8415, 0.9]
    """
    return level if gone >= level else Geometric().at(number, rounds, to=level, start=gone)


def zeros_in_groups(weight: Tensor, granularity: Granularity) -> int:
    """How many weights are 0 in groups that are 0. A parameter of zeros only was initialised so, and is not sparse."""
    alive = granularity.group(weight != 0).any(dim=1)
    zeros = (alive.numel() - int(alive.count_nonzero())) * granularity.size(tuple(weight.shape))
    return zeros if zeros < weight.numel() else 0
