"""What a cut takes from a network, in norms: stability's cheap companion, and what adaptive learning rates start from.

Reference: Zimmer, Spiegel and Pokutta, 2023, How I Learned to Stop Worrying and Love Retraining, arXiv 2111.00843.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from schedengine.masks import MaskStore
from schedengine.selection import ParameterTable


@dataclass(frozen=True)
class Impact:
    """The damage of one cut, or of several at one moment.

    Args:
        norm: L2 norm of all parameters before the cut, biases and normalisation included.
        loss: sqrt(|norm^2 - norm_after^2|).
        own: L2 norm of the weights that the pruner selected, as it ranks them.
        distance: L2 distance of these weights to what the cut leaves of them.
        remaining: selected weights that were not 0 before.
        gone: how many fewer there are after.
        scaled: sum over the selected parameters of n (||W||^2 - ||W_pruned||^2) / ||W||^2 before and after, n their
            remaining weights.
    """

    norm: float
    loss: float
    own: float
    distance: float
    remaining: int
    gone: int
    scaled: float

    @property
    def share(self) -> float:
        """q: the fraction of the remaining weights that went, in [0, 1]."""
        return self.gone / self.remaining if self.remaining else 0.0

    @property
    def norm_drop(self) -> float:
        """The relative drop of the network's norm, in [0, 1]."""
        return self.loss / self.norm if self.norm else 0.0

    @property
    def distance_to_pruned(self) -> float:
        """The relative distance of the selected weights to their pruned selves, in [0, 1]."""
        return self.distance / self.own if self.own else 0.0

    @property
    def drop(self) -> float:
        """The norm drop over sqrt(q): at most 1 for pruning by magnitude; 0 where nothing went."""
        return self.norm_drop / math.sqrt(self.share) if self.share else 0.0

    @property
    def layer_drop(self) -> float:
        """The same with every layer scaled to one mean square, so that no layer's scale matters."""
        return math.sqrt(abs(self.scaled) / self.gone) if self.gone else 0.0

    def plain(self) -> dict[str, Any]:
        """For a state dict."""
        return asdict(self)


def joint(impacts: Sequence[Impact]) -> Impact:
    """Several cuts at one moment as one, in their order."""
    return Impact(
        norm=impacts[0].norm,
        loss=math.hypot(*(one.loss for one in impacts)),
        own=math.hypot(*(one.own for one in impacts)),
        distance=math.hypot(*(one.distance for one in impacts)),
        remaining=sum(one.remaining for one in impacts),
        gone=sum(one.gone for one in impacts),
        scaled=sum(one.scaled for one in impacts),
    )


class Gauge:
    """Looks at the weights before a cut, and again after it.

    Everything is left on the device until the end, which reads it once.

    Args:
        table: all parameters.
        masks: before the cut.
        names: the parameters that are cut.
    """

    def __init__(self, table: ParameterTable, masks: MaskStore, names: Sequence[str]) -> None:
        self._masks = masks
        self._names = names
        self._before = {name: _norm(table[name]) for name in table.names if table[name].is_floating_point()}
        self._kept = {name: table[name].detach().count_nonzero() for name in names}

    @torch.no_grad()
    def impact(self, keep: Mapping[str, Tensor]) -> Impact:
        """What the cut took.

        Args:
            keep: the mask in force after it, by name.
        """
        scalars = list(self._before.values())
        for name in self._names:
            weight = self._masks.weight(name)
            pruned = weight * keep[name]
            scalars += [_norm(weight), _norm(pruned), _norm(weight - pruned), self._before[name]]
            scalars += [self._kept[name], pruned.count_nonzero()]
        numbers, count = _gathered(scalars), len(self._before)
        total = numbers[:count].square().sum()
        *flat, norm = torch.cat([numbers[count:], total[None]]).tolist()
        rows = [flat[start : start + 6] for start in range(0, len(flat), 6)]
        return _summed(rows, norm)


def _summed(rows: Iterable[Sequence[float]], norm: float) -> Impact:
    own = taken = lost = scaled = 0.0
    remaining = left = 0
    for *norms, count, still in rows:
        weight, pruned, gone, shown = (norm * norm for norm in norms)
        drop = gone if weight == shown else shown - pruned  # the same, but for the digits that a difference loses
        own, taken, lost = own + weight, taken + gone, lost + drop
        remaining, left = remaining + int(count), left + int(still)
        scaled += count * drop / shown if shown else 0.0
    return Impact(
        norm=math.sqrt(norm),
        loss=math.sqrt(abs(lost)),
        own=math.sqrt(own),
        distance=math.sqrt(taken),
        remaining=remaining,
        gone=max(0, remaining - left),
        scaled=scaled,
    )


def _norm(tensor: Tensor) -> Tensor:
    """The L2 norm, summed in at least single precision."""
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    norm: Tensor = torch.linalg.vector_norm(tensor.detach(), dtype=dtype)
    return norm


def _gathered(scalars: Sequence[Tensor]) -> Tensor:
    """(len(scalars),): those of all devices in one place, in float64, which holds any count of weights exactly."""
    if any(scalar.device.type == "mps" for scalar in scalars):  # which has no float64
        scalars = [scalar.cpu() for scalar in scalars]
    home = scalars[0].device
    return torch.stack([scalar.to(home, torch.float64) for scalar in scalars])
