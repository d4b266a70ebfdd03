"""A weight seen as groups that are kept or removed as one, and back.

Every granularity here tiles the weight with one box, its unit: 1x1x1x1 for element, 1xCxHxW for filter, the whole
shape for tensor. So each class only says its unit; views, counts and the way back are shared. Dimension 0 of the stored
weight is filter and row, dimension 1 is channel and column; a transposed convolution stores its inputs first, and
``oriented`` turns what is asked of it round. Which groups go is the business of criteria and selection.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC, Registry

if TYPE_CHECKING:
    from torch import Tensor, nn

GRANULARITIES = Registry(
    "granularity",
    {
        "element": "schedengine.granularity:Element",
        "row": "schedengine.granularity:Row",
        "column": "schedengine.granularity:Column",
        "kernel": "schedengine.granularity:Kernel",
        "filter": "schedengine.granularity:Filter",
        "channel": "schedengine.granularity:Channel",
        "block": "schedengine.granularity:Block",
        "consecutive": "schedengine.granularity:Consecutive",
        "keep": "schedengine.granularity:Keep",
        "tensor": "schedengine.granularity:Whole",
    },
)


class Granularity(ABC):
    """What is removed as one: groups of equal size that tile a weight, numbered row-major.

    All methods but ``check`` expect a shape that ``check`` accepts.
    """

    least: ClassVar[int] = 0
    """The fewest dimensions that make sense."""

    @abstractmethod
    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The extent of one group along each dimension of the weight."""

    def view(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that is tiled: the weight's own, or with some dimensions merged."""
        return tuple(shape)

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse a shape that cannot be grouped.

        Raises:
            SchedEngineError: too few dimensions, no weights, or (block) a unit that does not divide the shape.
        """
        if len(shape) < self.least or 0 in shape:
            raise self.misfit(shape, f"a weight of {self.least} or more dimensions, none of them 0")

    def misfit(self, shape: tuple[int, ...], wanted: str) -> SchedEngineError:
        """The error for a shape that does not fit."""
        return SchedEngineError(f"granularity {type(self).__name__.lower()}: got shape {tuple(shape)}; needs {wanted}")

    def groups(self, shape: tuple[int, ...]) -> int:
        """How many groups the weight has."""
        return math.prod(shape) // self.size(shape)

    def size(self, shape: tuple[int, ...]) -> int:
        """How many weights a group has."""
        return math.prod(self.unit(shape))

    def group(self, weight: Tensor) -> Tensor:
        """The weight as (groups, size): a view where strides allow one, else a copy (convolution channels, blocks)."""
        shape = tuple(weight.shape)
        tiled = weight.reshape([length for pair in self._tiles(shape) for length in pair])
        order = [*range(0, tiled.dim(), 2), *range(1, tiled.dim(), 2)]
        return tiled.permute(order).reshape(self.groups(shape), self.size(shape))

    def expand(self, keep: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A decision per group as a mask of the weight.

        Args:
            keep: (groups,) bool.
            shape: the weight's.

        Returns:
            bool of ``shape``, contiguous; shares memory with ``keep`` where a group is one element.
        """
        tiles = self._tiles(tuple(shape))
        spread = keep.reshape([length for count, _ in tiles for length in (count, 1)])
        return spread.expand([length for pair in tiles for length in pair]).reshape(shape).contiguous()

    def _tiles(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        return [(whole // part, part) for whole, part in zip(self.view(shape), self.unit(shape), strict=True)]


@dataclass(frozen=True, config=SPEC)
class Element(Granularity):
    """Single weights (unstructured pruning); any shape."""

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1,) * len(shape)


@dataclass(frozen=True, config=SPEC)
class Filter(Granularity):
    """Output channels of a convolution: dimension 0; the same groups as ``row``."""

    least: ClassVar[int] = 2

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *shape[1:])


@dataclass(frozen=True, config=SPEC)
class Row(Granularity):
    """Rows of a matrix, its outputs: dimension 0; the same groups as ``filter``."""

    least: ClassVar[int] = 2

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *shape[1:])


@dataclass(frozen=True, config=SPEC)
class Channel(Granularity):
    """Input channels of a convolution: dimension 1; the same groups as ``column``."""

    least: ClassVar[int] = 2

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], 1, *shape[2:])


@dataclass(frozen=True, config=SPEC)
class Column(Granularity):
    """Columns of a matrix, its inputs: dimension 1; the same groups as ``channel``."""

    least: ClassVar[int] = 2

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], 1, *shape[2:])


