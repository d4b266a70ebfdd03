"""What a schedule cannot mean, whichever method it is for: an error with its line and column, before any training.

What masks, gates, edits and thinnings do to each other stands in ``test_sharing.py``; rules of one axis alone (growth,
rounds, retraining rates) stand with it.
"""

from __future__ import annotations

import pytest
from loops import sgd, small_model

from schedengine import ScheduleError, load_schedule

PHASES = "[{name: dense, epochs: 2}, {name: cycle, epochs: 2, repeat: 2}]"
RATES = {"first": "{class: linear, from: 0.1}", "peak": "{class: ALLR}", "replay": "{class: LRW}"}
GATE = "update: learned, pruned: soft_threshold"
GROW = "update: drop_grow, allocation: erk"


def refusal(axes: str, *policies: str, phases: str = PHASES) -> str:
    """A pruner in line 3; policies from line 6 on."""
    lines = "".join(f"  - {{{policy}}}\n" for policy in policies)
    rates = ", ".join(f"{name}: {rate}" for name, rate in RATES.items() if f"lr_scheduler: {name}" in lines)
    section = f"lr_schedulers: {{{rates}}}" if rates else ""
    text = f"version: 2\nphases: {phases}\npruners: {{p: {{{axes}}}}}\n{section}\npolicies:\n{lines}"
    model = small_model()
    with pytest.raises(ScheduleError) as caught:
        load_schedule(text).bind(model, sgd(model), steps_per_epoch=4)
    return str(caught.value).replace("<text>:", "")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        # no target, if and only if it is learned
        (f"{GATE}, sparsity: 0.5", "3:14: pruners.p: 'pruned: soft_threshold' learns what goes, and 'sparsity'"),
        ("pruned: sigmoid_gate", "3:14: pruners.p: 'pruned: sigmoid_gate' learns what goes; write 'update: learned'"),
        ("update: learned, pruned: dense", "3:14: pruners.p: 'update: learned' needs a gate that learns"),
        ("update: reselect", "3:14: pruners.p: needs one of 'sparsity' (a target) and 'threshold' (a limit)"),
        # growth keeps the density of every parameter, and sees gradients before masks do
        ("sparsity: 0.5, update: drop_grow", "3:14: pruners.p: 'update: drop_grow' keeps the density of every"),
        (f"sparsity: {{ramp: cubic, to: 0.5}}, {GROW}", "3:14: pruners.p: 'update: drop_grow' keeps its sparsity"),
        (f"sparsity: 0.5, {GROW}", "3:14: pruners.p: 'update: drop_grow' grows weights without momentum; write 'mask"),
        # where pruned weights train on, their momentum stays
        (f"{GATE}, optimizer_state: mask", "3:14: pruners.p: 'pruned: soft_threshold' trains all weights with their"),
        ("sparsity: 0.5, update: reselect, pruned: dense, optimizer_state: reset", "takes away the momentum that"),
        # targets are absolute, and do not fall where masks shrink
        ("sparsity: {ramp: list, values: [0.5, 0.3]}", "3:14: pruners.p: the list falls ([0.5, 0.3])"),
        ("sparsity: {ramp: cubic, from: 0.6, to: 0.3}", "3:25: pruners.p.sparsity: from 0.6 is above to 0.3"),
        ("sparsity: {linear: 1.0}", "3:34: pruners.p.sparsity.linear: must be less than 1 (got 1.0)"),
        ("sparsity: {linear: -0.1}", "3:34: pruners.p.sparsity.linear: must be at least 0 (got -0.1)"),
        # 54 of 294 weights are the first layer's, and 80 % of the others can go
        ("sparsity: 0.99, allocation: uniform_plus", "3:25: pruners.p.sparsity: allocation uniform_plus: cannot remove "
         "0.99 of these weights with the first dense and the last at most 80% sparse; the limit is 0.6531"),
    ],
)  # fmt: skip
def test_axes_that_contradict_each_other_are_refused_with_their_place(axes: str, message: str) -> None:
    assert message in refusal(axes, "pruner: p, at: cycle")


FIRST, PEAK = "lr_scheduler: first, during: dense", "lr_scheduler: peak, during: cycle"


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        # an adaptive peak needs a cut at its beginning
        ((FIRST, PEAK, "pruner: p, at: start"), "7:5: policies[1]: ALLR takes its peak from a cut at epoch 2"),
        (("pruner: p, at: cycle", "lr_scheduler: peak, during: dense"), "7:5: policies[1]: ALLR takes its peak from a"),
        # weights that go back were there before
        (("pruner: p, at: cycle", "rewind: {weights: 4}, at: cycle"), "7:24: policies[1].rewind.weights: goes back to"),
        (("pruner: p, at: cycle", "rewind: {clock: 4}, at: cycle"), "7:22: policies[1].rewind.clock: goes back to"),
        # a time is in epochs or in steps
        (("pruner: p, during: run, from: 1ep2st",), "6:36: policies[0].from: not a time; write epochs as 3 or"),
        (("pruner: p, during: run, every: 1.5st",), "6:37: policies[0].every: a step is not divisible"),
    ],
)  # fmt: skip
def test_policies_without_what_they_need_are_refused_with_their_place(policies: list[str], message: str) -> None:
    assert message in refusal("sparsity: 0.5", *policies)


def test_a_phase_with_no_epoch_for_every_repeat_is_refused_with_its_place() -> None:
    phases = "[{name: dense, epochs: 2}, {name: cycle, epochs: {total: 1}, repeat: 2}]"
    message = "2:36: phases[1]: a total of 1 epochs cannot be shared by 2 repeats"
    assert message in refusal("sparsity: 0.5", "pruner: p, at: cycle", phases=phases)


def test_a_replay_needs_a_trace_that_is_long_enough() -> None:
    phases = "[{name: dense, epochs: 1}, {name: cycle, epochs: 2, repeat: 2}]"
    found = refusal(
        "sparsity: 0.5", "pruner: p, at: cycle", FIRST, "lr_scheduler: replay, during: cycle", phases=phases
    )
    assert "8:5: policies[2]: LRW goes back 2 epochs, and the trace of the dense training has 1" in found
