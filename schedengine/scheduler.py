"""The scheduler: six callbacks in a training loop that stays the user's own."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from schedengine.criteria.network import LossFunction
from schedengine.criteria.passes import bare
from schedengine.errors import CheckpointError, EffectError, EffectWarning, SchedEngineError
from schedengine.export.forward import Inputs
from schedengine.export.pruned import reshape_
from schedengine.export.thinned import Thinned
from schedengine.lr.trace import Recorder, Trace
from schedengine.masks import MaskStore
from schedengine.policies.base import Context, Policy
from schedengine.policies.edits import EditPolicy
from schedengine.policies.pruning import PruningPolicy
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.policies.snapshots import Snapshots
from schedengine.progress import Progress
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.cut import Cut
from schedengine.selection import ParameterTable
from schedengine.soups.fork import Fork
from schedengine.soups.walk import Evaluate, Fits, Walk

logger = logging.getLogger(__name__)

STATE_VERSION = 6
_HOOKS = (
    "on_epoch_begin",
    "on_minibatch_begin",
    "before_backward_pass",
    "before_parameter_optimization",
    "on_minibatch_end",
    "on_epoch_end",
)


class PolicyLoss(NamedTuple):
    """The loss, and what was added to it.

    Args:
        overall_loss: to call ``backward()`` on.
        loss_components: name of the regularizer -> its share, detached.
    """

    overall_loss: Tensor
    loss_components: dict[str, Tensor]


class PruningScheduler:
    """Fires a schedule's policies from a plain training loop. Made by ``Schedule.bind``.

    The callbacks, their order and their arguments are Distiller's; ``optimizer`` is accepted where Distiller has it::

        schedule  = load_schedule("bimp.yaml")                 # Schedule: validated, needs no model
        scheduler = schedule.bind(model, optimizer)            # PruningScheduler: names resolved, errors carry the line
        for epoch in scheduler.epochs():                       # or range(n), for a schedule without replicas
            scheduler.on_epoch_begin(epoch)
            for step, (x, y) in enumerate(loader):
                scheduler.on_minibatch_begin(epoch, step, len(loader))
                loss = criterion(model(x), y)
                loss = scheduler.before_backward_pass(epoch, step, len(loader), loss)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                scheduler.before_parameter_optimization(epoch, step, len(loader))
                optimizer.step()
                scheduler.on_minibatch_end(epoch, step, len(loader))
            scheduler.on_epoch_end(epoch, metrics=evaluate(model))

    With gradient accumulation call ``before_backward_pass`` for each micro-batch and the others once per update, with
    the updates per epoch as the count. With a ``GradScaler`` call ``unscale_`` before
    ``before_parameter_optimization``; an update that it skips counts as a step, and masks hold all the same.

    In a phase with replicas ``epochs()`` gives the same epochs again for each, ``on_epoch_begin`` puts their parent's
    weights and optimizer state back and seeds the generators (torch's, Python's, NumPy's) anew, and ``on_epoch_end``
    of the last one leaves the average in the model. A sampler that is told the epoch takes ``trained_epochs`` instead.

    Args:
        model: the loop's model, wrapped or not.
        optimizer: the loop's; None where no policy needs one.
        policies: in the order of the file.
        pruners: those that the policies share.
        table: the model's parameters.
        total_epochs: length of the run; None if it is not known.
        steps_per_epoch: None until a callback tells.
        is_lenient: effects that miss are warnings (version 1).
        trace: where the learning rates of the dense phase are recorded.
        snapshots: the earlier weights that policies go back to.
        example_inputs, data, loss, evaluate: see ``Schedule.bind``.
        forks: where copies of the network train, to be averaged.
        resting: by the start of a fork, policies that wait for its end.
        fits: the windows that learning rates have in replicas of another length, see ``soups.walk``.

    Attributes:
        masks: every mask of the run.
        cuts: what was cut so far, oldest first.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        policies: Sequence[Policy],
        pruners: Mapping[str, BoundPruner],
        table: ParameterTable,
        masks: MaskStore,
        *,
        total_epochs: int | None = None,
        steps_per_epoch: int | None = None,
        is_lenient: bool = False,
        trace: Recorder | None = None,
        snapshots: Snapshots | None = None,
        example_inputs: Inputs | None = None,
        data: Iterable[Any] | None = None,
        loss: LossFunction | None = None,
        evaluate: Evaluate | None = None,
        forks: Sequence[Fork] = (),
        resting: Mapping[int, Sequence[Policy]] | None = None,
        fits: Fits | None = None,
    ) -> None:
        self.policies = list(policies)
        self.pruners = dict(pruners)
        self.masks = masks
        self.total_epochs = total_epochs
        self._steps_per_epoch = steps_per_epoch
        self._is_lenient = is_lenient
        self._next_epoch = 0
        self._begun: int | None = None
        self._has_cuts_on_steps = any(
            not window.is_epochs
            for policy in self.policies
            if isinstance(policy, PruningPolicy)
            for window in policy.own.windows
        )
        self._context = Context(
            model,
            optimizer,
            table,
            masks,
            trace=trace or Recorder(),
            snapshots=snapshots or Snapshots({}),
            example_inputs=example_inputs,
            data=data,
            loss_function=loss,
        )
        self.walk = Walk(forks, self._context, self.policies, resting=resting or {}, fits=fits or {}, evaluate=evaluate)
        self._given_out: int | None = None
        """The epoch that ``epochs()`` gave last, until it is over."""
        self._hooks = {
            hook: [policy for policy in self.policies if getattr(type(policy), hook) is not getattr(Policy, hook)]
            for hook in _HOOKS
        }

    @property
    def cuts(self) -> list[Cut]:
        return self._context.cuts

    @property
    def trace(self) -> Trace | None:
        """The learning rates of the dense training so far: that before this run, and each step before the first cut."""
        return None if self._steps_per_epoch is None else self._context.trace.trace(self._steps_per_epoch)

    @property
    def dense_steps(self) -> int:
        """Steps of this run in ``trace``."""
        return self._context.trace.steps

    @property
    def thinnings(self) -> list[Thinned]:
        """What was removed from the network so far, oldest first."""
        return self._context.thinnings

    @property
    def shapes(self) -> dict[str, Any] | None:
        """What ``export.pruned.reshape_`` gives a fresh network the present sizes by; None if it was not thinned."""
        return self._context.shapes

    @property
    def trained_epochs(self) -> int:
        """Epochs that were trained so far: those of every replica count, so that no two have the same number."""
        return self.walk.trained

    @property
    def all_epochs(self) -> int:
        """What ``trained_epochs`` is at the end of the run.

        Raises:
            SchedEngineError: the length of the run is not known.
        """
        if self.total_epochs is None:
            raise SchedEngineError("the schedule has no phases, so its length is not known; pass epochs=n to bind()")
        forks = self.walk.forks
        own = self.total_epochs - sum(fork.stop - fork.start for fork in forks)
        return own + sum(fork.stop_of(number) - fork.start for fork in forks for number in range(fork.replicas))

    @property
    def replica(self) -> int | None:
        """Which copy of the network trains, from 0; None outside phases with replicas."""
        return self.walk.replica if self.walk.at(self._next_epoch) else None

    def epochs(self) -> Iterator[int]:
        """The epochs of the run that are still to come: all of them, or those after the one that was loaded.

        Epochs of a phase with replicas come once for each.

        Raises:
            SchedEngineError: the length of the run is not known; or, with replicas, an epoch was not ended.
        """
        if self.total_epochs is None:
            raise SchedEngineError(
                "the schedule has no phases, so its length is not known; pass epochs=n to bind(), or loop over range(n)"
            )
        if not self.walk.forks:
            yield from range(self._next_epoch, self.total_epochs)
        while self.walk.forks and self._next_epoch < self.total_epochs:
            done = len(self.walk.candidates)
            self._given_out = epoch = self._next_epoch
            yield epoch
            if self._given_out is not None:
                raise SchedEngineError(
                    f"epoch {epoch} ended without on_epoch_end({epoch}), which replicas of a phase go on by; call it"
                )
            if self.walk.only is not None and len(self.walk.candidates) > done:
                return

    # --- the callbacks -----------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, optimizer: torch.optim.Optimizer | None = None, **kwargs: Any) -> None:
        """Before an epoch: cuts on whole epochs, learning rates."""
        del kwargs
        self._check_walk(epoch)
        self._begun = epoch
        if optimizer is not None:
            self._context.optimizer = optimizer
        fork = self.walk.at(epoch)
        progress = Progress(epoch, None, self._steps_per_epoch)
        is_fork = fork is not None and epoch == fork.start
        if is_fork and self.walk.has_parent:
            self.walk.return_(self._restore)
            self._context.progress = progress
        else:
            self.masks.refresh_()
            self._fire("on_epoch_begin", self._snapshot(progress), optimizer)
        if fork is not None and is_fork:
            if not self.walk.has_parent:
                self.walk.branch(fork, self._own_state())
            self.walk.set_out_(fork)

    def on_minibatch_begin(
        self, epoch: int, minibatch_id: int, minibatches_per_epoch: int, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Before a forward pass: cuts on steps, learning rates; masks that were computed but not applied take
        effect."""
        if self._begun != epoch:
            raise SchedEngineError(
                f"on_minibatch_begin of epoch {epoch} without on_epoch_begin({epoch}), where cuts happen; call it first"
            )
        progress = self._snapshot(self._at(epoch, minibatch_id, minibatches_per_epoch))
        self._fire("on_minibatch_begin", progress, optimizer)
        if self.masks.is_pending:
            self.masks.apply_()
        self.masks.before_forward_()

    @overload
    def before_backward_pass(
        self,
        epoch: int,
        minibatch_id: int,
        minibatches_per_epoch: int,
        loss: Tensor,
        optimizer: torch.optim.Optimizer | None = None,
        return_loss_components: Literal[False] = False,
    ) -> Tensor: ...

    @overload
    def before_backward_pass(
        self,
        epoch: int,
        minibatch_id: int,
        minibatches_per_epoch: int,
        loss: Tensor,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        return_loss_components: Literal[True],
    ) -> PolicyLoss: ...

    def before_backward_pass(
        self,
        epoch: int,
        minibatch_id: int,
        minibatches_per_epoch: int,
        loss: Tensor,
        optimizer: torch.optim.Optimizer | None = None,
        return_loss_components: bool = False,
    ) -> Tensor | PolicyLoss:
        """After the loss, once a micro-batch: adds the penalties.

        Returns:
            The loss to call ``backward()`` on; with ``return_loss_components`` a ``PolicyLoss``.
        """
        context = self._context
        context.loss, context.losses = loss, {}
        self._fire("before_backward_pass", self._at(epoch, minibatch_id, minibatches_per_epoch), optimizer)
        total, context.loss = context.loss, None
        return PolicyLoss(total, context.losses) if return_loss_components else total

    def before_parameter_optimization(
        self, epoch: int, minibatch_id: int, minibatches_per_epoch: int, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """After the (unscaled) gradients, before the update: gradient edits; kept values come back for the update."""
        progress = self._at(epoch, minibatch_id, minibatches_per_epoch)
        self._fire("before_parameter_optimization", progress, optimizer)
        self._record(progress)
        self.masks.before_update_()

    def on_minibatch_end(
        self, epoch: int, minibatch_id: int, minibatches_per_epoch: int, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """After the update: masks hold again."""
        self.masks.after_update_()
        progress = self._at(epoch, minibatch_id, minibatches_per_epoch)
        self._fire("on_minibatch_end", progress, optimizer)
        if not self._context.trace.has(progress.moment.steps):  # a loop that left the callback before the update out
            self._record(progress)

    def on_epoch_end(
        self,
        epoch: int,
        optimizer: torch.optim.Optimizer | None = None,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """After the epoch's evaluation: what waits for metrics, cuts at the end of a phase; masks are verified.

        Args:
            metrics: of the evaluation: {"loss", "top1", "top5"}; Distiller's {"min", "max"} too.

        Raises:
            EffectError: a mask did not hold, or the last target was missed.
        """
        del kwargs
        fork, self._given_out = self.walk.ending(epoch), None
        self.walk.trained += 1
        last = None if fork is None else Progress(fork.stop - 1, None, self._steps_per_epoch)
        self._context.metrics = metrics or {}
        self._fire("on_epoch_end", Progress(epoch, None, self._steps_per_epoch), optimizer, but=_ending(last))
        self._context.trace.read_()
        self._verify_masks(epoch)
        self._next_epoch = epoch + 1
        if fork is not None and last is not None:
            self.walk.collect(fork, self._context.metrics)
            self._next_epoch = fork.start
        if fork is not None and self.walk.is_over(fork) and self.walk.only is None:
            self.walk.pour_(fork)
            self.end_phase(self._context.metrics)
        else:
            self._finish_epoch()

    def _finish_epoch(self) -> None:
        self._context.metrics = {}
        if self._next_epoch == self.total_epochs:
            self._verify_targets()

    def pour_(self, candidates: Sequence[dict[str, Any]]) -> None:
        """Put the average of replicas into the model that were each trained alone; then measure it, and ``end_phase``.

        Call it where the state of the last one was loaded. A loop over ``epochs()`` has no need of it.

        Args:
            candidates: ``walk.candidates`` of each, in order.
        """
        fork = self._fork
        self.walk.gather_(fork, candidates)
        self.walk.pour_(fork)

    def end_phase(self, metrics: Mapping[str, float] | None = None) -> None:
        """Let happen what belongs to the end of a phase with replicas, to their average; ``epochs()`` goes on after it.

        Args:
            metrics: of the average; see ``on_epoch_end``.
        """
        fork, self._given_out = self._fork, None
        last = Progress(fork.stop - 1, None, self._steps_per_epoch)
        ending = _ending(last)
        self._context.metrics = metrics or {}
        self._fire("on_epoch_end", last, None, but=lambda policy: not ending(policy))
        self._verify_masks(last.epoch)
        self._next_epoch = fork.stop
        self._finish_epoch()

    @property
    def _fork(self) -> Fork:
        """That the next epoch lies in."""
        fork = self.walk.at(self._next_epoch)
        assert fork is not None
        return fork

    def _record(self, progress: Progress) -> None:
        """Note the rate of a step of the dense phase."""
        if not self.cuts and not self.masks.has_open and self._context.optimizer is not None:
            self._context.trace.record(progress.moment.steps, self._context.optimizer)

    def _snapshot(self, progress: Progress) -> Progress:
        context = self._context
        context.snapshots.take_due(progress, context.model, context.table, context.masks)
        return progress

    def _at(self, epoch: int, step: int, steps_per_epoch: int) -> Progress:
        if not 0 <= step < steps_per_epoch:
            raise SchedEngineError(
                f"step {step} of {steps_per_epoch} in epoch {epoch}: steps count from 0 to steps_per_epoch - 1; "
                "with gradient accumulation both count updates, not micro-batches"
            )
        if self._steps_per_epoch not in (None, steps_per_epoch) and self._has_cuts_on_steps:
            raise SchedEngineError(
                f"epoch {epoch} has {steps_per_epoch} steps, and {self._steps_per_epoch} were said or seen before; "
                "cuts at steps need epochs of one length: use drop_last, or write times in epochs"
            )
        self._steps_per_epoch = steps_per_epoch
        return Progress(epoch, step, steps_per_epoch)

    def _check_walk(self, epoch: int) -> None:
        """Whether this epoch is the one that is to come, where replicas make that another than the loop may think."""
        if not self.walk.forks:
            return
        self.walk.check_given()
        if self._given_out != epoch:
            phases = ", ".join(dict.fromkeys(repr(fork.phase) for fork in self.walk.forks))
            raise SchedEngineError(
                f"the replicas of {phases} go through the same epochs one after another; loop over scheduler.epochs(), "
                f"not over a range: it did not give epoch {epoch}"
            )

    def _fire(
        self,
        hook: str,
        progress: Progress,
        optimizer: torch.optim.Optimizer | None,
        but: Callable[[Policy], bool] | None = None,
    ) -> None:
        """Let policies act: those that have this hook, do not wait for the end of a fork, and are not left out."""
        context = self._context
        context.progress = progress
        if optimizer is not None:
            context.optimizer = optimizer
        for policy in self._hooks[hook]:
            if but is not None and but(policy):
                continue
            if self.walk.has_parent and self.walk.rests(policy, progress.epoch):
                continue
            getattr(policy, hook)(context)

    # --- effects -----------------------------------------------------------------------------------------------------

    def _verify_masks(self, epoch: int) -> None:
        for name, what in self.masks.violations().items():
            self._miss(f"epoch {epoch}: {name}: {what}")

    def _verify_targets(self) -> None:
        """At the end of the run: did every pruner make its cuts, and are as many weights 0 as its last one removed?"""
        for name, pruner in self.pruners.items():
            if pruner.spec.is_edit:  # which removes nothing
                continue
            cuts = [cut for cut in self.cuts if cut.pruner == name]
            lenient = self._is_lenient or pruner.lenient
            if not cuts:
                self._miss(
                    f"pruner {name!r} never cut; its windows lie outside the run of {self.total_epochs} epochs", lenient
                )
            elif cuts[-1].number < cuts[-1].count:
                self._miss(f"pruner {name!r} made {cuts[-1].number} of its {cuts[-1].count} cuts", lenient)
            elif cuts[-1].removed == 0 and (cuts[-1].asked or cuts[-1].target is None):
                steer = f"; {pruner.spec.treatment} is learned: `schedengine tune` finds what leads to a sparsity"
                self._miss(f"pruner {name!r} removed nothing{steer * pruner.spec.is_learned}", lenient)
            elif not pruner.is_released and pruner.spec.lasts == "run":
                table = self._context.table
                kept = sum(int(table[one].detach().count_nonzero()) for one in pruner.names)
                zeros = cuts[-1].weights - kept
                if zeros < cuts[-1].removed:
                    what = f"removed {cuts[-1].removed:,} weights, and {zeros:,} are 0 at the end of the run"
                    advice = "; keep_mask: true makes them so" if pruner.spec.pruned.mode == "forward" else ""
                    self._miss(f"pruner {name!r} {what}{advice}", lenient)

        telling = (RegularizationPolicy, EditPolicy)
        shortfalls = [one.shortfall() for one in self.policies if isinstance(one, telling)]
        for message in dict.fromkeys(filter(None, shortfalls)):
            self._miss(message)

    def _miss(self, message: str, lenient: bool | None = None) -> None:
        if self._is_lenient if lenient is None else lenient:
            warnings.warn(message, EffectWarning, stacklevel=4)
        else:
            raise EffectError(message)

    # --- elsewhere ---------------------------------------------------------------------------------------------------

    def apply_masks_(self, model: nn.Module) -> None:
        """Apply the masks to a copy of the model, such as an EMA."""
        self.masks.apply_to_(model)

    def take_over_(self, other: PruningScheduler | None, finished_epoch: int | None) -> None:
        """Begin where a run under another schedule ended.

        Args:
            other: its masks are applied from now on, and its cuts count as made; None for none.
            finished_epoch: the last epoch that was finished; None if this is a new run.
        """
        if other is not None:
            self.masks.load_state_dict(other.masks.state_dict())
            self.masks.apply_()
            self.cuts[:] = other.cuts
            self.thinnings[:] = other.thinnings
            self._context.shapes = other.shapes
        if finished_epoch is not None:
            self._next_epoch = finished_epoch + 1

    def state_dict(self) -> dict[str, Any]:
        """All that the run cannot tell from the callbacks' arguments: tensors and plain values, ``weights_only`` safe.

        Model, optimizer, scaler and loader belong to the loop, which saves them beside it.
        """
        return {"version": STATE_VERSION, **self._own_state(), "walk": self.walk.state_dict()}

    def _own_state(self) -> dict[str, Any]:
        """All but where the run is among replicas."""
        return {
            "next_epoch": self._next_epoch,
            "begun": self._begun,
            "steps_per_epoch": self._steps_per_epoch,
            "masks": self.masks.state_dict(),
            "pruners": list(self.pruners),
            "policies": [policy.state_dict() for policy in self.policies],
            "cuts": [cut.plain() for cut in self.cuts],
            "trace": self._context.trace.state_dict(),
            "snapshots": self._context.snapshots.state_dict(),
            "thinnings": [one.plain() for one in self.thinnings],
            "shapes": json.dumps(self._context.shapes),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave, of the same schedule on the same model; ``epochs()`` goes on from there.

        A network that was thinned gets its sizes here, so this comes before the states of model and optimizer.

        Raises:
            CheckpointError: the state is of another version, schedule or model.
        """
        missing = self.state_dict().keys() - state.keys()
        if state.get("version") == STATE_VERSION and missing:
            raise CheckpointError(f"the scheduler state lacks {', '.join(sorted(missing))}; it is damaged, or not one")
        if state.get("version") != STATE_VERSION:
            raise CheckpointError(
                f"the scheduler state has version {state.get('version')!r}; this release reads {STATE_VERSION}"
            )
        if len(state["policies"]) != len(self.policies):
            raise CheckpointError(
                f"the checkpoint is of a schedule with {len(state['policies'])} policies, "
                f"this one has {len(self.policies)}"
            )
        if state["pruners"] != list(self.pruners):
            raise CheckpointError(
                f"the checkpoint is of a schedule with the pruners {', '.join(state['pruners']) or 'none'}, "
                f"this one has {', '.join(self.pruners) or 'none'}"
            )
        for number, (policy, remembered) in enumerate(zip(self.policies, state["policies"], strict=True)):
            if remembered.keys() != policy.state_dict().keys():
                raise CheckpointError(
                    f"the checkpoint is of another schedule: its policies[{number}] is of another kind"
                )
        self._restore(state)
        self.walk.load_state_dict(state["walk"])

    def _restore(self, state: Mapping[str, Any]) -> None:
        shapes = json.loads(state["shapes"])
        if shapes is not None:
            reshape_(bare(self._context.model), shapes)
        self._context.shapes = shapes
        self._context.thinnings[:] = [Thinned.from_plain(one) for one in state["thinnings"]]
        for policy, remembered in zip(self.policies, state["policies"], strict=True):
            policy.load_state_dict(remembered)
        self.masks.load_state_dict(state["masks"])
        self._context.cuts[:] = [Cut.from_plain(cut) for cut in state["cuts"]]
        self._context.trace.load_state_dict(state["trace"])
        self._context.snapshots.load_state_dict(state["snapshots"], self._context.table)
        self._next_epoch = state["next_epoch"]
        self._begun = state["begun"]
        self._steps_per_epoch = state["steps_per_epoch"]


def _ending(last: Progress | None) -> Callable[[Policy], bool]:
    """Which policies act at the end of an epoch: at the end of a fork they are to find the average."""

    def ends(policy: Policy) -> bool:
        own = getattr(policy, "own", None)
        return last is not None and own is not None and own.at_end(last) is not None

    return ends