@dataclass(frozen=True, config=SPEC)
class Kernel(Granularity):
    """The spatial kernels of a convolution: one for each pair of output and input channel."""

    least: ClassVar[int] = 3

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, 1, *shape[2:])


@dataclass(frozen=True, config=SPEC)
class Block(Granularity):
    """Boxes of neighbouring weights, for block-sparse kernels.

    Args:
        shape: extents along the weight's leading dimensions, each 1 or more; the others are 1. ``[4, 1]`` on a
            convolution is 4 consecutive filters x 1 channel at one position.
    """

    shape: Annotated[tuple[Annotated[int, Field(ge=1, strict=True)], ...], Field(min_length=1)]

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.shape + (1,) * (len(shape) - len(self.shape))

    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        divides = all(length % block == 0 for length, block in zip(shape, self.shape, strict=False))
        if len(shape) < len(self.shape) or not divides:
            raise self.misfit(shape, f"leading dimensions that are multiples of {list(self.shape)}")


@dataclass(frozen=True, config=SPEC)
class Consecutive(Granularity):
    """Runs of kernels, one position of each: in the order of (filter, channel), across the ends of filters.

    What Distiller's block pruning does with ``block_shape: [r, d, 1, 1]``, d > 1, for runs of r * d; its documentation
    says r filters x d channels, which is ``block`` here. The two are the same where r is 1 and d divides the channels.

    Args:
        length: kernels in a run, 1 or more.
    """

    least: ClassVar[int] = 2
    length: Annotated[int, Field(ge=1, strict=True)]

    def view(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0] * shape[1], *shape[2:])

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.length,) + (1,) * (len(shape) - 2)

    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        if shape[0] * shape[1] % self.length:
            raise self.misfit(shape, f"filters x channels that are a multiple of {self.length}")


@dataclass(frozen=True, config=SPEC)
class Keep(Granularity):
    """N of every M neighbours along dimension 1 stay (2:4 sparsity); the pattern is the target: it takes no sparsity.

    Mishra et al. (2021), Accelerating Sparse Deep Neural Networks, arXiv:2104.08378. The groups are single weights; the
    selection counts them by fours.

    Args:
        pattern: [N, M], 1 <= N < M.
    """

    least: ClassVar[int] = 2
    pattern: tuple[Annotated[int, Field(ge=1, strict=True)], Annotated[int, Field(ge=2, strict=True)]]

    @model_validator(mode="after")
    def _keeps_fewer(self) -> Keep:
        if self.pattern[0] >= self.pattern[1]:
            raise ValueError(f"keeps {self.pattern[0]} of {self.pattern[1]}, which is all of them; write [2, 4]")
        return self

    @property
    def sparsity(self) -> float:
        """Fraction removed of every weight."""
        return 1 - self.pattern[0] / self.pattern[1]

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1,) * len(shape)

    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        if shape[1] % self.pattern[1]:
            raise self.misfit(shape, f"a dimension 1 that is a multiple of {self.pattern[1]}")

    def patterns(self, scores: Tensor, shape: tuple[int, ...]) -> Tensor:
        """One score a weight (numel,) as (patterns, M)."""
        return scores.reshape(shape).movedim(1, -1).reshape(-1, self.pattern[1])

    def flattened(self, patterns: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What ``patterns`` gave, or a decision on it, (patterns, M), as (numel,) in the weight's order."""
        moved = (shape[0], *shape[2:], shape[1])
        return patterns.reshape(moved).movedim(-1, 1).reshape(-1)


@dataclass(frozen=True, config=SPEC)
class Whole(Granularity):
    """The whole tensor as one group; any shape."""

    def unit(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape)


def oriented(granularity: Granularity, layer: nn.Module) -> Granularity:
    """The same structure on a layer that stores its inputs first, as a transposed convolution does.

    Raises:
        SchedEngineError: the layer has groups, so that no slice of its weight is one filter or one channel.
    """
    turned: dict[type, Granularity] = {Filter: Channel(), Row: Column(), Channel: Filter(), Column: Row()}
    if not getattr(layer, "transposed", False) or type(granularity) not in turned:
        return granularity
    if getattr(layer, "groups", 1) != 1:
        raise SchedEngineError(
            f"granularity {type(granularity).__name__.lower()}: a transposed convolution with groups has no "
            "slice of its weight that is one; use element, kernel or tensor"
        )
    return turned[type(granularity)]
