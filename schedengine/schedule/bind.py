"""A schedule on a model: names resolved, windows placed, the scheduler made. Errors carry the schedule's lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import torch
from torch import nn

from schedengine.criteria.network import LossFunction
from schedengine.criteria.passes import bare
from schedengine.errors import Problem, SchedEngineError, ScheduleError
from schedengine.export.forward import Inputs
from schedengine.granularity import Granularity, oriented
from schedengine.lr.plateau import Plateau
from schedengine.lr.trace import Recorder, Trace
from schedengine.masks import MaskStore
from schedengine.policies.base import Policy as BoundPolicy
from schedengine.policies.collapse import CollapsePolicy
from schedengine.policies.edits import EditPolicy
from schedengine.policies.learning import LearningPolicy
from schedengine.policies.lr import LRPolicy, PlateauPolicy, groups_of
from schedengine.policies.pruning import PruningPolicy
from schedengine.policies.recalibration import NO_DATA, NO_NORMS, RecalibratePolicy
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.policies.release import ReleasePolicy
from schedengine.policies.rewind import RewindPolicy
from schedengine.policies.snapshots import Snapshots
from schedengine.policies.thinning import ThinPolicy
from schedengine.progress import Moment, Occasions, Progress, Time, Window
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.choice import Reselection
from schedengine.pruners.learned import Learned
from schedengine.pruners.pruner import Pruner
from schedengine.regularizers.bound import BoundRegularizer
from schedengine.regularizers.regularizer import Regularizer
from schedengine.schedule.document import REFERENCES, Earlier, Policy, Schedule
from schedengine.schedule.forking import Forking
from schedengine.schedule.plan import Timeline, default_every
from schedengine.schedule.retraining import Course
from schedengine.schedule.sharing import Sharing
from schedengine.schedule.steady import thresholds, unsteady
from schedengine.schedule.tracing import Tracing
from schedengine.scheduler import PruningScheduler
from schedengine.selection import ParameterTable, lookup
from schedengine.soups.walk import Evaluate
from schedengine.weights import norms_of

EPOCH = Time(Fraction(1))
T = TypeVar("T")


def bind(
    schedule: Schedule,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    trace: Trace | None = None,
    example_inputs: Inputs | None = None,
    data: Iterable[Any] | None = None,
    loss: LossFunction | None = None,
    evaluate: Evaluate | None = None,
) -> PruningScheduler:
    """Put a schedule on a model.

    Args:
        schedule: from ``load_schedule``.
        model: wrapped (DataParallel, DistributedDataParallel, torch.compile) or not.
        optimizer: needed by learning-rate schedules and replicas; without it, optimizer state is left alone at cuts.
        epochs: length of the run, for a schedule without phases.
        steps_per_epoch: only needed where a time in steps must be placed before the first step is seen.
        trace: learning rates that the weights were trained with before this run, instead of the file's ``trace``.
        example_inputs: a small batch of inputs, (B, ...), for thinning and for criteria that look at the batch
            normalisation that follows a layer; default: by the model's ``input_shape``, as Distiller's have.
        data: batches, (inputs, targets) or inputs alone, for criteria that need statistics before the first epoch.
        loss: (outputs, targets) -> the mean loss of a batch, a scalar, for criteria that look at its derivatives (snip,
            grasp, fisher, obs), such as ``torch.nn.functional.cross_entropy``.
        evaluate: model, in evaluation mode -> its metrics on validation images, such as {"loss": 0.3, "top1": 91.2},
            for greedy soups.

    Raises:
        ScheduleError: everything in the schedule that does not fit the model or the run, each with its place.
    """
    if trace is not None and not isinstance(trace, Trace):
        raise SchedEngineError(f"trace is a schedengine.Trace, as in Trace(rates, steps_per_epoch); got {trace!r:.60}")
    inputs = _inputs_by_shape(model) if example_inputs is None else example_inputs
    return _Binder(schedule, model, optimizer, epochs, steps_per_epoch, trace, inputs, data, loss, evaluate).bind()


def _inputs_by_shape(model: nn.Module) -> Inputs | None:
    """Of the shape that a model says it takes, in Distiller's way: ``model.input_shape = (1, 3, 32, 32)``."""
    shape = getattr(bare(model), "input_shape", None)
    is_shape = isinstance(shape, (tuple, list)) and all(isinstance(length, int) for length in shape)
    return torch.ones(tuple(shape)) if is_shape else None  # type: ignore[arg-type]  # narrowed by the line above


