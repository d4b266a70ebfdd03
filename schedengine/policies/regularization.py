"""When a penalty is added to the loss, and what it made small is set to 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.errors import SchedEngineError
from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions, Progress, Window, known
from schedengine.regularizers.bound import BoundRegularizer


class RegularizationPolicy(Policy):
    """Adds a penalty to the loss in its windows; sets groups to 0 after each update of theirs, if there is a threshold.

    Args:
        regularizer: on this model.
        own: when. In an epoch-based window with a frequency above 1, only its active epochs count, as in Distiller.
        keep_mask: what is 0 after the last update in which a window acts stays 0. That is before the evaluation of that
            epoch, which so sees what is kept.

    Raises:
        SchedEngineError: ``keep_mask`` without a threshold.
    """

    def __init__(self, regularizer: BoundRegularizer, own: Occasions, *, keep_mask: bool = False) -> None:
        if keep_mask and regularizer.spec.threshold is None:
            raise SchedEngineError(
                f"keep_mask keeps at 0 what a threshold set to 0, and regularizer {regularizer.name!r} has none; add "
                "'threshold: mean_abs' to it, or remove keep_mask"
            )
        self.regularizer = regularizer
        self.own = own
        self.keep_mask = keep_mask

    def before_backward_pass(self, context: Context) -> None:
        window = self._acting(context.progress)
        if window is None:
            return
        assert context.loss is not None
        penalty = self.regularizer.penalty(context.table, window.share(context.progress))
        context.loss = context.loss + penalty.to(context.loss.device)
        context.losses[self.regularizer.name] = penalty.detach()

    def on_minibatch_end(self, context: Context) -> None:
        if self.regularizer.spec.threshold is None:
            return
        progress = context.progress
        window = self._acting(progress)
        if window is None:
            return
        share = window.share(progress)
        stays = self.regularizer.threshold_(context.table, context.masks, share)
        if self.keep_mask and progress.moment.steps == last_step(window, known(progress.steps_per_epoch)):
            self.regularizer.keep_(context.table, context.masks, context.optimizer, stays, share)

    def _acting(self, progress: Progress) -> Window | None:
        window = self.own.containing(progress)
        return window if window is not None and window.is_active(progress) else None

    def shortfall(self) -> str | None:
        """What is to be said at the end of the run, where masks were to stay and nothing went; else None."""
        return self.regularizer.shortfall() if self.keep_mask else None

    def state_dict(self) -> dict[str, Any]:
        return self.regularizer.state_dict() if self.keep_mask else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.keep_mask:
            self.regularizer.load_state_dict(state)


def last_step(window: Window, steps_per_epoch: int) -> int:
    """The last step of the run in which a window acts, counted from 0: in the last of its active epochs."""
    stop = window.stop.step(steps_per_epoch)
    if window.is_epochs and window.every is not None:
        last = int(window.start.epochs) + (window.count(steps_per_epoch) - 1) * int(window.every.epochs)
        stop = min(stop, (last + 1) * steps_per_epoch)
    return stop - 1
