"""Gradients of single examples, many at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.utils._pytree import tree_map

from schedengine.criteria.network import Network
from schedengine.errors import SchedEngineError

logger = logging.getLogger(__name__)
AT_ONCE = 1 << 23
"""Numbers that the gradients of the examples taken together may have."""


def example_gradients(network: Network, samples: int) -> Iterator[dict[str, Tensor]]:
    """Gradients of the loss of each of the first examples, with batch normalisation in evaluation mode.

    Args:
        samples: examples of the data, on each rank; the last batch is cut where it has more.

    Yields:
        By parameter, (examples, *shape), for a few examples at a time.

    Raises:
        SchedEngineError: the model cannot be mapped over examples; says which module.
    """
    left, chunk = samples, max(1, AT_ONCE // sum(one.numel() for one in network.weights.values()))
    with network.aside():
        for inputs, targets in network.batches():
            size = min(left, len(inputs[0]))
            for start in range(0, size, chunk):
                yield _gradients(network, *_part((inputs, targets), slice(start, min(start + chunk, size))))
            left -= size
            if not left:
                return
    logger.info("the data gave %d examples of the %d that were asked for", samples - left, samples)


def _part(batch: tuple[Any, Any], some: slice) -> Any:
    return tree_map(lambda one: one[some] if isinstance(one, Tensor) else one, batch)


def _gradients(network: Network, inputs: tuple[Any, ...], targets: Any) -> dict[str, Tensor]:
    def loss_of_one(weights: dict[str, Tensor], *example: Any) -> Tensor:
        alone = tree_map(lambda one: one[None] if isinstance(one, Tensor) else one, example)
        return network.loss(weights, alone[0], alone[1])

    by_example = tree_map(lambda one: 0 if isinstance(one, Tensor) else None, (inputs, targets))
    with _trail(network.module) as trail:
        try:
            found: dict[str, Tensor] = vmap(grad(loss_of_one), in_dims=(None, *by_example))(
                network.weights, inputs, targets
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            where = f"module {trail[-1]}" if trail else "the loss function, or the backward pass"
            raise SchedEngineError(
                f"no gradients of single examples (torch.func.vmap): {where}: {error}; use a criterion that needs "
                "none, such as snip, or a network without such a module"
            ) from error
    return found


@contextmanager
def _trail(model: nn.Module) -> Iterator[list[str]]:
    """The modules that were entered and not left, outermost first."""
    entered: list[str] = []
    handles = []
    for name, module in model.named_modules():
        label = f"{name!r} ({type(module).__name__})" if name else f"({type(module).__name__})"
        handles.append(module.register_forward_pre_hook(partial(_enter, entered, label)))
        handles.append(module.register_forward_hook(partial(_leave, entered)))
    try:
        yield entered
    finally:
        for handle in handles:
            handle.remove()


def _enter(entered: list[str], label: str, *_: object) -> None:
    entered.append(label)


def _leave(entered: list[str], *_: object) -> None:
    entered.pop()
