"""How a total is shared among parameters: one order over all of them, or a level for each.

A level for each parameter is computed from shapes alone. One order over all weights is the selection's work; here an
allocation may only normalise the scores first, so that parameters compare. Levels written out in a file are the
pruner's affair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

Shapes = Mapping[str, tuple[int, ...]]
_LAST_AT_MOST = 0.8


class Allocation:
    """Shares a total sparsity among parameters."""

    scope: ClassVar[Literal["global", "parameter"]] = "parameter"
    """``global``: groups of all parameters compete in one order; ``parameter``: ``levels`` says how much each loses."""

    elementwise: ClassVar[bool] = True
    """Whether ``normalise`` is the identity, so that scores may come by chunks."""

    def levels(self, shapes: Shapes, sparsity: float) -> dict[str, float]:
        """The target of each parameter; only where ``scope`` is ``parameter``.

        Args:
            shapes: of the selected parameters, in the order of the model.
            sparsity: fraction removed of all their weights, [0, 1).

        Returns:
            name -> fraction removed, [0, 1), in the same order; weighted by size they average to ``sparsity``.

        Raises:
            SchedEngineError: no such levels exist; the message has the largest total that can be reached.
        """
        raise NotImplementedError(f"{type(self).__name__} has one order over all parameters, and no levels")

    def normalise(self, scores: Tensor) -> Tensor:
        """Make one parameter's scores comparable with the others'.

        Args:
            scores: (groups,) of one parameter, all of them.

        Returns:
            (groups,) in the same order.
        """
        return scores


@dataclass(frozen=True, config=SPEC)
class Global(Allocation):
    """One order over all parameters: those with small scores lose more.

    Args:
        count: what the sparsity is a fraction of: weights, or groups (filters, as network slimming has it), of which
            small ones count like large ones.
    """

    scope: ClassVar[Literal["global", "parameter"]] = "global"
    count: Literal["weights", "groups"] = "weights"


@dataclass(frozen=True, config=SPEC)
class LAMP(Allocation):
    """One order over all parameters, of scores relative to what would be left of their own parameter.

    ``score[i]**2 / sum of score[j]**2 over all j that go no earlier than i``. The last to go of each parameter scores
    1, so none collapses before all are down to one group. Equal scores go by position, as in the paper's sorted order.
    In double precision, so that a parameter's own order is kept exactly.

    Reference:
        Lee, Park, Mo, Ahn, Shin (2021), Layer-adaptive sparsity for the Magnitude-based Pruning, arXiv:2010.07611.
    """

    scope: ClassVar[Literal["global", "parameter"]] = "global"
    elementwise: ClassVar[bool] = False

    def normalise(self, scores: Tensor) -> Tensor:
        if scores.numel() and float(scores.min()) < 0:
            raise SchedEngineError(f"allocation lamp: found a score of {float(scores.min())}; needs a criterion >= 0")
        squares, order = scores.double().square().sort(stable=True)
        later = squares.flip(0).cumsum(0).flip(0)
        smallest = 2.0**-1022  # a weight of zeros only: 0, not 0/0
        return squares.new_empty(squares.shape).scatter_(0, order, squares / later.clamp_min(smallest))


@dataclass(frozen=True, config=SPEC)
class Uniform(Allocation):
    """Every parameter loses the same fraction."""

    def levels(self, shapes: Shapes, sparsity: float) -> dict[str, float]:
        return dict.fromkeys(shapes, sparsity)


@dataclass(frozen=True, config=SPEC)
class ERK(Allocation):
    """Erdos-Renyi-Kernel: the density of a parameter is proportional to (sum of dimensions) / (product of dimensions).

    Small and thin parameters stay denser. Where a density would exceed 1, the parameter stays dense, the largest first,
    and the others are solved for again. Every total is reachable.

    Reference:
        Evci, Gale, Menick, Castro, Elsen (2020), Rigging the Lottery, arXiv:1911.11134, after Mocanu et al. (2018),
        arXiv:1707.04780.
    """

    def levels(self, shapes: Shapes, sparsity: float) -> dict[str, float]:
        # A scalar has no dimensions to sum.
        raw = {name: (sum(shape) or 1) / math.prod(shape) for name, shape in shapes.items()}
        left = (1 - sparsity) * sum(math.prod(shape) for shape in shapes.values())
        scale, sparse = 0.0, dict(raw)
        while sparse:
            scale = left / sum(raw[name] * math.prod(shapes[name]) for name in sparse)
            densest = max(sparse, key=raw.__getitem__)
            if scale * raw[densest] <= 1:
                break
            left -= math.prod(shapes[densest])
            del sparse[densest]
        return {name: 1 - scale * raw[name] if name in sparse else 0.0 for name in shapes}


@dataclass(frozen=True, config=SPEC)
class UniformPlus(Allocation):
    """Uniform, but the first parameter stays dense and the last loses at most 80 %.

    The first and the last of the selected parameters are meant to be the first convolution and the classifier.

    Reference:
        Gale, Elsen, Hooker (2019), The State of Sparsity in Deep Neural Networks, arXiv:1902.09574.
    """

    def levels(self, shapes: Shapes, sparsity: float) -> dict[str, float]:
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        if not sparsity or not sizes:
            return dict.fromkeys(shapes, 0.0)
        first, *others = sizes
        removed, inner = sparsity * sum(sizes.values()), sum(sizes[name] for name in others)
        level = removed / inner if inner else math.inf
        if level <= _LAST_AT_MOST:
            return {first: 0.0, **dict.fromkeys(others, level)}
        return self._capped(sizes, removed)

    def _capped(self, sizes: dict[str, int], removed: float) -> dict[str, float]:
        first, *middle = sizes
        last = middle.pop() if middle else None
        inner = sum(sizes[name] for name in middle)
        capped = _LAST_AT_MOST * sizes[last] if last is not None else 0.0
        if removed - capped >= inner:
            total = sum(sizes.values())
            raise SchedEngineError(
                f"allocation uniform_plus: cannot remove {removed / total:.4g} of these weights with the first dense "
                f"and the last at most {_LAST_AT_MOST:.0%} sparse; the limit is {(inner + capped) / total:.4g}"
            )
        level = (removed - capped) / inner
        ends = {} if last is None else {last: _LAST_AT_MOST}
        return {first: 0.0, **dict.fromkeys(middle, level), **ends}
