"""GraSP: weights whose removal lowers the norm of the gradient least, or raises it most, go first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Given, batches_of, finite, measured
from schedengine.criteria.derivatives import hessian_gradient
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.criteria.network import Network
    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Grasp(Criterion):
    """``w * (H g)``, signed: g and H are gradient and Hessian of the mean loss over some batches, by scored weights.

    Removing a weight changes the squared norm of the gradient by about -2 w (H g), so the lowest go first: those
    without which the gradient grows. A group scores the sum over its weights, of which the same holds.

    The data are gone through twice. Needs two derivatives of everything in the model.

    Args:
        batches: of the data given to ``bind``, on each rank.
        mode: train: batch normalisation by the statistics of each batch, as at the start of training; eval: by its
            running statistics. Dropout is off in both.
        temperature: logits are divided by this before the loss; 1 for a loss that is not of logits.

    Reference:
        Wang, Zhang, Grosse (2020), Picking Winning Tickets Before Training by Preserving Gradient Flow,
        arXiv:2002.07376; scores there are -w * (H g), and the highest go.
    """

    asks: ClassVar[frozenset[Given]] = frozenset({"data", "loss"})
    batches: Annotated[int, Field(ge=1, strict=True)] = 10
    mode: Literal["train", "eval"] = "train"
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 200.0

    @property
    def takes(self) -> str | None:
        return batches_of(self.batches)

    def measure(self, network: Network) -> dict[str, Tensor]:
        """H g."""
        return hessian_gradient(network, self.batches, self.mode, self.temperature)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        curved = measured(facts, key=key).to(weight.device)
        return finite(granularity.group(weight.detach().to(curved.dtype) * curved).sum(dim=1), key=key)
