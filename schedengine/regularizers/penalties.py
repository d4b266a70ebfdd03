"""What a weight costs, without its strength. Differentiable; one fused call for all weights where there is one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.errors import SchedEngineError
from schedengine.granularity import GRANULARITIES, Granularity
from schedengine.registry import SPEC

_HALF = (torch.float16, torch.bfloat16)


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

    def check(self, shape: tuple[int, ...], granularity: Granularity) -> None:
        """Refuse a weight that the penalty means nothing for; nothing by default.

        Args:
            shape: the weight's, one that ``granularity`` accepts.

        Raises:
            SchedEngineError: says what shape would do.
        """
        del shape, granularity


@dataclass(frozen=True, config=SPEC)
class L1(Penalty):
    """Sum of absolute values: pulls single weights to 0. Tibshirani 1996, the lasso."""

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        del granularity
        if any(weight.dtype in _HALF for weight in weights):  # 65,504 is the largest number that a half holds
            weights = [weight.float() if weight.dtype in _HALF else weight for weight in weights]
        return torch._foreach_norm(list(weights), 1)


@dataclass(frozen=True, config=SPEC)
class L2(Penalty):
    """Half the sum of squares: at strength s its gradient is s * w, that of a weight decay of s."""

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        del granularity
        return [weight.to(_precise(weight)).square().sum() / 2 for weight in weights]


@dataclass(frozen=True, config=SPEC)
class GroupLasso(Penalty):
    """Sum over groups of their L2 norms: pulls whole groups to 0.

    No factor for the size of a group, as in Distiller and in Wen et al. 2016, Learning Structured Sparsity in Deep
    Neural Networks, arXiv:1608.03665; Yuan and Lin 2006 have its square root.
    """

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        return [_norms(granularity.group(weight)).sum() for weight in weights]


@dataclass(frozen=True, config=SPEC)
class GroupVariance(Penalty):
    """One over the variance (unbiased) of the groups' L2 norms: pulls a weight's groups apart, some large, some small.

    Beside a group lasso, which makes all of them small. A weight whose groups all have the same norm, as one that was
    set to 0 whole, has nothing to pull apart and costs nothing; in the formula, and in Distiller, its cost is infinite
    and its gradient nan.

    Torfi, Shirvani, Soleymani, Nasrabadi 2018, Attention-Based Guided Structured Sparsity of Deep Neural Networks,
    arXiv:1802.09902.
    """

    def check(self, shape: tuple[int, ...], granularity: Granularity) -> None:
        if granularity.groups(shape) < 2:
            name = GRANULARITIES.name_of(granularity)
            raise SchedEngineError(
                f"penalty group_variance: shape {tuple(shape)} is one group of granularity {name}, and one norm has no "
                "variance; needs two or more"
            )

    def costs(self, weights: Sequence[Tensor], granularity: Granularity) -> Sequence[Tensor]:
        return [_inverse(_norms(granularity.group(weight)).var()) for weight in weights]


def _norms(groups: Tensor) -> Tensor:
    """L2 norms; half precision could hold neither their sum nor the square of their variance."""
    norms: Tensor = torch.linalg.vector_norm(groups, dim=1, dtype=_precise(groups))
    return norms


def _precise(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _inverse(variance: Tensor) -> Tensor:
    """1 / variance, and 0 where there is none; the inner choice keeps nan out of the gradient."""
    is_some = variance > 0
    return torch.where(is_some, 1 / torch.where(is_some, variance, 1.0), 0.0)
