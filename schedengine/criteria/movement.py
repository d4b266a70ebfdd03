"""Movement: weights that training moves towards 0 go first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts, Need, finite
from schedengine.errors import SchedEngineError
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Movement(Criterion):
    """``-sum of w * dL/dw`` over the steps of the run so far: positive of weights that grow away from 0.

    The gradient is taken at what the network computes with; w is the kept value where a mask keeps one (``pruned:
    dense``, as in the paper). Sums begin with the run, and again with a thinning; a cut does not end them. A group
    scores the sum over its weights.

    Reference:
        Sanh, Wolf, Rush (2020), Movement Pruning: Adaptive Sparsity by Fine-Tuning, arXiv:2005.07683. There the sum is
        what a learned score of each weight becomes under plain SGD at a constant rate, which orders alike.
    """

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"movement"})

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        if facts.movement is None:
            raise SchedEngineError(f"{key}: criterion movement needs the steps of a run, and there were none")
        return finite(granularity.group(facts.movement.to(weight.device)).sum(dim=1), key=key)


class Movements:
    """The sums of a run, by parameter, in single precision at least. A step is a few fused operations."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._scratch: tuple[list[Any], list[Tensor], list[Tensor]] | None = None

    @torch.no_grad()
    def add_(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor | None]) -> None:
        """Add a step, between its gradients (unscaled, of all ranks) and the update.

        Args:
            weights: kept values where there are any.
            gradients: of the same names; None where a step had none.
        """
        known = {name: one for name, one in gradients.items() if one is not None}
        for name in known:
            if name not in self._sums or not _fits(self._sums[name], weights[name]):
                self._sums[name] = _continued(self._sums.get(name), weights[name])
        sums = [self._sums[name] for name in known]
        if sums:
            values = [weights[name].detach().to(one.dtype) for name, one in zip(known, sums)]
            torch._foreach_addcmul_(sums, values, self._of_update(list(known.values()), sums), value=-1)

    def _of_update(self, gradients: list[Tensor], sums: list[Tensor]) -> list[Tensor]:
        """The gradients, or zeros where any is not finite: mixed precision skips such an update, so nothing moved."""
        kind = [(one.shape, one.dtype, one.device) for one in sums]
        if self._scratch is None or self._scratch[0] != kind:
            self._scratch = kind, *_views(sums)
        _, flats, views = self._scratch
        torch._foreach_copy_(views, gradients)
        for flat in flats:
            flat.masked_fill_(flat.isfinite().all().logical_not(), 0.0)
        return views

    def read(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of those parameters that have the shape that they had."""
        return {name: self._sums[name] for name, one in weights.items() if _is_of(self._sums.get(name), one)}

    def state_dict(self) -> dict[str, Tensor]:
        """The sums."""
        return {name: one.clone() for name, one in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self._sums = {name: one.clone() for name, one in state.items()}


def _views(like: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """A flat buffer for each dtype and device, and parts of them of these shapes."""
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    starts = []
    for one in like:
        key = one.dtype, one.device
        starts.append(sizes.get(key, 0))
        sizes[key] = starts[-1] + one.numel()
    flats = {(dtype, device): torch.empty(size, dtype=dtype, device=device) for (dtype, device), size in sizes.items()}
    pairs = zip(like, starts, strict=True)
    views = [flats[one.dtype, one.device][start : start + one.numel()].view(one.shape) for one, start in pairs]
    return list(flats.values()), views


def _is_of(total: Tensor | None, weight: Tensor) -> bool:
    return total is not None and total.shape == weight.shape


def _fits(total: Tensor, weight: Tensor) -> bool:
    return _is_of(total, weight) and total.device == weight.device


def _continued(total: Tensor | None, weight: Tensor) -> Tensor:
    """The sum where the weight is; zeros of one that was thinned."""
    if total is not None and total.shape == weight.shape:
        return total.to(weight.device)
    return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32))
