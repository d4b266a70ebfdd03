"""The scale of a batch normalisation: network slimming."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Need, check_outputs, finite
from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor, nn

    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class NormScale(Criterion):
    """``|gamma|`` of the batch normalisation that follows, one for each filter.

    Goes with an l1 penalty on the scales (``regularizers:``), and with ``allocation: global``, which compares them over
    layers as the paper does. The filters are pruned; scale and shift stay until the network is thinned.

    Reference:
        Liu, Li, Shen, Huang, Yan, Zhang (2017), Learning Efficient Convolutional Networks through Network Slimming,
        arXiv:1708.06519.
    """

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"norm"})

    def check(self, granularity: Granularity, layer: nn.Module, shape: tuple[int, ...]) -> None:
        check_outputs(granularity, layer, shape)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        groups, scale = granularity.groups(tuple(weight.shape)), getattr(facts.norm, "weight", None)
        if scale is None:
            raise SchedEngineError(f"{key}: no batch normalisation with a scale (affine=True) follows the layer")
        if scale.numel() != groups:
            raise SchedEngineError(f"{key}: {groups} groups, and {scale.numel()} scales; use granularity filter")
        dtype = torch.promote_types(scale.dtype, torch.float32)
        return finite(scale.detach().to(weight.device, dtype).abs(), key=key)
