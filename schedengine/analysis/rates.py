"""Learning rates and penalty strengths at any time of a run, from its bound policies alone: nothing is trained."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.lr.retraining import Past, Retraining
from schedengine.lr.trace import Earlier, Trace
from schedengine.policies.base import NO_DENSE, Policy
from schedengine.policies.lr import LRPolicy
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.progress import Occasions, Progress, Window
from schedengine.pruners.impact import Impact
from schedengine.regularizers.strengths import Strength
from schedengine.schedule.retraining import Course

POINTS = 10_000
"""Steps of a dense training that are asked, about; of a longer one, each rate is taken to hold until the next."""


@dataclass(frozen=True)
class Background:
    """What retraining rates are made from, as far as it is known before a run.

    Args:
        earlier: the training before the run; None for none.
        first_cut: the step before which the dense training ends; None: nothing is cut.
        impacts: step -> what the cuts before it take, where the weights that they cut are known.
        supposed: drop of the norm (``Past.drop``) at any other cut, in [0, 1]; rates rise with it.
    """

    earlier: Earlier | None = None
    first_cut: int | None = None
    impacts: Mapping[int, Impact] = field(default_factory=dict)
    supposed: float = 1.0

    @classmethod
    def of(
        cls, course: Course, steps_per_epoch: int, trace: Trace | None, impacts: Mapping[int, Impact] | None = None
    ) -> Background:
        """That of a schedule; ``trace`` is the weights' own, which comes before what the file says."""
        first_cut = min((moment.step(steps_per_epoch) for moment in course.begins), default=None)
        return cls(trace or course.schedule.trace, first_cut, impacts or {})


class Rates:
    """The learning rate of the first parameter group at any step.

    What was written last holds. At one instant what is written per step comes after what is written per epoch, as in
    the loop; of two alike the policy that comes last in the file has the last word.

    Args:
        policies: bound, in the order of the file; only those that write learning rates count.
        groups: what the optimizer's parameter groups begin with.
        steps_per_epoch: optimizer steps in an epoch.
        background: for retraining schedules.
    """

    def __init__(
        self,
        policies: Sequence[Policy],
        groups: Sequence[Group],
        steps_per_epoch: int,
        background: Background | None = None,
    ) -> None:
        self._windows = {one: _Windows(one.own, steps_per_epoch) for one in policies if isinstance(one, LRPolicy)}
        self._groups = groups
        self._steps_per_epoch = steps_per_epoch
        self._background = background or Background()
        self._curves: dict[tuple[LRPolicy, Window], LearningRate] = {}
        self._traces: dict[int, Trace | None] = {}

    def supposing(self, drop: float) -> Rates:
        """The same with another drop of the norm at each cut that is not known."""
        background = replace(self._background, supposed=drop)
        other = Rates(list(self._windows), self._groups, self._steps_per_epoch, background)
        other._traces = self._traces  # which no cut comes into
        return other

    def at(self, step: int, only: LRPolicy | None = None) -> float:
        """The rate that an optimizer step uses.

        Args:
            step: from 0, over the run.
            only: as if there were no other policy; what retraining starts from stays what it is.

        Raises:
            SchedEngineError: a schedule has no rate for that time.
        """
        progress = Progress(*divmod(step, self._steps_per_epoch), self._steps_per_epoch)
        last: tuple[tuple[int, bool], LRPolicy, Window, Progress] | None = None
        for policy in self._windows if only is None else (only,):
            instant = self._windows[policy].latest(progress)
            when = (-1, False) if instant is None else (instant[0], instant[2].step is not None)
            if instant is not None and (last is None or when >= last[0]):
                last = (when, policy, instant[1], instant[2])
        if last is None:
            return self._groups[0].lr
        _, policy, window, at = last
        clock = policy.clock_at(window, at)
        return float(self._curve(policy, window, clock).values(clock, policy.groups)[0]["lr"])

    def past(self, step: int) -> Past:
        """What a retraining that begins before a step begins with; of cuts that are not known, what is supposed.

        Raises:
            SchedEngineError: there is no dense training.
        """
        first_cut = self._background.first_cut
        dense = self._trace(step if first_cut is None else min(step, first_cut))
        if dense is None:
            raise SchedEngineError(NO_DENSE)
        impact = self._background.impacts.get(step)
        if impact is None:
            return Past(dense, self._background.supposed, self._background.supposed)
        return Past(dense, impact.drop, impact.layer_drop)

    def _curve(self, policy: LRPolicy, window: Window, clock: Clock) -> LearningRate:
        """The schedule, or what a retraining makes of it in a window."""
        if not isinstance(policy.schedule, Retraining):
            return policy.schedule
        if (policy, window) not in self._curves:
            past = self.past(window.start.step(self._steps_per_epoch))
            self._curves[policy, window] = policy.schedule.after(past, clock.span)
        return self._curves[policy, window]

    def _trace(self, steps: int) -> Trace | None:
        """The dense training: what came before the run, and the first steps of the run."""
        if steps not in self._traces:
            earlier = self._background.earlier
            before = None if earlier is None else earlier.at(self._steps_per_epoch)
            own = Trace(self._held(steps), self._steps_per_epoch) if steps else None
            self._traces[steps] = before.then(own) if before and own else before or own
        return self._traces[steps]

    def _held(self, steps: int) -> Iterator[float]:
        """The rate of each of the first steps of the run; in a long run, that of the nearest one asked before it."""
        edges = (edge for windows in self._windows.values() for edge in windows.edges if 0 <= edge < steps)
        asked = sample(self.at, 0, steps - 1, POINTS, edges)
        for (step, rate), following in pairwise([*asked.items(), (steps, 0.0)]):
            yield from [rate] * (following[0] - step)


