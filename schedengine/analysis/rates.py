"""Learning rates and penalty strengths at any time of a run, from its bound policies alone: nothing is trained."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from schedengine.lr.base import Group
from schedengine.policies.base import Policy
from schedengine.policies.lr import LRPolicy
from schedengine.policies.regularization import RegularizationPolicy
from schedengine.progress import Occasions, Progress, Window
from schedengine.regularizers.strengths import Strength


class Rates:
    """The learning rate of the first parameter group at any step.

    What was written last holds. At one instant what is written per step comes after what is written per epoch, as in
    the loop; of two alike the policy that comes last in the file has the last word.

    Args:
        policies: bound, in the order of the file; only those that write learning rates count.
        groups: what the optimizer's parameter groups begin with.
        steps_per_epoch: optimizer steps in an epoch.
    """

    def __init__(self, policies: Sequence[Policy], groups: Sequence[Group], steps_per_epoch: int) -> None:
        self._policies = [
            (policy, _Windows(policy.own, steps_per_epoch)) for policy in policies if isinstance(policy, LRPolicy)
        ]
        self._initial = groups[0].lr
        self._steps_per_epoch = steps_per_epoch

    def at(self, step: int) -> float:
        """The rate that an optimizer step uses.

        Args:
            step: from 0, over the run.

        Raises:
            SchedEngineError: a schedule has no rate for that time.
        """
        progress = Progress(*divmod(step, self._steps_per_epoch), self._steps_per_epoch)
        last: tuple[tuple[int, bool], LRPolicy, Window, Progress] | None = None
        for policy, windows in self._policies:
            instant = windows.latest(progress)
            when = (-1, False) if instant is None else (instant[0], instant[2].step is not None)
            if instant is not None and (last is None or when >= last[0]):
                last = (when, policy, instant[1], instant[2])
        if last is None:
            return self._initial
        _, policy, window, at = last
        return float(policy.schedule.values(policy.clock_at(window, at), policy.groups)[0]["lr"])


class _Windows:
    """A policy's windows, to ask at many steps: of hundreds of cycles only those near a step are looked at."""

    def __init__(self, own: Occasions, steps_per_epoch: int) -> None:
        self._windows = own.windows
        self._steps_per_epoch = steps_per_epoch
        self._starts = [window.start.step(steps_per_epoch) for window in self._windows]
        self._reach = list(accumulate((window.stop.step(steps_per_epoch) for window in self._windows), max))

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
