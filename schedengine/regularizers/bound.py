"""A regularizer on a model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from schedengine.regularizers.regularizer import Regularizer
from schedengine.regularizers.strengths import Strength
from schedengine.selection import ParameterTable


class BoundRegularizer:
    """A regularizer's parameters and their strengths.

    Args:
        name: in the schedule.
        spec: what the file says.
        names: normalised names of its parameters.
        by_name: strength of each parameter, where the file has a mapping.
    """

    def __init__(self, name: str, spec: Regularizer, names: list[str], by_name: Mapping[str, float] | None) -> None:
        self.name = name
        self.spec = spec
        self.names = names
        self.by_name = by_name

    def penalty(self, table: ParameterTable, share: float) -> Tensor:
        """The scalar that is added to the loss, differentiable.

        Args:
            share: of the window that has passed, [0, 1).
        """
        costs = self.spec.penalty.costs([table[name] for name in self.names], self.spec.granularity)
        strength = self.spec.strength
        if isinstance(strength, Strength):
            return torch.stack([cost.float() for cost in costs]).sum() * strength.at(share)
        factors = self.by_name or {}
        return torch.stack([cost.float() * factors[name] for cost, name in zip(costs, self.names)]).sum()