def sample(
    rate: Callable[[int], float], first: int, last: int, points: int, edges: Iterable[int] = ()
) -> dict[int, float]:
    """Step -> rate, in order: both ends, ``points`` steps or more between them, ``edges``, all around the largest.

    Example:
        >>> list(sample(lambda step: -abs(step - 7), 0, 20, 3))
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 20]
    """
    stride = max(1, (last - first) // points)
    found = {step: rate(step) for step in (*range(first, last, stride), last, *edges)}
    top = max(found, key=found.__getitem__)
    around = range(max(first, top - stride), min(last, top + stride) + 1)
    found |= {step: rate(step) for step in around if step not in found}
    return dict(sorted(found.items()))


class _Windows:
    """A policy's windows, to ask at many steps: of hundreds of cycles only those near a step are looked at."""

    def __init__(self, own: Occasions, steps_per_epoch: int) -> None:
        self._windows = own.windows
        self._steps_per_epoch = steps_per_epoch
        self._starts = [window.start.step(steps_per_epoch) for window in self._windows]
        self._stops = [window.stop.step(steps_per_epoch) for window in self._windows]
        self._reach = list(accumulate(self._stops, max))

    @property
    def edges(self) -> list[int]:
        """The first and the last step of each."""
        return [*self._starts, *(stop - 1 for stop in self._stops)]

    def latest(self, progress: Progress) -> tuple[int, Window, Progress] | None:
        """The last instant at or before ``progress``: its step, its window, and the instant."""
        found: tuple[int, Window, Progress] | None = None
        number = bisect_right(self._starts, progress.moment.steps)
        while number and (found is None or self._reach[number - 1] > found[0]):
            number -= 1
            instant = self._windows[number].latest(progress)
            when = None if instant is None else instant.moment.step(self._steps_per_epoch)
            if instant is not None and when is not None and (found is None or when > found[0]):
                found = (when, self._windows[number], instant)
        return found


def strength(policy: RegularizationPolicy, progress: Progress) -> float:
    """The factor of a regularizer's penalty at a step; 0 outside its windows, the largest where parameters differ."""
    window = policy.own.containing(progress)
    if window is None or not window.is_active(progress):
        return 0.0
    rule = policy.regularizer.spec.strength
    if isinstance(rule, Strength):
        return rule.at(window.share(progress))
    return max((policy.regularizer.by_name or {}).values(), default=0.0)
