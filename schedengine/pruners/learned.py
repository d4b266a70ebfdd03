"""A gate on a model: the thresholds of a pruner's parameters, trained in a group of the optimizer of their own.

The parameters themselves show what the gate makes of the trained weights, which the mask store keeps. So a model is
left as it is (no parametrization, the same names), an evaluation sees what would be deployed, and the chain rule is one
elementwise formula on all weights at once before each update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schedengine.errors import CheckpointError
from schedengine.masks import MaskStore
from schedengine.progress import Progress
from schedengine.pruners.cut import Cut
from schedengine.pruners.gates import Gate
from schedengine.pruners.impact import Gauge
from schedengine.selection import ParameterTable


class Learned:
    """Thresholds, and the step between them and the weights. Told of by ``masks.MaskStore``.

    Args:
        gate: the formulas.
        shapes: of the parameters, by name.
        outputs: the dimension of each that is the layer's outputs.
        like: a parameter, for device and dtype (thresholds have at least single precision).

    Attributes:
        values: (units,) the thresholds.
        share: of the window that has passed, in [0, 1]; whoever knows the time sets it.
    """

    def __init__(
        self, gate: Gate, shapes: Mapping[str, tuple[int, ...]], outputs: Mapping[str, int], like: Tensor
    ) -> None:
        self.gate = gate
        self.names = list(shapes)
        self.share = 0.0
        self._shapes = [torch.Size(shape) for shape in shapes.values()]
        self._sizes = [shape.numel() for shape in self._shapes]
        dtype = torch.promote_types(like.dtype, torch.float32)
        unit, layer, units = _units(gate.units, shapes, outputs)
        self._unit = None if unit is None else unit.to(like.device)
        self._layer = layer.to(like.device)
        self._least = torch.tensor([gate.min_density * size for size in self._sizes], dtype=dtype, device=like.device)
        self.values = nn.Parameter(torch.full((units,), float(gate.init), dtype=dtype, device=like.device))

    @property
    def is_soft(self) -> bool:
        """Whether training sees another weight than what is deployed."""
        return self.gate.is_soft

    @torch.no_grad()
    def show_(self, parameters: Sequence[Tensor], kept: Sequence[Tensor], *, in_training: bool) -> None:
        """Write what the network computes with.

        Args:
            parameters: written to.
            kept: the trained weights.
            in_training: for a training step, else as deployed.
        """
        w = self._flat(kept)
        made = self.gate.shown if in_training else self.gate.deployed
        torch._foreach_copy_(list(parameters), self._parted(made(w, self._spread(), self.share)))

    @torch.no_grad()
    def backward_(self, parameters: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
        """Turn gradients at what was shown into those of the trained weights, in place, and give the thresholds theirs.

        A parameter without a gradient stays without one.
        """
        found = [one.grad for one in parameters]
        if not any(one is not None for one in found):
            return
        w = self._flat(kept)
        g = self._flat([torch.zeros_like(k) if one is None else one for one, k in zip(found, kept, strict=True)])
        of_weights, of_thresholds = self.gate.gradients(w, self._spread(), g, self.share)
        pairs = [(one, part) for one, part in zip(found, self._parted(of_weights), strict=True) if one is not None]
        torch._foreach_copy_([one for one, _ in pairs], [part for _, part in pairs])
        total = of_thresholds
        if self._unit is not None:
            total = torch.zeros_like(self.values).index_add_(0, self._unit, of_thresholds)
        penalty = self.gate.penalty(self.values.detach(), self.share)
        self.values.grad = total.clone() if penalty is None else total + penalty

    @torch.no_grad()
    def guard_(self, kept: Sequence[Tensor]) -> None:
        """Set the thresholds of parameters of which next to nothing is left to 0, where the gate asks for it."""
        if not self.gate.min_density or self._unit is None:
            return
        w = self._flat(kept)
        stays = (self.gate.deployed(w, self._spread(), self.share) != 0).to(self.values.dtype)
        # The share of each unit that stays, summed over the units of each parameter.
        count = torch.zeros_like(self.values).index_add_(0, self._unit, stays)
        total = torch.zeros_like(self._least).index_add_(0, self._layer, count)
        self.values.mul_((total > self._least)[self._layer])

    @torch.no_grad()
    def next_round_(self) -> None:
        """What another window begins with."""
        self.values.copy_(self.gate.next_round(self.values))
        self.share = 0.0

    @torch.no_grad()
    def follow_(self, parameter: Tensor) -> None:
        """Be on the device that the parameters have moved to."""
        if self.values.device != parameter.device:
            self.values.data = self.values.data.to(parameter.device)
            self._unit = None if self._unit is None else self._unit.to(parameter.device)
            self._layer, self._least = self._layer.to(parameter.device), self._least.to(parameter.device)

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """(weights,): all of them in a row, in the precision of the thresholds."""
        return torch.cat([one.reshape(-1) for one in tensors]).to(self.values.dtype)

    def _parted(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, self._sizes)
        return [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _spread(self) -> Tensor:
        """(weights,): the threshold of each."""
        values = self.values.detach()
        return values if self._unit is None else values[self._unit]

    def state_dict(self) -> dict[str, Any]:
        """Thresholds and time."""
        return {"values": self.values.detach().clone(), "share": self.share}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave.

        Raises:
            CheckpointError: another number of thresholds.
        """
        values = state["values"]
        if values.shape != self.values.shape:
            raise CheckpointError(
                f"the checkpoint has {values.numel():,} learned thresholds, this schedule {self.values.numel():,}"
            )
        with torch.no_grad():
            self.values.copy_(values)
        self.share = float(state["share"])


def fold_(
    owner: str,
    names: Sequence[str],
    masks: MaskStore,
    table: ParameterTable,
    optimizer: torch.optim.Optimizer | None,
    progress: Progress,
) -> Cut:
    """Settle what a pruner has learned: what is 0 now stays so, and what is left are plain weights.

    Returns:
        The record, like that of a cut whose rule is a limit.
    """
    gauge = Gauge(table, masks, names)
    masks.fold_(owner)
    masks.apply_()
    impact = gauge.impact({name: masks.in_force(name) for name in names})
    if optimizer is not None:
        masks.mask_optimizer_state_(optimizer, names, reset=False)
    kept = sum(int(masks.in_force(name).count_nonzero()) for name in names)
    weights = sum(table[name].numel() for name in names)
    return Cut(owner, progress.epoch, progress.step, 1, 1, None, None, weights - kept, weights, True, impact)


def _units(
    unit: str, shapes: Mapping[str, tuple[int, ...]], outputs: Mapping[str, int]
) -> tuple[Tensor | None, Tensor, int]:
    """Which threshold each weight has (None: its own), which parameter each threshold is of, how many there are."""
    total = sum(math.prod(shape) for shape in shapes.values())
    if unit == "element":
        return None, torch.zeros(0, dtype=torch.int64), total
    if unit == "all":
        return torch.zeros(total, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1
    parts, layers, count = [], [], 0
    for number, (name, shape) in enumerate(shapes.items()):
        dim = outputs.get(name, 0)
        own = shape[dim] if unit == "filter" else 1
        positions = torch.arange(own).view([-1 if at == dim else 1 for at in range(len(shape))])
        parts.append((positions + count).expand(shape).reshape(-1))
        layers.append(torch.full((own,), number))
        count += own
    return torch.cat(parts), torch.cat(layers), count
