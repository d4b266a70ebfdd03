"""What is legal in a schedule and surely not what was meant: one function for each doubt, a table of them at the end.

A doubt that hangs on the length of the run is kept back where the length is only assumed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from schedengine.analysis.outlook import NEARLY_ZERO, Cut, Doubts, Outlook, is_relative
from schedengine.analysis.rates import sample
from schedengine.analysis.retraining_doubts import idle_fine_tuning, idle_stretches, other_curve, rewound_before_cut
from schedengine.errors import Problem, SchedEngineError
from schedengine.lr.plateau import Plateau
from schedengine.lr.retraining import Retraining
from schedengine.policies.lr import LRPolicy
from schedengine.progress import Moment, Occasions, Progress, Window
from schedengine.schedule.document import Policy

_MOST = 3


def doubts(outlook: Outlook) -> Iterator[Problem]:
    """What is legal and surely wrong, each with its place."""
    for doubt in DOUBTS:
        for path, message in doubt(outlook):
            yield outlook.schedule.problem(path, message)


def _lag(outlook: Outlook, policy: Policy) -> int:
    """Epochs by which a window lies later than in the file: version 1 sets a rate at the end of the epoch before."""
    is_distillers = outlook.schedule.effects == "warn" and policy.kind == "lr_scheduler" and policy.clock == "run"
    return 1 if is_distillers else 0


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:_MOST]))
    more = f" and {len(numbers) - _MOST} more" if len(numbers) > _MOST else ""
    return f"epoch{'s' * (len(numbers) > 1)} {shown}{more}"


def beyond_the_end(outlook: Outlook) -> Doubts:
    """A window of which some or all lies after the run."""
    if not outlook.is_certain:
        return
    for number, policy, occasions in outlook.policies:
        run = f"the run ends after {outlook.epochs} epochs"
        if policy.kind == "pruner":
            is_late = any(window.outlasts(outlook.epochs, outlook.steps) for window in occasions.windows)
            if is_late and not outlook.schedule.pruners[policy.instance].optional:
                yield f"policies[{number}]", f"{run}, before its last cut"
            continue
        shift = Moment(Fraction(_lag(outlook, policy)))
        windows = [window for window in occasions.windows if not window.is_end]
        starts, stops = [window.start - shift for window in windows], [window.stop - shift for window in windows]
        if starts and all(start.step(outlook.steps) >= outlook.end for start in starts):
            yield f"policies[{number}]", f"begins at {min(starts, key=_order)}, and {run}: it never acts"
        elif any(stop.step(outlook.steps) > outlook.end for stop in stops) and outlook.schedule.effects == "error":
            # In version 1, where no rate and no strength depends on it, files end their windows anywhere after the run.
            yield f"policies[{number}]", f"its window ends at {max(stops, key=_order)}, and {run}"


def _order(moment: Moment) -> tuple[Fraction, int]:
    return moment.epochs, moment.steps


def rate_left_alone(outlook: Outlook) -> Doubts:
    """The last learning-rate schedule ends before training does, and not on a plateau of its own."""
    windows = [
        (window.stop.step(outlook.steps) - _lag(outlook, policy) * outlook.steps, number, window)
        for number, policy, occasions in outlook.of_kind("lr_scheduler")
        for window in occasions.windows
    ]
    stretches = [entry for entry in windows if entry[2].every is not None]
    stop, number, window = max(stretches, key=lambda entry: entry[:2], default=(outlook.end, 0, None))
    is_followed = any(start >= stop for start, _, other in windows if other.every is None and not other.is_end)
    if window is None or stop >= outlook.end or is_followed or not outlook.is_certain:
        return
    ends = f"ends at epoch {stop / outlook.steps:.4g}, and the run goes on to epoch {outlook.epochs}"
    policy = outlook.rated.get(number)
    if policy is None:
        yield f"policies[{number}]", f"{ends}: the learning rate then stays as it is"
        return
    try:
        held = outlook.rates.at(outlook.end - 1)
        if _would_stay(outlook, policy, window, stop, held):
            return
    except SchedEngineError:
        return
    base = f", if it begins with {outlook.groups[0].lr:g}" if is_relative(outlook, policy.schedule) else ""
    is_open = isinstance(policy.schedule, Retraining) and policy.schedule.needs_cut
    place = "where it is, at most" if is_open else "at"
    yield f"policies[{number}]", f"{ends}: the learning rate then stays {place} {held:.3g}{base}"


def _would_stay(outlook: Outlook, policy: LRPolicy, window: Window, stop: int, held: float) -> bool:
    """Whether a schedule would go on with the rate that is held after its window."""
    if isinstance(policy.schedule, Retraining):  # ends with its window: one that changed in it would not stay
        first = window.start.step(outlook.steps)
        return set(sample(lambda step: outlook.rates.at(step, policy), first, stop - 1, 100).values()) == {held}
    later = [Progress(epoch, 0, outlook.steps) for epoch in range(-(-stop // outlook.steps), outlook.epochs)]
    clocks = [policy.clock_at(window, progress) for progress in later]
    return all(policy.schedule.values(clock, policy.groups)[0]["lr"] == held for clock in clocks)


def two_rates(outlook: Outlook) -> Doubts:
    """Two learning-rate schedules at one time."""
    for pair in itertools.combinations(outlook.of_kind("lr_scheduler"), 2):
        (_, _, first), (number, _, second) = pair
        if not first.meets(second):
            continue
        yield f"policies[{number}]", f"two learning-rate schedules act at one time; {_winner(outlook, pair)}"


def _winner(outlook: Outlook, pair: tuple[tuple[int, Policy, Occasions], tuple[int, Policy, Occasions]]) -> str:
    """Whose rates hold; ``pair`` in the order of the file."""
    (_, one, first), (_, other, second) = pair
    plateau = next((policy for policy in (one, other) if _is_plateau(outlook, policy)), None)
    if plateau is not None:
        return f"what {plateau.instance!r} lowers, {(other if plateau is one else one).instance!r} writes over"
    by_step = [any(not window.is_epochs for window in own.windows) for own in (first, second)]
    if by_step == [True, False]:  # at the beginning of an epoch, what is written per step is written last
        return f"{one.instance!r}, which is written at every step, wins over this one"
    return f"this one, later in the file, wins over {one.instance!r}"


def _is_plateau(outlook: Outlook, policy: Policy) -> bool:
    return isinstance(outlook.schedule.lr_schedulers[policy.instance], Plateau)


def two_pruners(outlook: Outlook) -> Doubts:
    """Two pruners on one parameter at one time."""
    for (_, one, first), (number, other, second) in itertools.combinations(outlook.of_kind("pruner"), 2):
        taken = set(outlook.selected.get(one.instance, ()))
        shared = [name for name in outlook.selected.get(other.instance, ()) if name in taken]
        if one.instance == other.instance or not shared or not first.meets(second):
            continue
        if any(outlook.schedule.pruners[name].is_edit for name in (one.instance, other.instance)):
            continue  # which removes nothing by itself
        names = shared[0] + (f" and {len(shared) - 1} more" if len(shared) > 1 else "")
        if outlook.schedule.pruners[other.instance].masks == "replace":
            what = "its masks replace those of the other at every cut"
        else:
            what = "their masks combine, and more may be gone than either target says"
        yield f"policies[{number}]", f"prunes {names} at the same time as {one.instance!r}: {what}"


def no_rate_after_cut(outlook: Outlook) -> Doubts:
    """Cuts with (nearly) no learning rate in the whole epoch after them."""
    rates = outlook.largest_rates
    largest = max((rate for rate in rates if rate is not None), default=0.0)
    idle = {
        epoch
        for epoch, rate in enumerate(rates)
        if rate is not None and rate <= NEARLY_ZERO * largest and outlook.is_certain
    }
    idle -= {epoch for _, epochs, _ in idle_stretches(outlook) for epoch in epochs}  # a doubt of their own
    found: dict[int, list[int]] = {}
    for cut in _all_cuts(outlook):
        if cut.epochs and idle.issuperset(cut.epochs):
            found.setdefault(cut.policy, []).append(cut.epochs[0])
    for number, epochs in found.items():
        highest = max(rates[epoch] or 0.0 for epoch in epochs)
        rate = f"at most {highest:.3g}" if highest else "0"
        message = f"cuts at {_listed(epochs)}, and the learning rate is {rate} for the whole epoch after"
        yield f"policies[{number}]", f"{message} (the largest of the run: {largest:.3g})"


def _all_cuts(outlook: Outlook) -> Iterator[Cut]:
    for name in {policy.instance: None for _, policy, _ in outlook.of_kind("pruner")}:
        try:
            yield from outlook.cuts(name)
        except SchedEngineError:  # among the faults
            continue


def no_recovery(outlook: Outlook) -> Doubts:
    """The last cut of a pruner leaves less than an epoch of training."""
    last: dict[str, Cut] = {}
    for cut in _all_cuts(outlook):
        last[outlook.schedule.policies[cut.policy].instance] = cut
    for cut in last.values():
        left = outlook.end - cut.step
        if outlook.is_certain and 0 <= left < outlook.steps:
            what = f"{left} of the {outlook.steps} steps of an epoch" if left else "no training"
            yield f"policies[{cut.policy}]", f"the last cut leaves {what} to recover"


def held_and_not_cut(outlook: Outlook) -> Doubts:
    """Weights that are held back to become small, and that no pruner takes."""
    cutting = {policy.instance for _, policy, _ in outlook.of_kind("pruner")}
    cutting = {one for one in cutting if not outlook.schedule.pruners[one].is_edit}
    taken = {name for one in cutting for name in outlook.selected.get(one, ())}
    for number, policy, _ in outlook.of_kind("pruner"):
        held = [name for name in outlook.selected.get(policy.instance, ()) if name not in taken]
        if outlook.schedule.pruners[policy.instance].is_edit and held:
            names = held[0] + (f" and {len(held) - 1} more" if len(held) > 1 else "")
            yield f"policies[{number}]", f"holds weights of {names} back, which removes none, and no pruner cuts them"


_EARLY = {
    "check_collapse": "looks before {} cuts at the same moment, and does not see what that cut does",
    "recalibrate": "comes before {} cuts at the same moment: its statistics are not of what that cut leaves",
}


def looked_before_cut(outlook: Outlook) -> Doubts:
    """Layers are looked at, or statistics estimated, and a pruner that stands later in the file cuts then too."""
    for number, policy, own in itertools.chain.from_iterable(map(outlook.of_kind, _EARLY)):
        if policy.at is None:
            continue
        looks = {(window.start.step(outlook.steps), window.is_end) for window in own.windows}
        for name, pruner in outlook.schedule.pruners.items():
            cuts = {(step, not opens) for step, opens, order, _ in outlook.instants(name, pruner) if order > number}
            if looks & cuts:
                what = _EARLY[policy.kind].format(repr(name))
                yield f"policies[{number}]", f"{what}; write this policy after the pruner's"


DOUBTS: tuple[Callable[[Outlook], Doubts], ...] = (
    beyond_the_end,
    rate_left_alone,
    two_rates,
    two_pruners,
    no_rate_after_cut,
    no_recovery,
    idle_fine_tuning,
    rewound_before_cut,
    other_curve,
    held_and_not_cut,
    looked_before_cut,
)
"""In the order in which they are told of one line."""
