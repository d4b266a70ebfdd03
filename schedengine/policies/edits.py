"""When gradients are edited: what a pruner would take is held back, and removed by another one later."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from schedengine.errors import EffectWarning, SchedEngineError
from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.choice import Choice
from schedengine.pruners.pruned import Decay


class EditPolicy(Policy):
    """Before each update in its windows, changes the gradients of what its pruner would remove.

    Which weights these are is chosen at its instants, by weights and gradients as they are then. Nothing waits for the
    device. Where gradients are not finite (mixed precision skips such an update) nothing is held back, which is told at
    the end of the epoch.

    Args:
        pruner: what it would remove, and what is done to it (``pruned: passive`` or ``decay``).
        own: this policy's instants.
        every: the instants of all policies of the pruner.
    """

    def __init__(self, pruner: BoundPruner, own: Occasions, every: Occasions) -> None:
        self.pruner = pruner
        self.own = own
        self.every = every
        self._choice = Choice(pruner)
        self._number = 0
        self._kept: list[Tensor] = []

    def before_parameter_optimization(self, context: Context) -> None:
        window = self.own.containing(context.progress)
        gradients = [context.table[name].grad for name in self.pruner.names]
        known = [one for one in gradients if one is not None]
        if window is None or not known:
            return
        if len(known) < len(gradients):
            name = next(name for name, one in zip(self.pruner.names, gradients) if one is None)
            raise SchedEngineError(
                f"pruner {self.pruner.name!r}, {context.progress.moment}: {name} got no gradient, and it is gradients "
                "that are edited; leave the parameter out, or make the loss depend on it"
            )
        weights = [context.masks.weight(name) for name in self.pruner.names]
        number = self.every.reached(context.progress)
        if self._kept and (self._kept[0].dtype, self._kept[0].device) != (known[0].dtype, known[0].device):
            # Of a checkpoint, or of a model that has moved since.
            self._kept = [torch.empty_like(by).copy_(one) for by, one in zip(known, self._kept, strict=True)]
        if number != self._number or not self._kept:
            self._kept = self._choose(weights, known, number, self.every.count(context.progress.steps_per_epoch))
            self._number = number
        self._edit_(context, weights, known, window.share(context.progress))

    @torch.no_grad()
    def _choose(self, weights: list[Tensor], gradients: list[Tensor], number: int, count: int) -> list[Tensor]:
        """1 where a weight stays, 0 where it would go; of the gradients' shapes and dtype."""
        shapes = {name: tuple(weight.shape) for name, weight in zip(self.pruner.names, weights, strict=True)}
        stays = self._choice.stays(weights, gradients, self._choice.removal(shapes, number, count))
        kept = self._kept or [torch.empty_like(gradient) for gradient in gradients]
        torch._foreach_copy_(kept, stays)
        return kept

    @torch.no_grad()
    def _edit_(self, context: Context, weights: Sequence[Tensor], gradients: Sequence[Tensor], share: float) -> None:
        how = self.pruner.spec.pruned
        if not isinstance(how, Decay):
            torch._foreach_mul_(list(gradients), self._kept)
            return
        own = self._optimizer_decay(context)
        strengths = [how.at(share, one) for one in own]
        # strength (1 - kept) - own: what goes is decayed by the strength, what stays by nothing.
        factors = torch._foreach_mul(self._kept, [-one for one in strengths])
        torch._foreach_add_(factors, [strength - one for strength, one in zip(strengths, own, strict=True)])
        torch._foreach_addcmul_(list(gradients), list(weights), factors)

    def _optimizer_decay(self, context: Context) -> list[float]:
        """What the optimizer adds to the gradient of each parameter, over the weight."""
        if context.optimizer is None:
            return [0.0] * len(self.pruner.names)
        decay = {
            id(parameter): float(group.get("weight_decay", 0.0))
            for group in context.optimizer.param_groups
            for parameter in group["params"]
        }
        return [decay.get(id(context.table[name]), 0.0) for name in self.pruner.names]

    def on_epoch_end(self, context: Context) -> None:
        if not self._choice.found_bad_():
            return
        where = f"pruner {self.pruner.name!r}, {context.progress.moment}"
        for name in self.pruner.names:
            if not bool(context.masks.weight(name).isfinite().all()):
                raise SchedEngineError(f"{where}: weights of {name} are not finite; training has diverged")
        warnings.warn(
            f"{where}: gradients of a step were not finite, so nothing was held back in it; mixed precision skips such "
            "updates; if this is not mixed precision, lower the learning rate",
            EffectWarning,
            stacklevel=2,
        )

    def shortfall(self) -> str | None:
        """What is to be said at the end of the run, where nothing was edited; else None."""
        if self._number:
            return None
        return (
            f"pruner {self.pruner.name!r} held nothing back: before_parameter_optimization was not called in its "
            "windows; call it between backward() and the optimizer's step"
        )

    def state_dict(self) -> dict[str, Any]:
        return {**self.pruner.state_dict(), "number": self._number, "kept": [one.bool() for one in self._kept]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pruner.load_state_dict(state)
        self._number = int(state["number"])
        self._kept = [one.clone() for one in state["kept"]]
