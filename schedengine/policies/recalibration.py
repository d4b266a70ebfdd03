"""When batch-norm statistics are estimated anew: after a cut, or after networks were averaged, those there are are of
another network."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator, WithJsonSchema
from pydantic.dataclasses import dataclass
from torch import nn

from schedengine.criteria.passes import bare, given, undisturbed
from schedengine.errors import SchedEngineError
from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions
from schedengine.registry import SPEC
from schedengine.weights import norms_of, recalibrate_

logger = logging.getLogger(__name__)
ALL = "all"
NO_DATA = "needs data: pass data=, batches of (inputs, targets) such as a DataLoader, to bind()"
NO_NORMS = "the network has no batch normalisation that keeps statistics, so there are none to estimate; remove this"


def _batches(value: object) -> object:
    if value is None or value == ALL:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"must be a number of batches, 1 or more, or {ALL}")
    return value


@dataclass(frozen=True, config=SPEC)
class Recalibrate:
    """Estimate batch-norm statistics anew, from the first batches of the data given to ``bind``.

    They are plain averages over batches, of the network as it is shown then (pruned weights are 0), with dropout off.
    Nothing is trained, and the run's random numbers stay as they were. With several processes, averages are over the
    batches of all of them.

    Args:
        batches: how many, of each process; all: one whole pass over the data.
    """

    shorthand: ClassVar[str] = "batches"
    batches: Annotated[
        int | None,
        BeforeValidator(_batches),
        WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"const": ALL}]}),
    ]

    def plain(self) -> Any:
        """The form that a file writes."""
        return ALL if self.batches is None else {"batches": self.batches}


class RecalibratePolicy(Policy):
    """Estimates batch-norm statistics anew at its instants.

    Args:
        spec: from how many batches.
        own: when.
        lacking: raised when the run begins and no data were given; a look at the schedule needs none.
    """

    def __init__(self, spec: Recalibrate, own: Occasions, lacking: SchedEngineError) -> None:
        self.spec = spec
        self.own = own
        self.lacking = lacking

    def on_epoch_begin(self, context: Context) -> None:
        if context.data is None:  # said before anything is trained, not when the instant has come
            raise self.lacking
        if self.own.at(context.progress):
            self._act(context)

    def on_minibatch_begin(self, context: Context) -> None:
        if self.own.at(context.progress):
            self._act(context)

    def on_epoch_end(self, context: Context) -> None:
        if self.own.at_end(context.progress):
            self._act(context)

    def _act(self, context: Context) -> None:
        if context.masks.is_pending:  # what waits for the next step is not in the weights yet
            context.masks.apply_()
        try:
            recalibrate_from_(context.model, context.data, self.spec.batches)
        except SchedEngineError as error:
            raise type(error)(f"recalibrate, {context.progress.moment}: {error}") from error


@torch.no_grad()
def recalibrate_from_(model: nn.Module, data: Iterable[Any] | None, batches: int | None) -> int:
    """Give a model batch-norm statistics of the first batches of some data; all else is left as it was.

    Passes run with dropout off and batch normalisation alone in training mode. Generators (torch's, Python's, NumPy's,
    those of a data loader) are put back, so that a second call sees the same batches, and training draws what it would
    have drawn. Under DDP every rank must call, and all end with the averages over the batches of all ranks.

    Args:
        model: wrapped or not; inputs go to its device.
        data: batches, (inputs, targets), ((input, input), targets) or inputs alone.
        batches: how many at most, of each rank; None for one whole pass.

    Returns:
        How many batches this rank has used; fewer than asked where the data have no more, which is logged.

    Raises:
        SchedEngineError: no data, no batch on any rank, a batch of a single example, or no batch normalisation.
    """
    if data is None:
        raise SchedEngineError(f"recalibration {NO_DATA}")
    inner = bare(model)
    norms = norms_of(inner)
    if not norms:
        raise SchedEngineError(NO_NORMS)
    place = next((one.device for one in (*inner.parameters(), *inner.buffers())), torch.device("cpu"))
    buffers = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    with undisturbed(inner, data):  # which puts all buffers back: the new statistics are taken out of it
        used = recalibrate_(inner, (given(batch, place) for batch in islice(data, batches)))
        found = [buffer.clone() for buffer in buffers]
    for buffer, value in zip(buffers, found, strict=True):
        buffer.copy_(value)
    if batches is not None and used < batches:
        logger.info("batch-norm statistics: the data gave %d batches of the %d that were asked for", used, batches)
    return used
