"""When a penalty is added to the loss."""

from __future__ import annotations

from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions
from schedengine.regularizers.bound import BoundRegularizer


class RegularizationPolicy(Policy):
    """Adds a penalty to the loss in its windows.

    Args:
        regularizer: on this model.
        own: when. In an epoch-based window with a frequency above 1, only its active epochs count, as in Distiller.
    """

    def __init__(self, regularizer: BoundRegularizer, own: Occasions) -> None:
        self.regularizer = regularizer
        self.own = own

    def before_backward_pass(self, context: Context) -> None:
        window = self.own.containing(context.progress)
        if window is None or not window.is_active(context.progress):
            return
        assert context.loss is not None
        penalty = self.regularizer.penalty(context.table, window.share(context.progress))
        context.loss = context.loss + penalty.to(context.loss.device)
        context.losses[self.regularizer.name] = penalty.detach()
