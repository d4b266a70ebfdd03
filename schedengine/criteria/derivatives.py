"""Derivatives of the loss over batches of the data: its gradient, and its Hessian times that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from schedengine.criteria.means import Means
from schedengine.criteria.network import Network, Norms

_Gradients = tuple[Tensor | None, ...]


def gradient(network: Network, batches: int, norms: Norms, temperature: float = 1.0) -> dict[str, Tensor]:
    """dL/dw, L the mean loss over the examples of the first batches, by parameter.

    Args:
        batches: of the data, on each rank.
        norms: how batch normalisation runs, see ``Network.aside``.
        temperature: what outputs are divided by.
    """
    means = Means.like(network.weights)
    with network.aside(norms), torch.enable_grad():
        for inputs, targets in network.batches(batches):
            weights = leaves(network.weights)
            loss = network.loss(weights, inputs, targets, temperature=temperature)
            means.add_(_differentiated(loss, weights), len(inputs[0]), times=len(inputs[0]))
    return means.read()


def hessian_gradient(network: Network, batches: int, norms: Norms, temperature: float) -> dict[str, Tensor]:
    """H g: the Hessian of the mean loss times its gradient, over the scored weights, by parameter.

    The gradient is that of all batches, so the data are gone through twice, and must come in the same order.

    Args:
        batches, norms, temperature: as of ``gradient``.
    """
    known = gradient(network, batches, norms, temperature)
    means = Means.like(network.weights)
    with network.aside(norms), torch.enable_grad():
        for inputs, targets in network.batches(batches):
            weights = leaves(network.weights)
            loss = network.loss(weights, inputs, targets, temperature=temperature)
            own = _differentiated(loss, weights, create_graph=True)
            product = _inner(own, [known.get(name) for name in weights])
            examples = len(inputs[0])
            means.add_(_curved(product, weights, own), examples, times=examples)
    return means.read()


def leaves(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Values to differentiate by: of a model's own parameters no gradient is touched."""
    return {name: one.detach().requires_grad_() for name, one in weights.items()}


def _differentiated(loss: Tensor, weights: Mapping[str, Tensor], *, create_graph: bool = False) -> _Gradients:
    """None of weights that the loss does not depend on."""
    if not loss.requires_grad:
        return (None,) * len(weights)
    return torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph, allow_unused=True)


def _inner(own: _Gradients, known: Sequence[Tensor | None]) -> Tensor | None:
    terms = [(a * b.to(a.dtype)).sum() for a, b in zip(own, known, strict=True) if a is not None and b is not None]
    return torch.stack([term.to(terms[0]) for term in terms]).sum() if terms else None


def _curved(product: Tensor | None, weights: Mapping[str, Tensor], own: _Gradients) -> list[Tensor | None]:
    """The derivative of the product; 0 of weights that the loss depends on linearly, None of others."""
    found = (None,) * len(own) if product is None else _differentiated(product, weights)
    return [
        None if first is None else torch.zeros_like(first) if second is None else second
        for first, second in zip(own, found, strict=True)
    ]
