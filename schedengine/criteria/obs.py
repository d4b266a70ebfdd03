"""OBS: what the loss of a trained network would grow by without a weight, if the others made up for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Given, examples_of, finite, measured
from schedengine.criteria.information import blocks, inverse_diagonal
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.criteria.network import Network
    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Obs(Criterion):
    """``w**2 / (2 [F**-1])``, the diagonal of the inverse: F = damp + mean of g g^T, the empirical Fisher, in blocks.

    The others make up for a weight only where the pruner says ``compensate: obs``. Of a group the sum over its weights
    is taken. Batch normalisation runs by its running statistics. F takes ``8 * block`` bytes for each weight.

    Args:
        block: consecutive weights of a parameter among which F is known; the last block has the rest. 1 is the
            diagonal: the same order as ``fisher`` with this damping.
        samples: examples of the data given to ``bind``, on each rank.
        damp: added to the diagonal of F, so that it has an inverse.

    Reference:
        Hassibi, Stork (1993), Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 5; Singh,
        Alistarh (2020), WoodFisher, arXiv:2004.14340, for the Fisher in blocks. The inverse is there updated example by
        example; here F is added up in double precision and inverted, which is the same.
    """

    asks: ClassVar[frozenset[Given]] = frozenset({"data", "loss"})
    block: Annotated[int, Field(ge=1, strict=True)] = 50
    samples: Annotated[int, Field(ge=1, strict=True)] = 1024
    damp: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-7

    @property
    def takes(self) -> str | None:
        return examples_of(self.samples)

    def measure(self, network: Network) -> dict[str, Tensor]:
        """F without damping, (blocks, block, block) of each parameter."""
        return blocks(network, self.samples, self.block)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        information = measured(facts, key=key).to(weight.device)
        inverse = inverse_diagonal(information, self.damp).flatten()[: weight.numel()].view(weight.shape)
        loss = weight.detach().to(inverse.dtype).square() / (2 * inverse)
        return finite(granularity.group(loss).sum(dim=1), key=key)
