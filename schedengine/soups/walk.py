"""Where a run with replicas is: which of them trains, what all of them began with, and what came of those before.

A replica is a checkpoint in and a checkpoint out: it begins with its parent (weights, masks, optimizer, policies, as
cuts at the start of the phase left them), and ends as a candidate. The last one to end is followed by the average,
which is a function of the candidates alone, in their order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from schedengine import weights
from schedengine.criteria.passes import undisturbed
from schedengine.errors import CheckpointError, EffectError, EffectWarning, SchedEngineError
from schedengine.policies.base import Context, Policy
from schedengine.policies.lr import LRPolicy
from schedengine.policies.pruning import PruningPolicy
from schedengine.policies.recalibration import recalibrate_from_
from schedengine.progress import Occasions, Progress
from schedengine.soups.average import average, average_states
from schedengine.soups.fork import Fork
from schedengine.weights import norms_of
from schedengine.zoo.seeds import derive, reseed

Evaluate = Callable[[nn.Module], Mapping[str, float]]
"""The model, in evaluation mode -> its metrics on validation images, such as {"loss": 0.3, "top1": 91.2}."""
_FOREIGN = (
    "a scheduler of torch sets the rates of this optimizer; it goes on from replica to replica, and is not taken back "
    "with them. Write the rates in the schedule (lr_schedulers), or step it by hand for each"
)
Fits = Mapping[tuple[int, int], Sequence[tuple[LRPolicy, Occasions]]]
"""(start of a fork, epochs of a replica) -> the windows that learning rates have then."""


class Walk:
    """Goes through the forks of a run, one replica after another.

    Args:
        forks: in order of time.
        context: of the scheduler.
        policies: of the scheduler.
        resting: by the start of a fork, policies that wait for its end.
        fits: see ``Fits``.
        evaluate: for greedy soups.

    Attributes:
        replica: the one that trains, or is next, from 0; 0 outside forks.
        only: the one that this process trains, leaving the others to others; None for all.
        trained: epochs that were trained so far, those of every replica counted.
        candidates: what came of the replicas that are done.
        chosen: which of them the last average was made of; None before the first.
    """

    def __init__(
        self,
        forks: Sequence[Fork],
        context: Context,
        policies: Sequence[Policy],
        *,
        resting: Mapping[int, Sequence[Policy]],
        fits: Fits,
        evaluate: Evaluate | None,
    ) -> None:
        self.forks = tuple(forks)
        self.replica = 0
        self.only: int | None = None
        self.trained = 0
        self.candidates: list[dict[str, Any]] = []
        self.chosen: list[int] | None = None
        self._context = context
        self._policies = list(policies)
        self._resting = resting
        self._fits = fits
        self._usual = {policy: policy.own for found in fits.values() for policy, _ in found}
        self._evaluate = evaluate
        self._parent: dict[str, Any] | None = None
        self._seed = 0
        """That the generators were seeded with when the parent was taken."""

    # --- where it is -------------------------------------------------------------------------------------------------

    def at(self, epoch: int) -> Fork | None:
        """The fork that an epoch lies in."""
        return next((fork for fork in self.forks if fork.start <= epoch < fork.stop), None)

    def ending(self, epoch: int) -> Fork | None:
        """The fork, one of whose replicas ends with an epoch."""
        fork = self.at(epoch)
        return fork if fork is not None and epoch + 1 == fork.stop_of(self.replica) else None

    @property
    def has_parent(self) -> bool:
        """Whether a fork was entered and not left."""
        return self._parent is not None

    def is_over(self, fork: Fork) -> bool:
        """Whether all replicas of a fork are done."""
        return len(self.candidates) == fork.replicas

    def rests(self, policy: Policy, epoch: int) -> bool:
        """Whether a policy waits for the end of the fork that an epoch lies in."""
        fork = self.at(epoch)
        return fork is not None and policy in self._resting.get(fork.start, ())

    def check_given(self) -> None:
        """Miss what averages will need now, not epochs later.

        Raises:
            SchedEngineError: the optimizer, data or an evaluation was not given, or is none that averages can use.
        """
        for fork in self.forks:
            if self._context.optimizer is None:
                what = "begin with the state of the optimizer that they are copied with; pass the optimizer to bind()"
                raise SchedEngineError(f"phase {fork.phase!r}: its replicas {what}")
            if fork.weight_decays:
                _check_decays(self._context.optimizer)
            if fork.recipe.is_scored and self._evaluate is None:
                what = "is judged by an evaluation; pass evaluate=, a function of the model that returns its metrics"
                raise SchedEngineError(f"phase {fork.phase!r}: a greedy soup {what}, to bind()")
            if fork.batches != 0 and norms_of(self._context.model) and self._context.data is None:
                what = "whose batch-norm statistics are then estimated anew; pass data= to bind()"
                raise SchedEngineError(
                    f"phase {fork.phase!r} averages networks, {what}, or write 'recalibrate: none' in the phase"
                )
            if fork.batches != 0 and isinstance(self._context.data, Iterator):
                what = "is an iterator, which one pass uses up; give the loader itself, or a list of batches"
                raise SchedEngineError(f"phase {fork.phase!r} averages networks: data= of bind() {what}")

    def alone_(self, replica: int) -> None:
        """Let this process train one replica of the fork that was entered, and leave the others to others."""
        self.only = self.replica = replica
        self.candidates = []

    def gather_(self, fork: Fork, candidates: Sequence[dict[str, Any]]) -> None:
        """Put together what was trained alone, in the state that the last replica ended with.

        Args:
            candidates: of all replicas, in order.
        """
        self.only, self.candidates = None, list(candidates)
        self.trained += sum(fork.stop_of(number) - fork.start for number in range(fork.replicas - 1))

    # --- one replica -------------------------------------------------------------------------------------------------

    def branch(self, fork: Fork, state: Mapping[str, Any]) -> None:
        """Remember what all replicas begin with.

        Args:
            state: of masks, policies and what else the scheduler knows.
        """
        context = self._context
        if hasattr(getattr(context.optimizer, "step", None), "_wrapped_by_lr_sched"):  # torch's own mark
            warnings.warn(EffectWarning(f"phase {fork.phase!r}: {_FOREIGN}"), stacklevel=4)
        if fork.recipe.is_scored:  # what a wrong evaluation gives is told before replicas are trained for it
            fork.recipe.check(self._judged())
        self._seed = torch.initial_seed()
        self._parent = {
            "weights": _copied(weights.take(context.model, context.table, context.masks)),
            "optimizer": None if context.optimizer is None else _copied(context.optimizer.state_dict()),
            "scheduler": _copied(dict(state)),
            "start": fork.start,
            "changes": self._changes(),
        }

    def return_(self, restore: Callable[[Mapping[str, Any]], None]) -> None:
        """Go back to the parent.

        Args:
            restore: gives masks, policies and the rest their states.
        """
        assert self._parent is not None
        context = self._context
        restore(_copied(self._parent["scheduler"]))
        weights.restore_(self._parent_weights(), context.model, context.table, context.masks)
        if context.optimizer is not None:
            context.optimizer.load_state_dict(_copied(self._parent["optimizer"]))

    def _parent_weights(self) -> weights.Snapshot:
        assert self._parent is not None
        found: weights.Snapshot = self._parent["weights"]
        return found

    def set_out_(self, fork: Fork) -> None:
        """Let the present replica differ from the others: in its random numbers, and in what varies."""
        if fork.seeds or self.replica:
            reseed(derive(fork.seeds[self.replica], fork.start) if fork.seeds else derive(self._seed, self.replica))
        self.fit_()
        optimizer, factor = self._context.optimizer, fork.factor_of(self.replica)
        for group in () if optimizer is None else optimizer.param_groups:
            group["lr"] = group["lr"] * factor if not isinstance(group["lr"], Tensor) else group["lr"].mul_(factor)
        if fork.weight_decays and optimizer is not None:
            _decay_(optimizer, fork.weight_decays[self.replica])
        for policy in self._policies:  # in a curve that is as long as the replica
            if isinstance(policy, LRPolicy):
                policy.on_epoch_begin(self._context)

    def fit_(self) -> None:
        """Give learning rates the length and the factor of the present replica; outside forks, the usual ones."""
        for policy, own in self._usual.items():
            policy.own = own
        fork = self._inside()
        self._context.rate_factor = 1.0 if fork is None else fork.factor_of(self.replica)
        if fork is not None and fork.epochs:
            for policy, own in self._fits.get((fork.start, fork.epochs[self.replica]), ()):
                policy.own = own

    def _inside(self) -> Fork | None:
        """The fork that was entered."""
        if self._parent is None:
            return None
        start = self._parent["start"]
        return next((fork for fork in self.forks if fork.start == start), None)

    # --- the average -------------------------------------------------------------------------------------------------

    def collect(self, fork: Fork, metrics: Mapping[str, float]) -> None:
        """Note what became of the present replica; the next one is to follow, unless others train it.

        Raises:
            EffectError: its masks are not its parent's any more.
        """
        assert self._parent is not None
        context = self._context
        if fork.masks == "shared" and self._changes() != self._parent["changes"]:
            raise EffectError(
                f"replica {self.replica} of {fork.title!r} ends with other masks than it began with; the average would "
                "keep more weights: let nothing cut within the phase, or write 'masks: reprune' in it"
            )
        self.candidates.append(
            {
                "weights": _copied(weights.take(context.model, context.table, context.masks)),
                "optimizer": None if context.optimizer is None else _copied(context.optimizer.state_dict()),
                "masks": _copied(context.masks.state_dict()["masks"]) if fork.masks == "reprune" else {},
                "rates": context.trace.rates,
                "metrics": {name: float(value) for name, value in metrics.items()},
            }
        )
        self.replica += self.only is None

    def pour_(self, fork: Fork) -> None:
        """Give the model the average of the candidates, and the optimizer that of what theirs remember."""
        context = self._context
        steps = context.progress.steps_per_epoch
        context.progress = Progress(fork.stop - 1, None if steps is None else steps - 1, steps)
        if fork.masks == "reprune":
            self._unite_masks_()
        self.chosen = fork.recipe.choose(fork.replicas, lambda some: self._score(fork, some))
        self._mix_(self.chosen)
        for policy in self._again(fork):
            policy.again_(context)
        self._settle_optimizer_(fork)
        self._settle_trace_(fork)
        self._recalibrate_(fork)
        self.replica, self._parent, self.candidates = 0, None, []
        self.fit_()

    def _changes(self) -> int:
        """How often masks were set that outlast a step."""
        pruning = [policy.pruner for policy in self._policies if isinstance(policy, PruningPolicy)]
        return self._context.masks.changes(but=[one.name for one in pruning if one.spec.lasts == "step"])

    def _mix_(self, numbers: Sequence[int]) -> None:
        context, found = self._context, average([self.candidates[number]["weights"] for number in numbers])
        weights.restore_(found, context.model, context.table, context.masks)

    def _score(self, fork: Fork, numbers: Sequence[int]) -> Mapping[str, float]:
        self._mix_(numbers)
        self._recalibrate_(fork)
        return self._judged()

    def _judged(self) -> Mapping[str, float]:
        """What the evaluation says of the model, which is then in the mode that it was in."""
        assert self._evaluate is not None
        with undisturbed(self._context.model):
            return self._evaluate(self._context.model)

    def _recalibrate_(self, fork: Fork) -> None:
        if fork.batches != 0 and norms_of(self._context.model):
            recalibrate_from_(self._context.model, self._context.data, fork.batches)

    def _again(self, fork: Fork) -> Iterable[PruningPolicy]:
        """One policy of each pruner that has to choose anew: its replicas did, or waited."""
        pruning = [policy for policy in self._policies if isinstance(policy, PruningPolicy)]
        if fork.masks == "shared":
            pruning = [policy for policy in pruning if policy in self._resting.get(fork.start, ())]
        return {policy.pruner.name: policy for policy in reversed(pruning)}.values()

    def _unite_masks_(self) -> None:
        """Keep what any candidate keeps."""
        context, masks = self._context, self._context.masks
        for name, owners in self.candidates[-1]["masks"].items():
            for owner in owners:
                kept = [one["masks"][name][owner] for one in self.candidates]
                masks.renew_(owner, {name: torch.stack(kept).any(0).to(context.table[name].device)})

    def _settle_optimizer_(self, fork: Fork) -> None:
        context, optimizer = self._context, self._context.optimizer
        if optimizer is None or self._parent is None or self.chosen is None:
            return
        states = [self.candidates[number]["optimizer"] for number in self.chosen]
        found = average_states([*states[:-1], {**states[-1], "param_groups": self._groups(fork)}])
        optimizer.load_state_dict(found)
        if fork.optimizer == "reset":
            context.masks.mask_optimizer_state_(optimizer, context.table.names, reset=True)
        elif fork.masks == "reprune":
            context.masks.mask_optimizer_state_(optimizer, context.masks.names, reset=False)

    def _settle_trace_(self, fork: Fork) -> None:
        """Let the dense training be that of one replica: of the longest, one with the usual rates if any has them."""
        steps = self._context.progress.steps_per_epoch
        if steps is None:
            return
        number = max(range(fork.replicas), key=lambda one: (fork.stop_of(one), fork.factor_of(one) == 1))
        rates: Tensor = self.candidates[number]["rates"].clone()
        rates[fork.start * steps :] /= fork.factor_of(number)
        self._context.trace.take_(rates)

    def _groups(self, fork: Fork) -> list[dict[str, Any]]:
        """Of the last candidate, without what was varied."""
        assert self._parent is not None
        last, before = self.candidates[-1]["optimizer"]["param_groups"], self._parent["optimizer"]["param_groups"]
        factor = fork.factor_of(fork.replicas - 1)
        return [
            {**group, "lr": group["lr"] / factor, **{key: old[key] for key in ("weight_decay",) if key in old}}
            for group, old in zip(last, before, strict=True)
        ]

    # --- state -------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""
        return {
            "replica": self.replica,
            "trained": self.trained,
            "candidates": list(self.candidates),
            "parent": self._parent,
            "seed": self._seed,
            "chosen": self.chosen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.replica, self.trained = state["replica"], state["trained"]
        self.candidates, self._parent = list(state["candidates"]), state["parent"]
        self._seed, self.chosen = state["seed"], state["chosen"]
        if self._parent is not None:
            self._check_fits(self._inside())
        self.fit_()

    def _check_fits(self, fork: Fork | None) -> None:
        if fork is None or self.replica >= fork.replicas or len(self.candidates) > fork.replicas:
            has = "none has replicas" if fork is None else f"{fork.phase!r} has {fork.replicas} replicas"
            what = f"is within replica {self.replica} (from 0) of a phase, and in this schedule {has} there"
            raise CheckpointError(f"the state {what}; load it into the schedule that it was saved with")


def _check_decays(optimizer: torch.optim.Optimizer) -> None:
    if any("weight_decay" not in group for group in optimizer.param_groups):
        what = f"{type(optimizer).__name__} has no weight decay, which 'vary: weight_decay' is to change"
        raise SchedEngineError(f"{what}; vary something else, or take another optimizer")


def _decay_(optimizer: torch.optim.Optimizer, decay: float) -> None:
    """Give the first parameter group that decays a weight decay, the others in their ratio to it; if none does, all."""
    groups = optimizer.param_groups
    usual = next((group["weight_decay"] for group in groups if group["weight_decay"]), None)
    for group in groups:
        group["weight_decay"] = decay if usual is None else group["weight_decay"] * (decay / usual)


def _copied(tree: Any) -> Any:
    """The same, on the CPU and in memory of its own."""
    return tree_map(lambda one: one.detach().cpu().clone() if isinstance(one, Tensor) else one, tree)
