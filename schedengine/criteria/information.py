"""The empirical Fisher information of a network's weights: its diagonal, or blocks of it along the diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from schedengine.criteria.examples import example_gradients
from schedengine.criteria.means import Means
from schedengine.criteria.network import Network, exact
from schedengine.errors import SchedEngineError

_PART = 1 << 22
"""Numbers of the blocks that are inverted at a time."""


def diagonals(network: Network, samples: int) -> dict[str, Tensor]:
    """The mean square of the gradients of single examples, of each parameter's shape.

    Args:
        samples: examples of the data, on each rank.
    """
    means = Means({name: torch.zeros_like(one, dtype=exact(one.device)) for name, one in network.weights.items()})
    for gradients in example_gradients(network, samples):
        squares = [one.detach().to(exact(one.device)).square_() for one in gradients.values()]
        means.add_([one.sum(dim=0) for one in squares], len(squares[0]))
    return means.read()


def blocks(network: Network, samples: int, width: int) -> dict[str, Tensor]:
    """The mean outer product of the gradients of single examples, within blocks of consecutive weights.

    Args:
        samples: examples of the data, on each rank.
        width: weights of a block; of a smaller parameter all are one.

    Returns:
        By parameter, (blocks, width, width); the last block is filled up with zeros.
    """
    if width == 1:
        return {name: one.reshape(-1, 1, 1) for name, one in diagonals(network, samples).items()}
    sums = {name: _empty(one, width) for name, one in network.weights.items()}
    means = Means(sums)
    for gradients in example_gradients(network, samples):
        rows = [blocked(one.detach().flatten(1), sums[name].shape[-1]) for name, one in gradients.items()]
        means.add_([torch.einsum("nkb,nkc->kbc", one, one) for one in rows], len(rows[0]))
    return means.read()


def _empty(weight: Tensor, width: int) -> Tensor:
    width = min(width, weight.numel())
    count = -(-weight.numel() // width)
    return torch.zeros(count, width, width, dtype=exact(weight.device), device=weight.device)


def blocked(flat: Tensor, width: int) -> Tensor:
    """(..., weights) as (..., blocks, width) in the widest dtype, filled up with zeros."""
    short = -flat.shape[-1] % width
    padded = torch.nn.functional.pad(flat.to(exact(flat.device)), (0, short))
    return padded.reshape(*flat.shape[:-1], -1, width)


def damped(information: Tensor, damp: float) -> Tensor:
    """F + damp * I, and of each block at least what its rounding errors amount to: below that F tells nothing."""
    width, eps = information.shape[-1], torch.finfo(information.dtype).eps
    noise = eps * width * information.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    return information + torch.diag_embed(noise.clamp_min(damp)[:, None].expand(-1, width))


def inverse_diagonal(information: Tensor, damp: float) -> Tensor:
    """The diagonal of (F + damp * I)**-1, (blocks, width).

    Args:
        information: (blocks, width, width).

    Raises:
        SchedEngineError: it is not finite.
    """
    width = information.shape[-1]
    parts = torch.split(information, max(1, _PART // width**2))
    return torch.cat([_inverted(damped(one, damp)) for one in parts])


def _inverted(matrices: Tensor) -> Tensor:
    if matrices.shape[-1] == 1:
        return matrices[..., 0].reciprocal()
    return torch.cholesky_inverse(factors(matrices)).diagonal(dim1=-2, dim2=-1)


def factors(matrices: Tensor) -> Tensor:
    """The Cholesky factors, (blocks, width, width).

    Raises:
        SchedEngineError: one has none: it is not finite.
    """
    found: Tensor
    found, failed = torch.linalg.cholesky_ex(matrices)
    if bool(failed.any()):
        raise SchedEngineError("the Fisher information has no inverse; look for nan or inf in the gradients")
    return found
