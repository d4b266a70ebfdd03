"""When what is zero is removed from the network."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import nn

from schedengine.criteria.passes import bare
from schedengine.errors import EffectError, EffectWarning
from schedengine.export.apply import apply_
from schedengine.export.forward import Inputs, private_copy
from schedengine.export.graph import Dimension, dimensions
from schedengine.export.pruned import manifest
from schedengine.export.thin import Thinning, plan, settle_
from schedengine.export.thinned import record
from schedengine.masks import Applied
from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions, Progress
from schedengine.registry import SPEC
from schedengine.selection import ParameterTable

logger = logging.getLogger(__name__)
OWNER = "thin"
"""Whose masks those of shifts are."""


@dataclass(frozen=True, config=SPEC)
class Thin:
    """Remove filters and channels that are zero; parameters, optimizer state and masks follow, and training goes on.

    Whether the network can be thinned, and still computes the same then, is tried before the run starts, and verified
    when it happens. From the pruners' cuts on, what a layer says of a filter that masks hold at 0 (its bias, the shift
    of the normalisation that follows) is masked too, so that nothing changes when it goes.

    Args:
        what: filters (that their layer makes zero), channels (that no layer reads), or all.
        input: the shape of one input, without the batch: [3, 32, 32]; default: the example_inputs given to bind().
        apply: at the instant, or with the first step after it, as Distiller does.
    """

    shorthand: ClassVar[str] = "what"
    what: Literal["filters", "channels", "all"] = "all"
    input: Annotated[tuple[Annotated[int, Field(gt=0, strict=True)], ...], Field(min_length=1)] | None = None
    apply: Literal["cut", "step"] = "cut"


class ThinPolicy(Policy):
    """Thins the network at its instants.

    Args:
        spec: what goes.
        own: when.
        inputs: an example of what the network is called with.
        follows: whether it masks the shifts of dead filters after cuts; one policy of a schedule does.
        revives: what was masked may come back (values are kept, or masks released), and shifts come back with it.
        passing: pruners whose masks last for a step: what only they hold at 0 is not followed, and never removed.
        lenient: nothing to remove is a warning (a version 1 file).
        reasons: what others know of why nothing is zero, asked when it comes to that.
    """

    def __init__(
        self,
        spec: Thin,
        own: Occasions,
        inputs: Inputs,
        *,
        follows: bool,
        revives: bool = False,
        passing: Collection[str] = (),
        lenient: bool,
        reasons: Sequence[Callable[[], str | None]] = (),
    ) -> None:
        self.spec = spec
        self.own = own
        self.inputs = inputs
        self.follows = follows
        self.passing = frozenset(passing)
        self._applied = Applied("hidden" if revives else "zero")
        self.lenient = lenient
        self.reasons = reasons
        self._followed = 0
        self._dimensions: tuple[int, list[Dimension]] | None = None

    def on_epoch_begin(self, context: Context) -> None:
        if not context.masks.is_pending:  # what waits for the next step (version 1) is not in the weights yet
            self._follow(context)
        if self.spec.apply == "cut" and self.own.at(context.progress):
            self._thin(context)

    def on_minibatch_begin(self, context: Context) -> None:
        progress = context.progress
        self._follow(context)
        if self.spec.apply == "cut":
            is_due = self.own.at(progress)
        else:
            begin = Progress(progress.epoch, None, progress.steps_per_epoch)
            is_due = self.own.at(begin) if progress.step == 0 else None
        if is_due:
            self._thin(context)

    def on_epoch_end(self, context: Context) -> None:
        self._follow(context)
        if self.own.at_end(context.progress):
            self._thin(context, is_end=True)

    @torch.no_grad()
    def _follow(self, context: Context) -> None:
        """After a cut, mask what layers still say of the filters that masks now hold at 0."""
        masks = context.masks
        changes = masks.changes(but={OWNER, *self.passing})
        if not self.follows or changes == self._followed:
            return
        if masks.is_pending:
            masks.apply_()
        masks.drop_(OWNER)
        found = self._plan(self._held(context), context)
        for one in found.slices:
            if one.settle and one.name in context.table:
                keep = torch.ones_like(context.table[one.name], dtype=torch.bool)
                keep[list(one.settle)] = False
                masks.set_(OWNER, one.name, keep, self._applied)
        settle_(bare(context.model), found)
        if masks.is_pending:
            masks.apply_()
        self._followed = changes

    def _held(self, context: Context) -> nn.Module:
        """A copy in which nothing is 0 but what masks hold at 0: weights that merely are 0 may grow, and their shifts
        with them."""
        copied = private_copy(bare(context.model))
        for name, parameter in ParameterTable(copied).tensors().items():
            mask = context.masks.mask(name, but=self.passing)
            parameter.copy_(torch.ones_like(parameter) if mask is None else mask)
        return copied

    def _plan(self, model: nn.Module, context: Context) -> Thinning:
        """What can go now; how layers hang together is traced anew only after something was removed."""
        times = len(context.thinnings)
        if self._dimensions is None or self._dimensions[0] != times:
            self._dimensions = (times, dimensions(model, self.inputs))
        return plan(model, self.inputs, what=self.spec.what, known=self._dimensions[1])

    def _thin(self, context: Context, *, is_end: bool = False) -> None:
        masks, progress = context.masks, context.progress
        if masks.is_pending:
            masks.apply_()
        for owner in self.passing:
            masks.drop_(owner)
        model = bare(context.model)
        found = self._plan(model, context)
        for one in found.refused:
            warnings.warn(
                f"thin, {progress.moment}: {one.channels} channels of {one.layers} stay: {one.reason}",
                EffectWarning,
                stacklevel=2,
            )
        if not found:
            known = [f"; {reason}" for ask in self.reasons if (reason := ask())]
            what = f"nothing to remove: no filter or channel ({self.spec.what}) is zero"
            self._miss(f"thin, {progress.moment}: {what}{''.join(known)}")
            return
        verified = apply_(model, found, self.inputs, optimizer=context.optimizer)
        masks.slice_(found.keep)
        context.snapshots.slice_(found.keep)
        context.shapes = manifest(model)
        context.thinnings.append(record(found, verified, progress.epoch, progress.step, is_end=is_end))
        logger.info("thinned: %d of %d parameters are left", *reversed(found.parameters))

    def _miss(self, message: str) -> None:
        if not self.lenient:
            raise EffectError(message)
        warnings.warn(message, EffectWarning, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        return {"followed": self._followed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._followed = state["followed"]
        self._dimensions = None
