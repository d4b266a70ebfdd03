"""When a pruner learns what goes, and when that is settled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions, Progress
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.learned import Learned, fold_


class LearningPolicy(Policy):
    """Puts a pruner's gates in place at the beginning of its first window, and folds them at the end of its last.

    Each window is a round: time begins anew in it, and thresholds begin as the gate says.

    Args:
        pruner: which parameters.
        own: the windows, one after another.
        learned: the thresholds; in a group of the optimizer of their own.
    """

    def __init__(self, pruner: BoundPruner, own: Occasions, learned: Learned) -> None:
        self.pruner = pruner
        self.own = own
        self.learned = learned
        self._rounds = 0
        """Windows that have begun."""

    def on_epoch_begin(self, context: Context) -> None:
        self._begin(context)

    def on_minibatch_begin(self, context: Context) -> None:
        self._begin(context)
        window = self.own.containing(context.progress)
        if window is not None:
            self.learned.share = window.share(context.progress)

    def on_epoch_end(self, context: Context) -> None:
        if self._rounds < len(self.own.windows) or not context.masks.is_open(self.pruner.name):
            return
        steps = context.progress.steps_per_epoch or 1
        if self.own.windows[-1].stop.step(steps) <= (context.progress.epoch + 1) * steps:
            at = (context.masks, context.table, context.optimizer, context.progress)
            context.cuts.append(fold_(self.pruner.name, self.pruner.names, *at))

    def _begin(self, context: Context) -> None:
        here = self._number(context.progress)
        if here <= self._rounds:
            return
        if not context.masks.is_open(self.pruner.name):
            context.masks.open_(self.pruner.name)
        elif self._rounds:
            self.learned.next_round_()
            if context.optimizer is not None:
                context.optimizer.state.pop(self.learned.values, None)
            context.masks.apply_()
        self._rounds = here

    def _number(self, progress: Progress) -> int:
        """Which window this is, from 1; 0 for none."""
        found = (number for number, window in enumerate(self.own.windows, start=1) if window.contains(progress))
        return next(found, 0)

    def state_dict(self) -> dict[str, Any]:
        return {**self.pruner.state_dict(), "rounds": self._rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pruner.load_state_dict(state)
        self._rounds = int(state["rounds"])
