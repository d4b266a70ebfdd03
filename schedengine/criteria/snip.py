"""SNIP: what the loss would feel of a weight's connection being scaled, before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Given, batches_of, finite, measured
from schedengine.criteria.derivatives import gradient
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.criteria.network import Network
    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Snip(Criterion):
    """``|w * dL/dw|``, of the mean loss over some batches of the data: absolute after the sum over examples.

    A group scores the sum of this over its weights. (The derivative by a mask of the whole group, ``|sum w * dL/dw|``,
    is 0 for every filter that a batch normalisation follows, whatever the filter does.)

    Args:
        batches: of the data given to ``bind``, on each rank.
        mode: train: batch normalisation by the statistics of each batch, as at the start of training; eval: by its
            running statistics. Dropout is off in both.

    Reference:
        Lee, Ajanthan, Torr (2019), SNIP: Single-shot Network Pruning based on Connection Sensitivity, arXiv:1810.02340;
        which divides by the sum of all scores, of the same order. In several rounds (``rounds``) this is close to
        de Jorge et al. (2021), FORCE, arXiv:2006.09081 (Iter SNIP).
    """

    asks: ClassVar[frozenset[Given]] = frozenset({"data", "loss"})
    batches: Annotated[int, Field(ge=1, strict=True)] = 10
    mode: Literal["train", "eval"] = "train"

    @property
    def takes(self) -> str | None:
        return batches_of(self.batches)

    def measure(self, network: Network) -> dict[str, Tensor]:
        """dL/dw."""
        return gradient(network, self.batches, self.mode)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        slope = measured(facts, key=key).to(weight.device)
        product = weight.detach().to(slope.dtype) * slope
        return finite(granularity.group(product.abs()).sum(dim=1), key=key)
