"""What a policy is: hooks with one signature, of which it implements those it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from schedengine.criteria.network import LossFunction
from schedengine.errors import SchedEngineError
from schedengine.export.forward import Inputs
from schedengine.export.thinned import Thinned
from schedengine.lr.retraining import Past
from schedengine.lr.trace import Recorder
from schedengine.masks import MaskStore
from schedengine.policies.snapshots import Snapshots
from schedengine.progress import Moment, Progress, known
from schedengine.pruners.cut import Cut
from schedengine.pruners.impact import joint
from schedengine.selection import ParameterTable

NO_DENSE = (
    "its rates come from those of a dense training, and none is known: nothing trains before the first cut, and no "
    "weights that carry a trace were given; put the dense phase first, or write how the weights were trained, as in "
    "'trace: {epochs: 160, lr: {class: linear, from: 0.1}}'"
)


@dataclass
class Context:
    """All that a hook may read and change.

    Args:
        model, optimizer: the loop's own. The optimizer may be None where no policy needs one.
        table: the model's parameters by normalised name.
        masks: every mask of the run.
        progress: where the run is.
        cuts: what has been cut so far, oldest first.
        metrics: of the evaluation, at ``on_epoch_end`` only.
        loss: the loss so far, at ``before_backward_pass`` only; a hook may replace it.
        losses: what was added to it, by name, likewise.
        trace: learning rates of the dense training.
        snapshots: weights of earlier moments.
        example_inputs: what the model is called with, a small batch; None where none was given.
        data: batches, (inputs, targets) or inputs alone, for statistics before the first step; likewise.
        loss_function: (outputs, targets) -> scalar, for criteria that look at its derivatives; likewise.
        thinnings: what was removed from the network so far, oldest first.
        shapes: what a fresh network must be given to have the sizes that this one has now; None before any thinning.
        rate_factor: how many times the usual learning rate the present replica of a phase has.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer | None
    table: ParameterTable
    masks: MaskStore
    progress: Progress = field(default_factory=lambda: Progress(0))
    cuts: list[Cut] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    loss: Tensor | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)
    trace: Recorder = field(default_factory=Recorder)
    snapshots: Snapshots = field(default_factory=lambda: Snapshots({}))
    example_inputs: Inputs | None = None
    data: Iterable[Any] | None = None
    loss_function: LossFunction | None = None
    thinnings: list[Thinned] = field(default_factory=list)
    shapes: dict[str, Any] | None = None
    rate_factor: float = 1.0

    def past(self, start: Moment) -> Past:
        """What a retraining that starts at a moment begins with.

        Raises:
            SchedEngineError: there was no dense training.
        """
        steps = known(self.progress.steps_per_epoch)
        dense = self.trace.trace(steps, start.step(steps))
        if dense is None:
            raise SchedEngineError(NO_DENSE)
        here = [cut.impact for cut in self.cuts if cut.at_step(steps) == start.step(steps)]
        if not here:
            return Past(dense)
        impact = joint(here)
        return Past(dense, impact.drop, impact.layer_drop)


class Policy:
    """Something that happens at certain times.

    A hook that a class does not override costs nothing: the scheduler calls only those that it does.
    """

    def on_epoch_begin(self, context: Context) -> None:
        """Before the first step of an epoch; instants on whole epochs fire here."""

    def on_minibatch_begin(self, context: Context) -> None:
        """Before a step's forward pass; instants on steps fire here."""

    def before_backward_pass(self, context: Context) -> None:
        """After the loss, once a micro-batch: may add to ``context.loss``."""

    def before_parameter_optimization(self, context: Context) -> None:
        """After the gradients (unscaled), before the update."""

    def on_minibatch_end(self, context: Context) -> None:
        """After the update; the masks hold again."""

    def on_epoch_end(self, context: Context) -> None:
        """After the epoch's evaluation; instants at the end of a phase fire here."""

    def state_dict(self) -> dict[str, Any]:
        """What cannot be told from the callbacks' arguments: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        del state
