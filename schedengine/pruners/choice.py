"""A pruner's choice at every step: single weights, on the device alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from schedengine.errors import EffectError
from schedengine.granularity import Element
from schedengine.masks import MaskStore
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.updates import Reselect
from schedengine.selection import ParameterTable
from schedengine.sparsity.allocation import Allocation, Shapes
from schedengine.sparsity.selection import removal_count
from schedengine.sparsity.swift import Swift


class Choice:
    """Which single weights a pruner would keep; exactly those that a whole cut would, without waiting for the device.

    Args:
        pruner: its axes and parameters.
    """

    def __init__(self, pruner: BoundPruner) -> None:
        self.pruner = pruner
        self._swift: Swift | None = None

    def stays(self, weights: list[Tensor], gradients: list[Tensor] | None, gone: Sequence[int]) -> list[Tensor]:
        """True where a weight stays, of each weight's shape; views of a buffer that the next call overwrites.

        Args:
            weights: of the pruner's parameters.
            gradients: of the loss, where the criterion looks at them.
            gone: see ``removal``.
        """
        is_global = self.pruner.is_global
        sizes = tuple(weight.numel() for weight in weights)
        if self._swift is None or self._swift.sizes != sizes or self._swift.device != weights[0].device:
            self._swift = Swift(sizes, weights[0].device, by_layer=not is_global)
        scores = self.pruner.spec.criterion.fused(weights, gradients)
        assert scores is not None  # asked before, see ``is_quick`` and ``schedule.bind``
        return self._swift.stays(scores, gone[0] if is_global else gone, min_keep=self._least)

    @property
    def _least(self) -> int:
        """Weights of each parameter that stay; where nothing is removed, none has to."""
        return 0 if self.pruner.spec.is_edit else self.pruner.spec.min_keep

    def removal(self, shapes: Shapes, number: int, count: int) -> list[int]:
        """How many weights are to be gone at the ``number``-th of ``count`` cuts: in all, or of each parameter."""
        spec, aim = self.pruner.spec, self.pruner.aim(shapes, number, count)
        assert aim is not None
        sizes = {name: math.prod(shape) for name, shape in shapes.items()}
        if aim.levels is None:
            removable = sum(max(0, size - self._least) for size in sizes.values())
            return [min(removal_count(aim.total, sum(sizes.values()), spec.rounding), removable)]
        counts = {name: removal_count(aim.levels[name], size, spec.rounding) for name, size in sizes.items()}
        return [min(counts[name], max(0, size - self._least)) for name, size in sizes.items()]

    def found_bad_(self) -> bool:
        """Whether something that was ranked since this was last asked was not finite; waits for the device."""
        return self._swift is not None and self._swift.found_bad_()

    def check_(self) -> None:
        """Whether all that was ranked was finite; waits for the device.

        Raises:
            SchedEngineError: it was not.
        """
        if self._swift is not None:
            self._swift.check_(f"pruner {self.pruner.name!r}")


class Reselection:
    """Cuts that only choose anew at the target of the cut before: masks are renewed, and nothing is recorded.

    Args:
        pruner: see ``is_quick``.
    """

    def __init__(self, pruner: BoundPruner) -> None:
        self.pruner = pruner
        self._choice = Choice(pruner)
        self._gone: list[int] | None = None
        self._known: tuple[tuple[int, int], list[int]] | None = None

    def note_(self, table: ParameterTable, number: int, count: int) -> None:
        """A whole cut was made."""
        self._gone = self._removal(table, number, count) if is_quick(self.pruner) else None

    def renew_(self, masks: MaskStore, table: ParameterTable, number: int, count: int) -> bool:
        """Choose anew, if that is all that there is to do.

        Returns:
            Whether it was done.
        """
        if self._gone is None or self._removal(table, number, count) != self._gone:
            return False
        if any(masks.owned(self.pruner.name, name) is None for name in self.pruner.names):
            return False
        stays = self._choice.stays([masks.weight(name) for name in self.pruner.names], None, self._gone)
        masks.renew_(self.pruner.name, dict(zip(self.pruner.names, stays, strict=True)))
        masks.apply_()
        return True

    def _removal(self, table: ParameterTable, number: int, count: int) -> list[int]:
        if self._known is None or self._known[0] != (number, count):
            self._known = (number, count), self._choice.removal(self.pruner.shapes(table), number, count)
        return self._known[1]

    def verify(self, masks: MaskStore) -> None:
        """Whether what was chosen without looking is what was asked. Waits for the device: once an epoch.

        Raises:
            EffectError: another number of weights is gone.
            SchedEngineError: some weights could not be ranked (nan).
        """
        self._choice.check_()
        owned = [masks.owned(self.pruner.name, name) for name in self.pruner.names]
        if self._gone is None or any(one is None for one in owned):
            return
        gone = [one.numel() - int(one.count_nonzero()) for one in owned if one is not None]
        if (found := [sum(gone)] if self.pruner.is_global else gone) != self._gone:
            name, asked = self.pruner.name, sum(self._gone)
            raise EffectError(f"pruner {name!r}: {sum(found):,} of {asked:,} weights are gone after choosing anew")

    def state_dict(self) -> dict[str, Any]:
        """What the last whole cut asked."""
        return {"gone": self._gone}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self._gone = state["gone"]


def is_quick(pruner: BoundPruner) -> bool:
    """Whether a pruner chooses single weights by themselves, from kept values whose optimizer state stays, and with no
    other rule, so that choosing anew is all there is to a cut at the same target."""
    spec, allocation = pruner.spec, pruner.spec.allocation
    others = (spec.draw, spec.together, spec.lasts, spec.rescale, spec.ties, spec.apply, spec.masks, spec.momentum)
    if others != ("exact", None, "run", False, "position", "cut", "combine", "keep") or spec.rounds > 1:
        return False
    if isinstance(allocation, Allocation) and not (
        allocation.elementwise and getattr(allocation, "count", "") != "groups"
    ):
        return False
    if not isinstance(spec.granularity, Element) or not isinstance(spec.update, Reselect) or spec.min_keep > 1:
        return False
    return spec.sparsity is not None and not spec.criterion.needs and can_fuse(pruner)


def can_fuse(pruner: BoundPruner) -> bool:
    """Whether its criterion scores single weights of all parameters at once."""
    one = [torch.ones(1)]
    return pruner.spec.criterion.fused(one, one) is not None
