"""What is surely not meant of retraining and rewinding; ``doubts`` has the table of all doubts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from schedengine.analysis.outlook import Doubts, Outlook, is_relative
from schedengine.errors import SchedEngineError
from schedengine.lr.retraining import FT
from schedengine.lr.trace import Trace
from schedengine.policies.lr import LRPolicy
from schedengine.progress import Moment, Window

IDLE = 0.0099
"""Share of the dense training's largest rate below which fine-tuning does little: just under two drops to a tenth."""


def idle_fine_tuning(outlook: Outlook) -> Doubts:
    """Fine-tuning with the smallest rate of a dense training whose rate went to nearly 0."""
    found = {number: dense for number, _, dense in idle_stretches(outlook)} if outlook.is_certain else {}
    for number, dense in found.items():
        is_open = is_relative(outlook, outlook.rated[number].schedule)
        base = f", if that begins with {outlook.groups[0].lr:g}" if is_open else ""
        what = f"{dense.lowest:.3g}, the smallest rate of the dense training (its largest: {dense.highest:.3g}){base}"
        yield f"policies[{number}]", f"trains at {what}: next to nothing; use LLR, or a constant rate of your own"


def idle_stretches(outlook: Outlook) -> Iterator[tuple[int, range, Trace]]:
    """Policy, epochs and dense training of each stretch that is fine-tuned with nearly 0."""
    for number, policy in outlook.rated.items():
        for window in policy.own.windows if isinstance(policy.schedule, FT) else ():
            first, stop = window.start.step(outlook.steps), window.stop.step(outlook.steps)
            try:
                dense = outlook.rates.past(first).dense
            except SchedEngineError:  # among the errors
                continue
            if dense.lowest < IDLE * dense.highest:
                yield number, range(first // outlook.steps, -(-stop // outlook.steps)), dense


def rewound_before_cut(outlook: Outlook) -> Doubts:
    """Weights go back, and a cut at the same moment comes after it: it ranks weights that are hardly trained."""
    for number, policy, own in outlook.of_kind("rewind"):
        if policy.rewind is None or policy.rewind.weights is None:
            continue
        moment = policy.rewind.weights.length(outlook.course.dense)
        later = (_cut_after(outlook, window, number) for window in own.windows if window.start != moment)
        if name := next(filter(None, later), None):
            what = f"weights go back to {moment} before {name!r} cuts at the same moment, and the cut ranks those"
            yield f"policies[{number}]", f"{what}; write this policy after the pruner's"


def _cut_after(outlook: Outlook, window: Window, number: int) -> str | None:
    """The pruner that cuts at the moment of a policy's instant, and after it."""
    step, place = window.start.step(outlook.steps), (_hook(window.is_epochs, is_end=window.is_end), number)
    for name, pruner in outlook.schedule.pruners.items():
        for when, opens, order, is_epochs in outlook.instants(name, pruner):
            if when == step and (_hook(is_epochs, is_end=not opens), order) > place:
                return name
    return None


def _hook(is_epochs: bool, *, is_end: bool) -> int:
    """What comes first at one moment: the end of an epoch, the beginning of the next, its first step."""
    return 0 if is_end else 2 - is_epochs


def other_curve(outlook: Outlook) -> Doubts:
    """Weights and clock go back to one moment, and the rate goes on otherwise than it went on there."""
    for number, policy, own in outlook.of_kind("rewind") if outlook.is_certain else ():
        rewind, dense = policy.rewind, outlook.course.dense
        if rewind is None or rewind.weights is None or rewind.clock is None:
            continue
        moment = rewind.clock.length(dense)
        if rewind.weights.length(dense) != moment:
            continue
        rates = list(outlook.rated.values())
        found = (_otherwise(outlook, rate, window.start, moment) for window in own.windows for rate in rates)
        if what := next(filter(None, found), None):
            yield f"policies[{number}].rewind.clock", what


def _otherwise(outlook: Outlook, rate: LRPolicy, start: Moment, moment: Moment) -> str | None:
    """How a schedule's rate at ``start`` differs from what it was at ``moment``, if by more than a fifth."""
    steps, alike = outlook.steps, [one for one in outlook.rated.values() if one.schedule is rate.schedule]
    then, now = _window_at(alike, moment, steps), _window_at([rate], start, steps)
    if then is None or now is None or now[1].start != start:
        return None
    try:
        before, after = (outlook.rates.at(one.step(steps), who) for one, (who, _) in ((moment, then), (start, now)))
    except SchedEngineError:  # among the errors
        return None
    if abs(before - after) <= 0.2 * max(before, after):
        return None
    left, given = (
        (window.stop.step(steps) - one.step(steps)) / steps for one, (_, window) in ((moment, then), (start, now))
    )
    return (
        f"at {moment} the rate was {before:.3g}, and at {start} it goes on with {after:.3g}: its curve had "
        f"{left:.4g} epochs to go, and is stretched over the {given:.4g} that it has now"
    )


def _window_at(policies: Sequence[LRPolicy], moment: Moment, steps: int) -> tuple[LRPolicy, Window] | None:
    """The stretch that a moment lies in, and whose it is."""
    for policy in policies:
        for window in policy.own.windows:
            if window.every is not None and window.start.step(steps) <= moment.step(steps) < window.stop.step(steps):
                return policy, window
    return None
