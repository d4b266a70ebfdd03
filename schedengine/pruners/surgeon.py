"""OBS: the weights that stay take over, in their block, what they can of those that went.

Reference: Hassibi, Stork 1993, Second order derivatives for network pruning: Optimal Brain Surgeon, NIPS 5, of one
weight: ``-(w_i / [F^-1]_ii) F^-1 e_i``. Singh, Alistarh 2020, WoodFisher, arXiv:2004.14340, adds these up for all
weights that go; that is exact for one in a block, and for several leaves out what each does to the others. Here they go
together: the change that raises the loss least, to second order, of all that make them 0 (Kurtic et al. 2022, The
Optimal BERT Surgeon, arXiv:2203.07259, has the same for groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from schedengine.criteria.information import blocked, damped, factors


@dataclass(frozen=True)
class Surgery:
    """A weight after a cut that others make up for.

    Args:
        weight: of the parameter's shape; those that went are as they were given.
        before: what the loss grows by, to second order, by the cut alone: d^T F d / 2.
        after: the same with the new weights.
    """

    weight: Tensor
    before: float
    after: float


def compensated(shown: Tensor, kept: Tensor, mask: Tensor, information: Tensor, damp: float) -> Surgery:
    """Weights for those that stay, with which the loss grows least. Weights that were 0 before and go on going stay 0.

    Args:
        shown: any shape, what the layer computed with before the cut.
        kept: of this shape, the values to write into: the same, but for values that are kept under masks.
        mask: bool of this shape, in force after the cut.
        information: (blocks, width, width), the Fisher information of consecutive weights.
        damp: added to its diagonal.

    Raises:
        SchedEngineError: the information is not finite.
    """
    width = information.shape[-1]
    old, stays = blocked(shown.detach().flatten(), width), blocked(mask.flatten(), width).bool()
    lost = old.masked_fill(stays, 0.0)
    curvature = damped(information.to(old.device), damp)
    pull = _times(curvature, lost)
    # Among those that stay F, elsewhere the identity: one solution for all blocks, whatever is gone in each.
    among = curvature * (stays[:, :, None] & stays[:, None, :]) + torch.diag_embed((~stays).to(old.dtype))
    change = torch.cholesky_solve((pull * stays)[..., None], factors(among))[..., 0] * stays
    total = change - lost
    new = kept.detach() + change.flatten()[: kept.numel()].view(kept.shape).to(kept.dtype)
    after = (total * _times(curvature, total)).sum() / 2
    return Surgery(torch.where(mask, new, kept.detach()), float((lost * pull).sum() / 2), float(after))


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors[..., None])[..., 0]
