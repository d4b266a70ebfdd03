"""When a pruner's masks are taken away: dense-sparse-dense training."""

from __future__ import annotations

from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions
from schedengine.pruners.bound import BoundPruner


class ReleasePolicy(Policy):
    """Takes a pruner's masks away at its instants: its weights, 0 until then, train again.

    Args:
        pruner: whose masks.
        own: when.

    Reference: Han et al., 2017, DSD: Dense-Sparse-Dense Training for Deep Neural Networks, arXiv 1607.04381.
    """

    def __init__(self, pruner: BoundPruner, own: Occasions) -> None:
        self.pruner = pruner
        self.own = own

    def on_epoch_begin(self, context: Context) -> None:
        if self.own.at(context.progress):
            self.pruner.release_(context.masks)

    def on_minibatch_begin(self, context: Context) -> None:
        self.on_epoch_begin(context)

    def on_epoch_end(self, context: Context) -> None:
        if self.own.at_end(context.progress):
            self.pruner.release_(context.masks)
