"""Magnitude: small weights go first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Need, finite
from schedengine.criteria.followers import folding
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.granularity import Granularity

_ORDERS = {"l1": 1.0, "l2": 2.0, "max": math.inf}


@dataclass(frozen=True, config=SPEC)
class Magnitude(Criterion):
    """The norm of a group; ``|w|`` where a group is one element.

    Args:
        norm: ``l1``, ``l2`` or ``max``.
        reduce: ``mean`` does not favour large groups when parameters compete: mean of ``|w|``, root of the mean of
            ``w**2``; ``sum`` is the plain norm. The maximum knows no such difference. Within one parameter both rank
            alike.
        folded: rank what the layer computes together with the batch normalisation that follows it: filter f times
            ``gamma_f / sqrt(running_var_f + eps)`` (gamma 1 where it has none). Layers that none follows rank as they
            are; that none of them has one is an error. Distiller's ``fold_batchnorm``.

    Reference:
        Han, Pool, Tran, Dally (2015), Learning both Weights and Connections for Efficient Neural Networks,
        arXiv:1506.02626; norms of filters: Li et al. (2017), Pruning Filters for Efficient ConvNets, arXiv:1608.08710.
        Distiller divides the l2 norm by the size, not its root; ranks within a parameter are the same.
    """

    needs_of_all: ClassVar[bool] = False
    norm: Literal["l1", "l2", "max"] = "l1"
    reduce: Literal["mean", "sum"] = "mean"
    folded: Annotated[bool, Field(strict=True)] = False

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"norm"} if self.folded else ())

    @property
    def elementwise(self) -> bool:
        return not self.folded

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        if self.folded and facts.norm is not None:
            weight = weight.detach() * folding(facts.norm, tuple(weight.shape), facts.outputs, key=key)
        groups = granularity.group(weight.detach())
        if groups.shape[1] == 1:
            return finite(self.slice_scores(groups.flatten()), key=key)
        # Half precision loses small differences in long sums.
        dtype = torch.promote_types(groups.dtype, torch.float32)
        norms = torch.linalg.vector_norm(groups, _ORDERS[self.norm], dim=1, dtype=dtype)
        return finite(norms / self._divisor(groups.shape[1]), key=key)

    def slice_scores(self, flat: Tensor) -> Tensor:
        return flat.detach().abs()

    @torch.no_grad()
    def fused(self, weights: list[Tensor], gradients: list[Tensor] | None) -> list[Tensor] | None:
        return None if self.folded else list(torch._foreach_abs(weights))

    def _divisor(self, size: int) -> float:
        return 1.0 if self.reduce == "sum" else size ** (1 / _ORDERS[self.norm])
