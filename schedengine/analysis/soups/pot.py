"""Networks that any of can be averaged."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from schedengine.analysis.soups.alike import tensors
from schedengine.soups.average import average

Change = Callable[[nn.Module], None]
"""What is done to a network, in place."""


@dataclass(frozen=True)
class Pot:
    """Networks of one architecture.

    Args:
        networks: they are left as they are.
        finish: what is done to every average, in this order: a cut back, new batch-norm statistics.

    Example:
        >>> one, other = nn.Linear(1, 1), nn.Linear(1, 1)
        >>> for layer, value in ((one, 1.0), (other, 2.0)):
        ...     _ = nn.init.constant_(layer.weight, value)
        >>> Pot([one, other]).mix([0, 1]).weight.item()
        1.5
    """

    networks: Sequence[nn.Module]
    finish: Sequence[Change] = field(default=())

    def mix(self, chosen: Sequence[int]) -> nn.Module:
        """The mean of some of the networks, finished: parameters, and buffers too.

        Args:
            chosen: their numbers, from 0; at least one.
        """
        network = copy.deepcopy(self.networks[chosen[0]])
        mean = average([tensors(self.networks[number]) for number in chosen])
        with torch.no_grad():
            for name, value in tensors(network).items():
                value.copy_(mean[name])
        for change in self.finish:
            change(network)
        return network
