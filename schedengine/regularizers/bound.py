"""A regularizer on a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from schedengine.granularity import GRANULARITIES, Granularity, oriented
from schedengine.masks import Applied, MaskStore
from schedengine.regularizers import THRESHOLDS
from schedengine.regularizers.regularizer import Regularizer
from schedengine.regularizers.strengths import Strength
from schedengine.selection import ParameterTable

logger = logging.getLogger(__name__)


class BoundRegularizer:
    """A regularizer's parameters, their strengths, and what it set to 0 for good.

    Args:
        name: in the schedule.
        spec: what the file says.
        names: normalised names of its parameters.
        by_name: strength of each parameter, where the file has a mapping.

    Attributes:
        gone: groups of each parameter that were 0 when a window last ended and its masks stayed; None before that.
    """

    def __init__(self, name: str, spec: Regularizer, names: list[str], by_name: Mapping[str, float] | None) -> None:
        self.name = name
        self.spec = spec
        self.names = names
        self.by_name = by_name
        self.gone: dict[str, int] | None = None
        self._nearest = ""

    @property
    def owner(self) -> str:
        """Under which name the mask store has its masks: that of no pruner."""
        return f"regularizers.{self.name}"

    def penalty(self, table: ParameterTable, share: float) -> Tensor:
        """The scalar that is added to the loss, differentiable.

        Args:
            share: of the window that has passed, [0, 1).
        """
        costs = self._costs(table)
        strength = self.spec.strength
        if isinstance(strength, Strength):
            return torch.stack([cost.float() for cost in costs]).sum() * strength.at(share)
        factors = self.by_name or {}
        return torch.stack([cost.float() * factors[name] for cost, name in zip(costs, self.names)]).sum()

    def _costs(self, table: ParameterTable) -> list[Tensor]:
        alike: dict[Granularity, list[str]] = {}
        for name in self.names:
            alike.setdefault(self._granularity(table, name), []).append(name)
        found: dict[str, Tensor] = {}
        for granularity, names in alike.items():
            found.update(zip(names, self.spec.penalty.costs([table[name] for name in names], granularity)))
        return [found[name] for name in self.names]

    def _granularity(self, table: ParameterTable, name: str) -> Granularity:
        return oriented(self.spec.granularity, table.layer(name))

    # --- the threshold -----------------------------------------------------------------------------------------------

    def limits(self, share: float) -> list[float]:
        """What the score of a group of each parameter must exceed to stay; see ``Threshold``.

        Args:
            share: of the window that has passed, [0, 1).
        """
        strength, threshold = self.spec.strength, self.spec.threshold
        if threshold is not None and threshold.limit is not None:
            return [threshold.limit] * len(self.names)
        if isinstance(strength, Strength):
            return [strength.at(share)] * len(self.names)
        factors = self.by_name or {}
        return [factors[name] for name in self.names]

    @torch.no_grad()
    def threshold_(self, table: ParameterTable, masks: MaskStore, share: float) -> list[Tensor]:
        """Set groups whose score is at most their limit to 0, once: they may grow again. Never waits for the device.

        Where a pruner keeps the values of what it prunes (modes ``hidden`` and ``dense``), it is these that are scored
        and set to 0, and what the model shows follows: they are what trains on. Scored as shown, whatever is pruned
        would lose its value.

        Args:
            share: of the window that has passed, [0, 1).

        Returns:
            For each parameter (groups,), 1 where the group stays and 0 where it went, floating.
        """
        values = [masks.weight(name) for name in self.names]
        stays = [scores.gt_(limit) for scores, limit in zip(self._scores(table, masks), self.limits(share))]
        # A product, not a choice: nan stays nan, so that a diverged weight is not hidden.
        factors = [self._spread(table, name, stay) for name, stay in zip(self.names, stays)]
        torch._foreach_mul_(values, factors)
        masked = set(masks.names)
        shown = [(table[name], factor) for name, factor in zip(self.names, factors) if name in masked]
        if shown:
            torch._foreach_mul_([weight for weight, _ in shown], [factor for _, factor in shown])
        return stays

    def _scores(self, table: ParameterTable, masks: MaskStore) -> list[Tensor]:
        threshold = self.spec.threshold
        assert threshold is not None
        return [threshold.scores(self._granularity(table, name).group(masks.weight(name))) for name in self.names]

    def _spread(self, table: ParameterTable, name: str, stay: Tensor) -> Tensor:
        return self._granularity(table, name).expand(stay, tuple(table[name].shape))

    @torch.no_grad()
    def keep_(
        self,
        table: ParameterTable,
        masks: MaskStore,
        optimizer: torch.optim.Optimizer | None,
        stays: list[Tensor],
        share: float,
    ) -> None:
        """Make what ``threshold_`` just set to 0 stay 0 for good, as ``BoundPruner.keep_`` does.

        Kept values of these parameters are dropped, and the optimizer's state of what is gone is set to 0.

        Args:
            optimizer: None where there is none.
            stays: what ``threshold_`` returned.
            share: of the window that has passed, [0, 1).
        """
        self.gone = {name: stay.numel() - int(stay.count_nonzero()) for name, stay in zip(self.names, stays)}
        kept = [(name, stay) for name, stay in zip(self.names, stays) if self.gone[name]]
        for name, stay in kept:
            masks.set_(self.owner, name, self._spread(table, name, stay.bool()), Applied())
        masks.apply_()
        if optimizer is not None:
            masks.mask_optimizer_state_(optimizer, [name for name, _ in kept], reset=False)
        self._nearest = "" if kept else self._smallest(table, masks, share)
        total = sum(stay.numel() for stay in stays)
        logger.info("regularizer %r: %d of %d groups stay 0", self.name, sum(self.gone.values()), total)

    def _smallest(self, table: ParameterTable, masks: MaskStore, share: float) -> str:
        """How far from its limit the group was that came nearest to it."""
        least = [float(scores.min()) for scores in self._scores(table, masks)]
        score, limit, name = min(zip(least, self.limits(share), self.names), key=lambda one: one[0] - one[1])
        return f"nearest was {name}, with {score:.4g} for its smallest and a limit of {limit:.4g}"

    def shortfall(self) -> str | None:
        """What is to be said at the end of a run in which its masks were to stay; None if some groups did go."""
        if self.gone is None:
            return (
                f"regularizer {self.name!r} kept no mask: the run ended before its window did, or had no step that was "
                "the last of it; end the window within the run"
            )
        if any(self.gone.values()):
            return None
        groups = f"group of granularity {GRANULARITIES.name_of(self.spec.granularity)}"
        word = THRESHOLDS.name_of(self.spec.threshold)
        return (
            f"regularizer {self.name!r} set nothing to 0: no {groups} has a {word} at or below its limit; "
            f"{self._nearest}; raise the strength, train longer, or give 'threshold' a higher limit of its own"
        )

    def known_shortfall(self) -> str | None:
        """The same before the run has ended; None where its window has not."""
        return None if self.gone is None else self.shortfall()

    def state_dict(self) -> dict[str, Any]:
        """What it set to 0 for good: plain values."""
        return {"gone": None if self.gone is None else dict(self.gone), "nearest": self._nearest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.gone = None if state["gone"] is None else dict(state["gone"])
        self._nearest = state["nearest"]
