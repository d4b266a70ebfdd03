"""OBD: what the loss of a trained network would grow by without a weight, to second order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Given, examples_of, finite, measured
from schedengine.criteria.information import diagonals
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.criteria.network import Network
    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Fisher(Criterion):
    """``F w**2 / 2``, F the mean over examples of the squared gradient of each one's loss: the empirical Fisher.

    It stands for the diagonal of the Hessian, for a network that has been trained; its labels are those of the data.
    Gradients are of single examples: the square of a batch's mean gradient is smaller by about the size of the batch.
    A group scores the sum over its weights. Batch normalisation runs by its running statistics.

    Args:
        samples: examples of the data given to ``bind``, on each rank.
        damp: added to F.

    Reference:
        LeCun, Denker, Solla (1990), Optimal Brain Damage, NIPS 2, which has the diagonal of the Hessian by
        back-propagation; Theis et al. (2018), Faster gaze prediction with dense networks and Fisher pruning,
        arXiv:1801.05787, has the Fisher instead.
    """

    asks: ClassVar[frozenset[Given]] = frozenset({"data", "loss"})
    samples: Annotated[int, Field(ge=1, strict=True)] = 1024
    damp: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @property
    def takes(self) -> str | None:
        return examples_of(self.samples)

    def measure(self, network: Network) -> dict[str, Tensor]:
        """F, of the weights' shapes."""
        return diagonals(network, self.samples)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        diagonal = measured(facts, key=key).to(weight.device)
        loss = weight.detach().to(diagonal.dtype).square() * (diagonal + self.damp) / 2
        return finite(granularity.group(loss).sum(dim=1), key=key)
