"""When a pruner cuts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.policies.base import Context, Policy
from schedengine.progress import Moment, Occasion, Occasions, Progress, Window, known
from schedengine.pruners.bound import BoundPruner

MOST_CUTS = 10_000
"""How many cuts are remembered: with a cut at every step there is no end to them."""


class PruningPolicy(Policy):
    """Cuts at its own instants; their numbers are counted over all policies of the pruner.

    Args:
        pruner: shared by all its policies.
        own: this policy's instants.
        every: the instants of all policies of the pruner.
        targets: the instants at which the target moves, where those are fewer (a ramp's ``every``).
        refresh: in an epoch that begins with a cut, cut again (same number, same target) at every step of the run
            that this divides.
        keep_mask: when a window ends, its masks hold for good, whatever the pruner does with pruned weights.
    """

    def __init__(
        self,
        pruner: BoundPruner,
        own: Occasions,
        every: Occasions,
        *,
        targets: Occasions | None = None,
        refresh: Moment | None = None,
        keep_mask: bool = False,
    ) -> None:
        self.pruner = pruner
        self.own = own
        self.every = every
        self.targets = targets
        self.refresh = refresh
        self.keep_mask = keep_mask

    def on_epoch_begin(self, context: Context) -> None:
        if self.own.at(context.progress):
            self._cut(context, context.progress)

    def on_minibatch_begin(self, context: Context) -> None:
        progress = context.progress
        if self.own.at(progress):
            self._cut(context, progress)
        elif self.refresh is not None and self._refreshes(progress):
            self._cut(context, Progress(progress.epoch, None, progress.steps_per_epoch))

    def on_epoch_end(self, context: Context) -> None:
        progress = context.progress
        if self.own.at_end(progress):
            self._cut(context, progress, is_end=True)
            context.masks.apply_()  # whatever the pruner says: there may be no next step to wait for
        if self.keep_mask and any(self._ends(window, progress) for window in self.own.windows):
            self.pruner.keep_(context.masks)

    @staticmethod
    def _ends(window: Window, progress: Progress) -> bool:
        """Whether a window ends in or with this epoch; an instant lasts for its epoch."""
        steps = progress.steps_per_epoch or 1  # unknown before the first step, which nothing in steps comes before
        if window.every is None and not window.is_end:
            return window.start.step(steps) // steps == progress.epoch
        return -(-window.stop.step(steps) // steps) == progress.epoch + 1

    def _refreshes(self, progress: Progress) -> bool:
        assert self.refresh is not None
        if progress.step == 0:  # the beginning of the epoch has just cut
            return False
        stride = max(1, self.refresh.step(known(progress.steps_per_epoch)))
        begin = Progress(progress.epoch, None, progress.steps_per_epoch)
        return progress.moment.steps % stride == 0 and self.own.at(begin) is not None

    def _cut(self, context: Context, at: Progress, *, is_end: bool = False) -> None:
        occasion = self.every.at_end(at) if is_end else self.every.at(at)
        assert occasion is not None
        slow = self.target_number(occasion, at)
        cut = self.pruner.cut_(
            context.masks,
            context.table,
            context.optimizer,
            context.progress,
            number=occasion.number,
            count=occasion.count,
            target_number=slow[0],
            target_count=slow[1],
            is_end=is_end,
        )
        if context.cuts and (context.cuts[-1].pruner, context.cuts[-1].number) == (cut.pruner, cut.number):
            context.cuts.pop()  # a refresh stands for the cut that it repeats
        context.cuts.append(cut)
        del context.cuts[:-MOST_CUTS]

    def target_number(self, occasion: Occasion, at: Progress) -> tuple[int, int]:
        """Which move of the target an instant is at, of how many: that of the cut, unless the ramp moves more slowly.

        The last cut is at the last move, even where the target would have moved again after it.
        """
        if self.targets is None:
            return occasion.number, occasion.count
        moves = self.targets.count(at.steps_per_epoch)
        return moves if occasion.number == occasion.count else self.targets.reached(at), moves

    def state_dict(self) -> dict[str, Any]:
        return self.pruner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pruner.load_state_dict(state)
