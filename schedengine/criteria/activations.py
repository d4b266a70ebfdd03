"""Activations: filters that give little, or seldom anything, go first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Activations, Criterion, Facts, Need, check_outputs, finite
from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor, nn

    from schedengine.granularity import Granularity

Batches = Annotated[int, Field(ge=1, strict=True)]


@dataclass(frozen=True, config=SPEC)
class Apoz(Criterion):
    """The share of a filter's outputs that a ReLU lets through: 1 - APoZ, the average percentage of zeros.

    Outputs are counted after the normalisation that takes them, if one does; those that are at most 0 count as zeros,
    whatever the network does with them then. They are those of the last evaluation of the epoch before the cut, or of
    its training steps where there is none.

    Args:
        batches: of the data given to ``bind``, for a cut before any epoch.

    Reference:
        Hu, Peng, Tai, Tang (2016), Network Trimming, arXiv:1607.03250.
    """

    batches: Batches = 8

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"activations"})

    def check(self, granularity: Granularity, layer: nn.Module, shape: tuple[int, ...]) -> None:
        check_outputs(granularity, layer, shape)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        seen = _of_outputs(weight, granularity, facts, key)
        return (seen.count - seen.zeros) / seen.count


@dataclass(frozen=True, config=SPEC)
class ActivationMean(Criterion):
    """The mean of a filter's outputs after a ReLU; which outputs: see ``apoz``.

    Args:
        batches: of the data given to ``bind``, for a cut before any epoch.

    Reference:
        Molchanov, Tyree, Karras, Aila, Kautz (2017), Pruning Convolutional Neural Networks for Resource Efficient
        Inference, arXiv:1611.06440. Distiller removed the highest means instead, against the paper.
    """

    batches: Batches = 8

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"activations"})

    def check(self, granularity: Granularity, layer: nn.Module, shape: tuple[int, ...]) -> None:
        check_outputs(granularity, layer, shape)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        seen = _of_outputs(weight, granularity, facts, key)
        return seen.total / seen.count


def _of_outputs(weight: Tensor, granularity: Granularity, facts: Facts, key: str) -> Activations:
    """The statistics, one for each group.

    Raises:
        SchedEngineError: there are none, not of these groups, or an output was not finite.
    """
    seen, groups = facts.activations, granularity.groups(tuple(weight.shape))
    if seen is None:
        raise SchedEngineError(f"{key}: needs statistics of the layer's outputs, and there are none")
    if seen.zeros.numel() != groups:
        raise SchedEngineError(f"{key}: {groups} groups, and a layer of {seen.zeros.numel()} outputs; use filter")
    finite(seen.total, key=f"{key}, outputs")
    return seen
