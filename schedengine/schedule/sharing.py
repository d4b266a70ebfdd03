"""What pruners, regularizers and thinnings may not do to the same parameters, or not at the same time.

Pure functions of a bound schedule, asked before anything is trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from schedengine.errors import Problem
from schedengine.progress import Moment, Occasions
from schedengine.pruners.bound import BoundPruner
from schedengine.regularizers.bound import BoundRegularizer
from schedengine.schedule.document import Policy, Schedule


@dataclass(frozen=True)
class Sharing:
    """A schedule whose instances are on a model.

    Args:
        schedule: whose policies these are.
        pruners, regularizers: on the model, by name.
        occasions: of each policy.
        steps: optimizer steps in an epoch; None where they are not known yet, and then less can be told.
    """

    schedule: Schedule
    pruners: Mapping[str, BoundPruner]
    regularizers: Mapping[str, BoundRegularizer]
    occasions: Sequence[Occasions]
    steps: int | None

    def problems(self) -> Iterator[Problem]:
        """Everything that does not go together."""
        yield from self._modes()
        yield from self._keeps()
        yield from self._unsettled()
        yield from self._edits()
        yield from self._thinned()

    def _acting(self, kind: str) -> Iterator[tuple[int, Policy, Occasions]]:
        for number, (policy, own) in enumerate(zip(self.schedule.policies, self.occasions, strict=True)):
            if policy.kind == kind and own.windows:
                yield number, policy, own

    def _modes(self) -> Iterator[Problem]:
        """One parameter has one treatment of its pruned weights, unless a later pruner takes over from another."""
        for one, other in itertools.combinations(self.pruners.values(), 2):
            shared = _shared(one, other)
            if not shared or one.spec.applied == other.spec.applied or other.spec.masks == "replace":
                continue
            if one.spec.pruned == other.spec.pruned:
                message = f"treats {shared} otherwise than {one.name!r} (rescale, mask_gradients); use the same"
                yield self.schedule.problem(f"pruners.{other.name}", message)
                continue
            message = (
                f"is {other.spec.treatment}, and {one.name!r}, which also prunes {shared}, has "
                f"{one.spec.treatment}; use the same, or write 'masks: replace' where the second takes over"
            )
            yield self.schedule.problem(f"pruners.{other.name}.pruned", message)

    def _keeps(self) -> Iterator[Problem]:
        """A mask that a regularizer keeps drops the values that a pruner of the same parameter keeps."""
        for number, policy in enumerate(self.schedule.policies):
            regularizer = self.regularizers.get(policy.instance) if policy.kind == "regularizer" else None
            if regularizer is None or not policy.keep_mask:
                continue
            path = f"policies[{number}].keep_mask"
            if regularizer.spec.threshold is None:
                message = f"regularizer {policy.instance!r} has no threshold, so nothing to keep; add 'threshold: max'"
                yield self.schedule.problem(path, message)
            for pruner in self.pruners.values():
                shared = _shared(regularizer, pruner)
                if shared and pruner.spec.pruned.keeps and pruner.spec.masks != "replace":
                    message = (
                        f"drops the values of {shared} that pruner {pruner.name!r} keeps "
                        f"({pruner.spec.treatment}); use 'pruned: zero' there, or remove keep_mask"
                    )
                    yield self.schedule.problem(path, message)

    def _unsettled(self) -> Iterator[Problem]:
        """What is learned is settled before others take, hold back or threshold the same weights."""
        for number, pruner, settled in self._learners():
            for other, instance in self._others():
                shared = _shared(pruner, instance)
                if not shared or instance is pruner:
                    continue
                what = f"{pruner.name!r} ({pruner.spec.treatment}) learns what goes of {shared}"
                if isinstance(instance, BoundPruner) and instance.spec.is_learned:
                    if other > number:
                        yield self.schedule.problem(f"policies[{other}]", f"{what} too; let one of them learn it")
                elif self._is_before(other, settled, number):
                    yield self._too_early(other, "", what, settled)

    def _learners(self) -> Iterator[tuple[int, BoundPruner, Fraction]]:
        """Number of the policy, pruner, and the end of the epoch in which what it learns is settled."""
        for number, policy, own in self._acting("pruner"):
            pruner = self.pruners.get(policy.instance)
            stop = self._epochs(own.windows[-1].stop)
            if pruner is not None and pruner.spec.is_learned and stop is not None:
                yield number, pruner, Fraction(math.ceil(stop))

    def _others(self) -> Iterator[tuple[int, BoundPruner | BoundRegularizer]]:
        """Policies that change weights, or gradients, or masks, by themselves."""
        for number, policy, _ in self._acting("pruner"):
            if policy.instance in self.pruners:
                yield number, self.pruners[policy.instance]
        for number, policy, _ in self._acting("regularizer"):
            regularizer = self.regularizers.get(policy.instance)
            if regularizer is not None and regularizer.spec.threshold is not None:
                yield number, regularizer

    def _edits(self) -> Iterator[Problem]:
        """Two pruners that edit one gradient would each take the optimizer's weight decay out of it, or lose it."""
        edits = [one for one in self._acting("pruner") if self._is_edit(one[1])]
        for (_, one, first), (number, other, second) in itertools.combinations(edits, 2):
            shared = _shared(self.pruners[one.instance], self.pruners[other.instance])
            if one.instance != other.instance and shared and first.meets(second):
                message = f"edits the gradient of {shared} at the same time as {one.instance!r}; use one of them"
                yield self.schedule.problem(f"policies[{number}]", message)

    def _is_edit(self, policy: Policy) -> bool:
        return policy.instance in self.pruners and self.pruners[policy.instance].spec.is_edit

    def _thinned(self) -> Iterator[Problem]:
        """Thresholds, and choices of weights, are of the sizes that the network has when they begin."""
        for other, _, own in self._acting("thin"):
            for number, pruner, settled in self._learners():
                if self._is_before(other, settled, number):
                    what = f"{pruner.name!r} ({pruner.spec.treatment}) learns with the sizes that layers have now"
                    yield self._too_early(other, ".thin", what, settled)
            for _, policy, edited in self._acting("pruner"):
                if self._is_edit(policy) and edited.meets(own):
                    message = f"{policy.instance!r} holds weights back then; thin before it begins, or at its end"
                    yield self.schedule.problem(f"policies[{other}].thin", message)

    def _too_early(self, number: int, key: str, what: str, settled: Fraction) -> Problem:
        message = f"{what}, and settles it at the end of epoch {settled - 1} (counted from 0); act later"
        return self.schedule.problem(f"policies[{number}]{key}", f"{message}, and stand after its policy in the file")

    def _is_before(self, other: int, settled: Fraction, number: int) -> bool:
        """Whether a policy acts before another has settled what it learns; ends of an epoch go by the file."""
        for window in self.occasions[other].windows:
            start = self._epochs(window.start)
            if start is not None and (start < settled or (start == settled and window.is_end and other < number)):
                return True
        return False

    def _epochs(self, moment: Moment) -> Fraction | None:
        if not moment.steps:
            return moment.epochs
        return None if self.steps is None else moment.epochs + Fraction(moment.steps, self.steps)


def _shared(one: BoundPruner | BoundRegularizer, other: BoundPruner | BoundRegularizer) -> str:
    """The first parameter of both; empty if there is none."""
    own = set(one.names)
    return next((name for name in other.names if name in own), "")
