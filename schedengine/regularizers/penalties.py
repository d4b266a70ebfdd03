"""What a weight costs, without its strength. Differentiable; one fused call for all weights where there is one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.granularity import Granularity
from schedengine.registry import SPEC


class Penalty(ABC):
    """The axis: weights -> one scalar each."""

    @abstractmethod
    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        """The cost of each weight.

        Args:
            weights: of any shape that ``granularity`` accepts.
            granularity: what a group is, for penalties on groups.

        Returns:
            One scalar for each weight, differentiable.
        """


@dataclass(frozen=True, config=SPEC)
class L1(Penalty):
    """Sum of absolute values: pulls single weights to 0. Tibshirani 1996, the lasso."""

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        del granularity
        return torch._foreach_norm(list(weights), 1)


@dataclass(frozen=True, config=SPEC)
class L2(Penalty):
    """Half the sum of squares: at strength s its gradient is s * w, that of a weight decay of s."""

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        del granularity
        return [weight.square().sum() / 2 for weight in weights]


@dataclass(frozen=True, config=SPEC)
class GroupLasso(Penalty):
    """Sum over groups of their L2 norms: pulls whole groups to 0.

    No factor for the size of a group, as in Distiller and in Wen et al. 2016, Learning Structured Sparsity in Deep
    Neural Networks, arXiv:1608.03665; Yuan and Lin 2006 have its square root.
    """

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        return [torch.linalg.vector_norm(granularity.group(weight), dim=1).sum() for weight in weights]
