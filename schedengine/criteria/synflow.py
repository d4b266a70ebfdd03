"""SynFlow: how much of the network's flow goes through a weight; looks at no data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch.utils._pytree import tree_leaves

from schedengine.criteria.base import NOTHING, Criterion, Facts, Given, finite, measured
from schedengine.criteria.network import exact
from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.criteria.network import Network
    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Synflow(Criterion):
    """``|w| * dR/d|w|``, R the sum of the outputs of the network with absolute values for an input of ones.

    Parameters and buffers are all replaced by their absolute values, in evaluation mode and double precision: products
    over many layers leave the range of single precision. In a network without biases, of layers and ReLU alone, the
    scores of every layer add up to R. A group scores the sum over its weights.

    The paper goes in a hundred rounds, each with the flow of what is left (``rounds: 100``); in one, whole layers are
    lost much earlier.

    Only the shape of the inputs is looked at: of the example inputs given to ``bind``, else of its data.

    Reference:
        Tanaka, Kunin, Yamins, Ganguli (2020), Pruning Neural Networks without Any Data by Iteratively Conserving
        Synaptic Flow, arXiv:2006.05467.
    """

    asks: ClassVar[frozenset[Given]] = frozenset({"inputs"})

    def measure(self, network: Network) -> dict[str, Tensor]:
        """``|w| * dR/d|w|``."""
        with network.aside(), torch.enable_grad():
            weights = {name: _absolute(one).requires_grad_() for name, one in network.weights.items()}
            rest = {name: _absolute(one) for name, one in network.rest.items()}
            inputs = tuple(_absolute(one) if isinstance(one, torch.Tensor) else one for one in network.ones())
            try:
                flow = _total(network.outputs(weights, inputs, rest))
            except RuntimeError as error:
                raise SchedEngineError(f"synflow runs the network in double precision, which fails: {error}") from error
            found = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
        pairs = zip(weights.items(), found, strict=True)
        return {name: (one * by).detach() for (name, one), by in pairs if by is not None}

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        flow = measured(facts, key=key).to(weight.device)
        return finite(granularity.group(flow).sum(dim=1), key=key)


def _absolute(value: Tensor) -> Tensor:
    """In the widest dtype; counters and the like as they are."""
    return value.detach().to(exact(value.device)).abs() if value.is_floating_point() else value


def _total(outputs: Any) -> Tensor:
    """The sum of all floating outputs.

    Raises:
        SchedEngineError: there are none.
    """
    sums = [one.sum() for one in tree_leaves(outputs) if isinstance(one, torch.Tensor) and one.is_floating_point()]
    if not sums:
        raise SchedEngineError(f"synflow adds up the network's outputs, and {type(outputs).__name__} holds no tensors")
    return torch.stack(sums).sum()
