"""Where a retraining starts from: which weights, and which time on the learning rate's clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schedengine import weights
from schedengine.policies.base import Context, Policy
from schedengine.policies.pruning import check_tiles
from schedengine.progress import Occasions, TimeField
from schedengine.pruners.bound import BoundPruner
from schedengine.registry import SPEC


@dataclass(frozen=True, config=SPEC)
class Rewind:
    """Go back, in weights, in time, or in both.

    With neither, retraining is fine-tuning; with the clock only, learning-rate rewinding; with both, weight rewinding,
    and from ``weights: 0, clock: 0`` the original lottery ticket. Masks stay and are applied again. The order of the
    data is not rewound.

    Args:
        weights: go back to the weights of this time of the run, batch-norm statistics included; a share is one of the
            dense phase; default: stay.
        clock: learning rates of the stretch that begins here start at this time of their curve, which is so much
            longer; a share is one of the dense phase; default: 0, its start.
        optimizer: the optimizer's state (momentum): mask (that of pruned weights), keep, reset; default: reset where
            weights go back, else keep.
        shuffle: a control: weights (each parameter's values in random order: of initial weights a fresh draw; where
            weights stay, of the kept ones only) or masks (each mask's groups in random order, so that only the share
            per layer is kept; where weights stay, those that were 0 begin from there).
        seed: of the random order.

    Reference: Renda, Frankle and Carbin, 2020, Comparing Rewinding and Fine-tuning, arXiv 2003.02389; Frankle and
        Carbin, 2019, The Lottery Ticket Hypothesis, arXiv 1803.03635; Frankle et al., 2020, arXiv 1912.05671 (late
        rewinding).
    """

    weights: TimeField | None = None
    clock: TimeField | None = None
    optimizer: Literal["mask", "keep", "reset"] | None = None
    shuffle: Literal["weights", "masks"] | None = None
    seed: Annotated[int, Field(strict=True)] = 0

    @model_validator(mode="after")
    def _check(self) -> Rewind:
        if self.weights is None and self.clock is None and self.optimizer is None and self.shuffle is None:
            raise ValueError("says nothing; give 'weights' (a time), 'clock' (a time), 'optimizer' or 'shuffle'")
        return self

    @property
    def snapshot(self) -> str | None:
        """The name of the snapshot that it needs."""
        return None if self.weights is None else str(self.weights.plain())

    @property
    def momentum(self) -> Literal["mask", "keep", "reset"]:
        """What becomes of optimizer state, with the default filled in."""
        return self.optimizer or ("keep" if self.weights is None else "reset")


class RewindPolicy(Policy):
    """Goes back at its instants.

    The clock needs nothing done: learning rates whose windows begin here know it (``LRPolicy``).

    Args:
        spec: what goes back.
        own: when.
        pruners: those whose masks may be shuffled.
    """

    def __init__(self, spec: Rewind, own: Occasions, pruners: Sequence[BoundPruner]) -> None:
        self.spec = spec
        self.own = own
        self.pruners = pruners

    @property
    def replaces_weights(self) -> bool:
        """Whether the network is another one afterwards."""
        return self.spec.weights is not None or self.spec.shuffle is not None

    def on_epoch_begin(self, context: Context) -> None:
        occasion = self.own.at(context.progress)
        if occasion:
            self._act(context, occasion.number)

    def on_minibatch_begin(self, context: Context) -> None:
        self.on_epoch_begin(context)

    def on_epoch_end(self, context: Context) -> None:
        occasion = self.own.at_end(context.progress)
        if occasion:
            self._act(context, occasion.number)

    def _act(self, context: Context, number: int) -> None:
        key = f"{self.spec.seed}/{number}"
        if self.spec.shuffle == "masks":
            for pruner in self.pruners:
                check_tiles(pruner, context)
                pruner.shuffle_(context.masks, key)
        snapshot = self._snapshot(context, key)
        if snapshot is not None:
            weights.restore_(snapshot, context.model, context.table, context.masks)
        context.masks.apply_()
        if context.optimizer is not None and self.spec.momentum != "keep":
            is_reset = self.spec.momentum == "reset"
            names = context.table.names if is_reset else context.masks.names
            context.masks.mask_optimizer_state_(context.optimizer, names, reset=is_reset)

    def _snapshot(self, context: Context, key: str) -> weights.Snapshot | None:
        """The values to give the model, shuffled where asked; None to leave it as it is."""
        names, masks = context.table.names, context.masks
        if self.spec.snapshot is None:
            if self.spec.shuffle != "weights":
                return None
            here = weights.take(context.model, context.table, masks)
            return weights.shuffled(here, {name: masks.mask(name) for name in names}, key)
        earlier = context.snapshots.of(self.spec.snapshot)
        return weights.shuffled(earlier, dict.fromkeys(names), key) if self.spec.shuffle == "weights" else earlier