class _Binder:
    """Collects problems while it resolves one part after another."""

    def __init__(
        self,
        schedule: Schedule,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        epochs: int | None,
        steps_per_epoch: int | None,
        trace: Trace | None,
        example_inputs: Inputs | None,
        data: Iterable[Any] | None,
        loss: LossFunction | None,
        evaluate: Evaluate | None,
    ) -> None:
        self.schedule = schedule
        self.model = model
        self.optimizer = optimizer
        self.steps_per_epoch = steps_per_epoch
        self.example_inputs = example_inputs
        self.data = data
        self.loss = loss
        self.evaluate = evaluate
        self.timeline = Timeline.of(schedule, epochs)
        self.earlier = trace or schedule.trace
        self.course = Course(schedule, self.timeline, Fraction(self.earlier.epochs if self.earlier else 0))
        self.table = ParameterTable(model)
        self.forking = Forking(self.course, steps_per_epoch)
        self.tracing = Tracing(schedule, model, self.table, example_inputs)
        self.is_followed = False
        """Whether a policy that thins, the first that acts at all, masks what dead filters still say."""
        self.problems: list[Problem] = []
        self.reselections: dict[str, Reselection] = {}

    def bind(self) -> PruningScheduler:
        given = [] if self.optimizer is None else list(self.optimizer.param_groups)
        try:
            return self._bound()
        except SchedEngineError:
            if self.optimizer is not None:  # what is learned has joined it
                self.optimizer.param_groups[:] = given
            raise

    def _bound(self) -> PruningScheduler:
        pruners = self.pruners = self._instances("pruners", self._pruner)
        regularizers = self.regularizers = self._instances("regularizers", self._regularizer)
        occasions = [self._occasions(number, policy) for number, policy in enumerate(self.schedule.policies)]
        self._check_optimizer()
        self._check_overlaps(occasions)
        self._check_ends(occasions)
        self.problems += Sharing(self.schedule, pruners, regularizers, occasions, self.steps_per_epoch).problems()
        self.problems += unsteady(self.schedule, pruners, self.optimizer, self.table)
        self.learned = self._thresholds()
        self.problems += self.course.problems()
        self.problems += self.forking.problems()
        can_thin = self._check_thinning()
        rates = {} if self.optimizer is None else self.schedule.lr_schedulers
        made: dict[str, Mapping[str, Any]] = {
            "pruner": {name: one for name, one in pruners.items() if not one.spec.is_learned or name in self.learned},
            "release": pruners,
            "regularizer": regularizers,
            "lr_scheduler": rates,
            "rewind": {"": None},
            "thin": {"": None} if can_thin else {},
            "recalibrate": {"": None} if self._check_norms() else {},
            "check_collapse": {"": None} if self._check_collapse() else {},
        }
        policies = {
            number: self._policy(policy, own, pruners, regularizers, occasions)
            for number, (policy, own) in enumerate(zip(self.schedule.policies, occasions, strict=True))
            if policy.instance in made[policy.kind] and own.windows and not self._keeps_nothing(policy)
        }
        self._check_counts(policies.values())
        self._check_rates(policies)
        if self.problems:
            raise ScheduleError(self.problems)
        return PruningScheduler(
            self.model,
            self.optimizer,
            list(policies.values()),
            pruners,
            self.table,
            MaskStore(self.table, self.learned),
            total_epochs=self.timeline.epochs,
            steps_per_epoch=self.steps_per_epoch,
            is_lenient=self.schedule.effects == "warn",
            trace=Recorder(self.earlier),
            snapshots=Snapshots(self.course.snapshots()),
            example_inputs=self.example_inputs,
            data=self.data,
            loss=self.loss,
            evaluate=self.evaluate,
            forks=self.forking.forks,
            resting=self._resting(policies),
            fits=self._fits(policies),
        )

    def _resting(self, policies: Mapping[int, BoundPolicy]) -> dict[int, list[BoundPolicy]]:
        """By the start of a fork, the policies that wait for its end."""
        return {fork.start: [policies[number] for number in self.forking.resting(fork)] for fork in self.forking.forks}

    def _fits(self, policies: Mapping[int, BoundPolicy]) -> dict[tuple[int, int], list[tuple[LRPolicy, Occasions]]]:
        """The windows that learning rates have in replicas of another length."""
        found: dict[tuple[int, int], list[tuple[LRPolicy, Occasions]]] = {}
        for fork in self.forking.forks:
            for epochs in sorted(set(fork.epochs)):
                found[fork.start, epochs] = [
                    (policy, self.forking.fitted(self.schedule.policies[number], fork, epochs))
                    for number, policy in policies.items()
                    if isinstance(policy, LRPolicy)
                ]
        return found

    def _instances(self, section: str, make: Callable[[str, Any], T]) -> dict[str, T]:
        """The instances that a policy uses, on this model."""
        used = {policy.instance for policy in self.schedule.policies if REFERENCES.get(policy.kind) == section}
        found: dict[str, T] = {}
        for name, spec in getattr(self.schedule, section).items():
            if name not in used:
                continue
            try:
                found[name] = make(name, spec)
            except ScheduleError as error:
                self.problems += [self._placed(problem, f"{section}.{name}") for problem in error.problems]
            except SchedEngineError as error:
                self.problems.append(self.schedule.problem(f"{section}.{name}", str(error)))
        return found

    def _placed(self, problem: Problem, path: str) -> Problem:
        return self.schedule.problem(f"{path}.{problem.path}" if problem.path else path, problem.message)

    def _pruner(self, name: str, spec: Pruner) -> BoundPruner:
        key = "allocation" if isinstance(spec.allocation, dict) else "threshold"
        names = spec.selector.pick(self.table, "parameters" if spec.parameters is not None or not spec.by_name else key)
        by_name = self._values(spec.by_name, names, key)
        granularities = self._granularities(spec.granularity, names)
        joint = self.tracing.joint(name, spec, granularities)
        bound = BoundPruner(
            name,
            spec,
            names,
            by_name,
            lenient=self.schedule.effects == "warn",
            granularities=granularities,
            joint=joint,
        )
        bound.check_layers(self.table)
        self.tracing.check_gradient(bound)
        return bound

    def _regularizer(self, name: str, spec: Regularizer) -> BoundRegularizer:
        path = "parameters" if spec.parameters is not None or not spec.by_name else "strength"
        names = spec.selector.pick(self.table, path)
        granularities = self._granularities(spec.granularity, names)
        self._check_penalty(spec, granularities)
        return BoundRegularizer(name, spec, names, self._values(spec.by_name, names, "strength"))

    def _check_penalty(self, spec: Regularizer, granularities: Mapping[str, Granularity]) -> None:
        problems = []
        for name, granularity in granularities.items():
            try:
                spec.penalty.check(tuple(self.table[name].shape), granularity)
            except SchedEngineError as error:
                problems.append(Problem(f"{name}: {error}", "penalty"))
        if problems:
            raise ScheduleError(problems)

    def _values(self, by_name: Mapping[str, float] | None, names: list[str], path: str) -> dict[str, float] | None:
        return None if by_name is None else lookup(by_name, self.table, names, path)

    def _keeps_nothing(self, policy: Policy) -> bool:
        """Whether its keep_mask has no threshold to go with, which ``sharing`` tells."""
        spec = self.schedule.regularizers.get(policy.instance) if policy.kind == "regularizer" else None
        return spec is not None and policy.keep_mask and spec.threshold is None

    def _granularities(self, granularity: Granularity, names: list[str]) -> dict[str, Granularity]:
        """What a group of each parameter is.

        Raises:
            ScheduleError: one cannot be grouped so.
        """
        found, problems = {}, []
        for name in names:
            try:
                found[name] = oriented(granularity, self.table.layer(name))
                found[name].check(tuple(self.table[name].shape))
            except SchedEngineError as error:
                problems.append(Problem(f"{name}: {error}", "granularity"))
        if problems:
            raise ScheduleError(problems)
        return found

    def _occasions(self, number: int, policy: Policy) -> Occasions:
        try:
            return self.timeline.occasions(policy, default_every(self.schedule, policy))
        except ValueError as error:
            self.problems.append(self.schedule.problem(f"policies[{number}]", str(error)))
            return Occasions(())

    def _check_optimizer(self) -> None:
        for number, policy in enumerate(self.schedule.policies):
            if policy.kind == "lr_scheduler" and self.optimizer is None:
                message = "a learning-rate schedule needs the optimizer; pass it to bind()"
                self.problems.append(self.schedule.problem(f"policies[{number}]", message))

    def _policy(
        self,
        policy: Policy,
        own: Occasions,
        pruners: Mapping[str, BoundPruner],
        regularizers: Mapping[str, BoundRegularizer],
        occasions: list[Occasions],
    ) -> BoundPolicy:
        if policy.kind == "pruner":
            return self._pruning(policy, own, pruners[policy.instance], occasions)
        if policy.kind == "regularizer":
            return RegularizationPolicy(regularizers[policy.instance], own, keep_mask=policy.keep_mask)
        if policy.release is not None:
            return ReleasePolicy(pruners[policy.release], own)
        if policy.thin is not None:
            return self._thinning(policy, own)
        if policy.recalibrate is not None:
            number = next(at for at, one in enumerate(self.schedule.policies) if one is policy)
            lacking = ScheduleError([self.schedule.problem(f"policies[{number}].recalibrate", NO_DATA)])
            return RecalibratePolicy(policy.recalibrate, own, lacking)
        if policy.check_collapse is not None:
            sizes = {name: self.table[name].numel() for one in pruners.values() for name in one.names}
            return CollapsePolicy(policy.check_collapse, own, sizes, is_stretch=policy.during is not None)
        if policy.rewind is not None:
            return RewindPolicy(policy.rewind, own, list(pruners.values()))
        assert self.optimizer is not None
        schedule, groups = self.schedule.lr_schedulers[policy.instance], groups_of(self.optimizer)
        if isinstance(schedule, Plateau):
            return PlateauPolicy(schedule, own, groups)
        run = Moment(Fraction(self.timeline.epochs or 0))
        return LRPolicy(schedule, own, groups, clock=policy.clock, run=run, offsets=self.course.offsets())

    def _check_collapse(self) -> bool:
        """Whether there are layers to look at."""
        for number, policy in enumerate(self.schedule.policies):
            if policy.check_collapse is not None and not any(one.kind == "pruner" for one in self.schedule.policies):
                message = "no pruner acts, whose layers could collapse; add a policy of one, or remove this"
                self.problems.append(self.schedule.problem(f"policies[{number}].check_collapse", message))
        return bool(self.pruners)

    def _check_norms(self) -> bool:
        """Whether there are batch-norm statistics to estimate. Data are asked for when the run begins: a look at the
        schedule (``plan``, ``check``) needs none."""
        if norms_of(bare(self.model)):
            return True
        for number, policy in enumerate(self.schedule.policies):
            if policy.recalibrate is not None:
                self.problems.append(self.schedule.problem(f"policies[{number}].recalibrate", NO_NORMS))
        return False

    def _check_thinning(self) -> bool:
        for number, policy in enumerate(self.schedule.policies):
            if policy.thin is None or not self.table.names:
                continue
            try:
                self.tracing.check_thinning(policy.thin, [*self.pruners.values(), *self.regularizers.values()])
            except SchedEngineError as error:
                self.problems.append(self.schedule.problem(f"policies[{number}].thin", str(error)))
                return False
        return bool(self.table.names)

    def _thinning(self, policy: Policy, own: Occasions) -> ThinPolicy:
        assert policy.thin is not None
        inputs = self.tracing.inputs(policy.thin)
        assert inputs is not None  # a problem otherwise, and no policies are made
        lenient = self.schedule.effects == "warn"
        reasons = [one.known_shortfall for one in self.regularizers.values()]
        releases = any(one.release is not None for one in self.schedule.policies)
        follows, self.is_followed = not self.is_followed, True
        return ThinPolicy(
            policy.thin,
            own,
            inputs,
            follows=follows,
            revives=releases or any(one.spec.pruned.keeps for one in self.pruners.values()),
            passing=[name for name, one in self.pruners.items() if one.spec.lasts == "step"],
            lenient=lenient,
            reasons=reasons,
        )

    def _pruning(self, policy: Policy, own: Occasions, pruner: BoundPruner, occasions: list[Occasions]) -> BoundPolicy:
        if pruner.spec.is_learned:
            return LearningPolicy(pruner, own, self.learned[pruner.name])
        siblings = [
            (other, windows)
            for other, windows in zip(self.schedule.policies, occasions, strict=True)
            if other.kind == "pruner" and other.instance == policy.instance
        ]
        if pruner.spec.is_edit:
            return EditPolicy(pruner, own, Occasions.merge(windows for _, windows in siblings))
        slow = pruner.spec.sparsity.every if pruner.spec.sparsity is not None else None
        targets = None
        if slow is not None:
            targets = Occasions.merge(self.timeline.occasions(other, EPOCH, every=slow) for other, _ in siblings)
        return PruningPolicy(
            pruner,
            own,
            Occasions.merge(windows for _, windows in siblings),
            targets=targets,
            refresh=None if policy.refresh is None else policy.refresh.length(Moment()),
            keep_mask=policy.keep_mask,
            reselection=self.reselections.setdefault(pruner.name, Reselection(pruner)),
        )

    def _thresholds(self) -> dict[str, Learned]:
        if self.optimizer is not None:
            return thresholds(self.pruners, self.table, self.optimizer)
        for name, pruner in self.pruners.items():
            if pruner.spec.is_learned:
                message = "is trained; pass the optimizer to bind()"
                self.problems.append(self.schedule.problem(f"pruners.{name}.pruned", message))
        return {}

    def _check_overlaps(self, occasions: list[Occasions]) -> None:
        """A pruner's cuts are counted through its windows, which only means something where they follow each other."""
        taken: dict[str, list[Window]] = {}
        for number, (policy, own) in enumerate(zip(self.schedule.policies, occasions, strict=True)):
            if policy.kind != "pruner":
                continue
            others = taken.setdefault(policy.instance, [])
            message = None
            if _has_overlap(own.windows):
                message = "overlaps in time with itself; name one of the phases, or of the instants"
            elif _has_overlap([*others, *own.windows]):
                message = f"overlaps in time with another policy of pruner {policy.instance!r}; use one of them"
            if message is not None:
                self.problems.append(self.schedule.problem(f"policies[{number}]", message))
            else:
                others.extend(own.windows)

    def _check_ends(self, occasions: list[Occasions]) -> None:
        """Cuts that the run ends before would only be missed at its end; version 1 files are warned then."""
        epochs = self.timeline.epochs
        if epochs is None or self.schedule.effects == "warn":
            return
        for number, (policy, own) in enumerate(zip(self.schedule.policies, occasions, strict=True)):
            if policy.kind != "pruner" or self.schedule.pruners[policy.instance].optional:
                continue
            if any(window.outlasts(epochs, self.steps_per_epoch) for window in own.windows):
                message = f"has cuts that a run of {epochs} epochs ends before; change one, or write 'optional: true'"
                self.problems.append(self.schedule.problem(f"policies[{number}]", message))

    def _check_rates(self, policies: Mapping[int, BoundPolicy]) -> None:
        """Ask every schedule for its first rates: a span that is unknown or too short shows now, not in mid-run."""
        if isinstance(self.earlier, Earlier) and self.steps_per_epoch is not None and self.optimizer is not None:
            try:
                self.earlier.try_ends(self.steps_per_epoch)
            except SchedEngineError as error:
                self.problems.append(self.schedule.problem("trace.lr", str(error)))
        for number, policy in policies.items():
            if not isinstance(policy, LRPolicy):
                continue
            try:
                policy.try_first(self.steps_per_epoch)
            except SchedEngineError as error:
                self.problems.append(self.schedule.problem(f"policies[{number}]", str(error)))

    def _check_counts(self, policies: Iterable[BoundPolicy]) -> None:
        """Try every target that can be known now: a ramp of another length, an allocation that cannot reach it."""
        for policy in policies:
            if isinstance(policy, EditPolicy):
                self._check_target(policy.pruner, policy.every)
            if not isinstance(policy, PruningPolicy):
                continue
            if policy.pruner.spec.threshold is not None:
                self._check_pace(policy)
            if policy.pruner.spec.sparsity is None:
                continue
            self._check_target(policy.pruner, policy.targets or policy.every)

    def _check_target(self, pruner: BoundPruner, instants: Occasions) -> None:
        try:
            count = instants.count(self.steps_per_epoch)
        except SchedEngineError:  # in steps: known with the first step only
            return
        if count == 0:
            return
        try:
            pruner.check_target(self.table, count)
        except SchedEngineError as error:
            self.problems.append(self.schedule.problem(f"pruners.{pruner.name}.sparsity", str(error)))

    def _check_pace(self, policy: PruningPolicy) -> None:
        assert policy.pruner.spec.threshold is not None
        for window in policy.own.windows:
            try:
                policy.pruner.spec.threshold.check(policy.pace(window, Progress(0, None, self.steps_per_epoch)))
            except ValueError as error:
                self.problems.append(self.schedule.problem(f"pruners.{policy.pruner.name}.threshold", str(error)))


def _has_overlap(windows: Sequence[Window]) -> bool:
    """Whether two of them overlap. In order of time it is enough to look at the one that reaches furthest so far."""
    furthest: Window | None = None
    for window in Occasions.of(windows).windows:
        if furthest is not None and furthest.overlaps(window):
            return True
        if furthest is None or window.stop.epochs >= furthest.stop.epochs:
            furthest = window
    return False
