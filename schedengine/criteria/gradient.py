"""Gradient times weight: what the loss would change by if a group were 0, to first order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Need, check_outputs, finite
from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor, nn

    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Gradient(Criterion):
    """The sum of w * dL/dw over a group, of the last step's gradient.

    Of a filter that a batch normalisation follows this is 0, whatever the filter does: its scale does not matter there.
    So for filters there is the same sum over the scale and the shift of that normalisation, ``of: norm``: what the loss
    would change by if the normalised channel were 0.

    Args:
        of: weights, or norm: the batch normalisation that follows the layer; for filters only.
        sign: ``absolute``: groups whose removal would change the loss least, either way, go first; ``signed``: the
            lowest sum goes first, as in Distiller: groups whose removal would raise the loss most.

    Reference:
        Molchanov, Mallya, Tyree, Frosio, Kautz (2019), Importance Estimation for Neural Network Pruning,
        arXiv:1906.10771, which squares the sum (the same order) and averages it over steps; here it is of one step.
    """

    of: Literal["weights", "norm"] = "weights"
    sign: Literal["absolute", "signed"] = "absolute"

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"gradient"} if self.of == "weights" else {"norm"})

    def check(self, granularity: Granularity, layer: nn.Module, shape: tuple[int, ...]) -> None:
        if self.of == "norm":
            check_outputs(granularity, layer, shape)

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        if self.of == "norm":
            return self._signed(_of_norm(facts, granularity.groups(tuple(weight.shape)), key).to(weight.device), key)
        if facts.gradient is None:
            raise SchedEngineError(f"{key}: criterion gradient needs the gradient of a step, and there is none")
        dtype = torch.promote_types(weight.dtype, torch.float32)
        product = weight.detach().to(dtype) * facts.gradient.detach().to(weight.device, dtype)
        return self._signed(granularity.group(product).sum(dim=1), key)

    @torch.no_grad()
    def fused(self, weights: list[Tensor], gradients: list[Tensor] | None) -> list[Tensor] | None:
        if self.of == "norm" or gradients is None:
            return None
        # In half precision small products would be equal, or 0.
        if any(one.dtype.itemsize < 4 for one in (*weights, *gradients)):
            weights, gradients = [one.float() for one in weights], [one.float() for one in gradients]
        products = list(torch._foreach_mul(weights, gradients))
        if self.sign == "absolute":
            torch._foreach_abs_(products)
        return products

    def _signed(self, sums: Tensor, key: str) -> Tensor:
        return finite(sums.abs() if self.sign == "absolute" else sums, key=key)


def _of_norm(facts: Facts, groups: int, key: str) -> Tensor:
    """(groups,): gamma * dL/dgamma + beta * dL/dbeta of each channel."""
    norm, gradients = facts.norm, facts.norm_gradients
    own = [one for one in (getattr(norm, "weight", None), getattr(norm, "bias", None)) if one is not None]
    if not own or gradients is None:
        raise SchedEngineError(
            f"{key}: criterion gradient of the norm needs a batch normalisation with scale and shift after the layer, "
            "and their gradients of a step; cut after the first step, and set gradients to None or 0 before backward() "
            "only"
        )
    if own[0].numel() != groups:
        raise SchedEngineError(f"{key}: {groups} groups, and {own[0].numel()} scales; use granularity filter")
    dtype = torch.promote_types(own[0].dtype, torch.float32)
    return torch.stack([one.detach().to(dtype) * by.to(dtype) for one, by in zip(own, gradients)]).sum(dim=0)
