"""What retraining and rewinding need of the phases around them, told with its line when a file is loaded or bound."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
from loops import sgd, small_model

from schedengine import ScheduleError, load_schedule
from schedengine.lr.trace import Trace
from schedengine.progress import Moment
from schedengine.schedule.plan import Timeline
from schedengine.schedule.retraining import Course

pytestmark = pytest.mark.filterwarnings("ignore:.*no policy uses it")  # all files here have the same rates
HEAD = """\
version: 2
phases:
  - {name: dense, epochs: 4}
  - {name: cycle, epochs: 2, repeat: 2}
pruners: {p: {sparsity: 0.5}}
lr_schedulers: {dense: {class: linear, from: 0.1}, drops: {class: StepLR, step_size: 1}, again: {class: ALLR}}
policies:
"""
CUT = "{pruner: p, at: cycle}"
DENSE = "{lr_scheduler: dense, during: dense}"
AGAIN = "{lr_scheduler: again, during: cycle}"


def load(*policies: str) -> str:
    return problem(HEAD + "".join(f"  - {policy}\n" for policy in policies))


def problem(text: str) -> str:
    """The first one of a file; empty if there is none."""
    try:
        load_schedule(text)
    except ScheduleError as error:
        return str(error).removeprefix("<text>:").splitlines()[0]
    return ""


# --- what is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policies", [
    (CUT, DENSE, AGAIN),
    (AGAIN, DENSE, CUT),  # cuts on epochs come before rates on steps, wherever they stand
    ("{pruner: p, at: [{end: dense}, 6]}", DENSE, AGAIN),
    ("{pruner: p, during: run, from: 4}", DENSE, AGAIN),
    ("{pruner: p, during: cycle, every: 3st}", DENSE, AGAIN),
    ("{pruner: p, during: run, from: 1, every: 0.5}", DENSE, AGAIN),  # cuts at epoch 4 too
    ("{pruner: p, at: {end: dense}}", "{rewind: {shuffle: masks}, at: {end: dense}}", DENSE),
    (CUT, "{rewind: {weights: 0, clock: 0}, at: cycle}", "{lr_scheduler: dense, during: [dense, cycle]}"),
    (CUT, "{rewind: {clock: 3}, at: cycle}", "{lr_scheduler: drops, during: [dense, cycle]}"),
    (CUT, "{release: p, at: {end: cycle}}", DENSE),
    ("{pruner: p, at: 2}", "{rewind: {weights: 1}, at: 9st}"),  # which of 9 steps and an epoch is first is not known
])  # fmt: skip
def test_a_file_with_all_that_is_needed_loads(policies: tuple[str, ...]) -> None:
    assert load(*policies) == ""


def test_without_phases_it_is_told_when_the_length_is_known() -> None:
    text = "version: 2\nlr_schedulers: {again: {class: ALLR}}\npolicies: [{lr_scheduler: again, during: run}]\n"
    model = small_model()
    assert problem(text) == ""
    with pytest.raises(ScheduleError, match=r"3:12: policies\[0\]: ALLR takes its peak from a cut at epoch 0"):
        load_schedule(text).bind(model, sgd(model), epochs=2)


# --- rules -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ((DENSE, AGAIN), "9:5: policies[1]: ALLR takes its peak from a cut at epoch 4, and no pruner cuts then; let"),
        (("{pruner: p, at: 4}", DENSE, AGAIN),
         "10:5: policies[2]: ALLR takes its peak from a cut at epoch 6, and no pruner cuts then"),
        (("{pruner: p, during: cycle, from: 1}", AGAIN), "9:5: policies[1]: ALLR takes its peak from a cut at epoch 4"),
        ((AGAIN, "{pruner: p, during: cycle, every: 3st}"),
         "8:5: policies[0]: ALLR takes its peak from the cut at epoch 4, whose policy stands after it; swap them"),
        ((CUT, "{lr_scheduler: again, at: cycle}"),
         "9:31: policies[1].at: ALLR fits its rates into a stretch of time; use 'during'"),
        ((CUT, "{lr_scheduler: again, during: cycle, every: 1}"),
         "9:49: policies[1].every: ALLR acts at every step, from the start of its window on; remove 'every'"),
        ((CUT, "{lr_scheduler: again, during: cycle, clock: run}"),
         "9:49: policies[1].clock: ALLR acts at every step, from the start of its window on; remove 'clock'"),
    ],
)  # fmt: skip
def test_a_rule_in_a_place_where_it_has_no_meaning_is_refused(policies: tuple[str, ...], message: str) -> None:
    assert load(*policies).startswith(message)


def bound(*policies: str, rule: str = "LLR", **options: Any) -> str:
    """The first problem of a file on a model."""
    text = HEAD.replace("ALLR", rule) + "".join(f"  - {policy}\n" for policy in policies)
    model = small_model()
    try:
        load_schedule(text).bind(model, sgd(model), **options)
    except ScheduleError as error:
        return str(error).removeprefix("<text>:").splitlines()[0]
    return ""


@pytest.mark.parametrize("rule", ["FT", "LRW", "SLR", "CLR", "LLR", "ALLR"])
def test_a_cut_before_any_training_leaves_a_rule_without_a_trace(rule: str) -> None:
    policies = ("{pruner: p, at: start}", "{lr_scheduler: again, during: dense}")
    assert bound(*policies, rule=rule).startswith(f"9:5: policies[1]: {rule}: its rates come from those of a dense")
    assert bound(*policies, rule=rule, trace=Trace([0.1] * 4, 1)) == ""


def test_a_file_that_says_how_its_weights_were_trained_needs_no_dense_phase() -> None:
    text = HEAD.replace("pruners:", "trace: {epochs: 9, lr: {class: cosine, from: 0.1}}\npruners:")
    policies = "  - {pruner: p, at: start}\n  - {lr_scheduler: again, during: dense}\n"
    model = small_model()
    assert load_schedule(text + policies).bind(model, sgd(model)).trace is None  # whose steps are not known yet


def test_lrw_needs_a_trace_as_long_as_its_phase() -> None:
    policies = ("{pruner: p, at: [1, 4]}", AGAIN)
    expected = "9:5: policies[1]: LRW goes back 2 epochs, and the trace of the dense training has 1; shorten the phase"
    assert bound(*policies, rule="LRW").startswith(expected)
    assert bound(*policies, rule="LRW", trace=Trace([0.1], 1)) == ""


def test_a_warm_up_longer_than_the_phase_is_told_before_training() -> None:
    found = bound(CUT, AGAIN, rule="LLR, warmup: 3")
    assert found == "9:5: policies[1]: a warm-up of 3 does not fit into 2 epochs; shorten it"


# --- the trace of foreign weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trace", "message"), [
    ("{epochs: 3, lr: {class: LLR}}", "LLR does not say its rates alone; use constant, linear, "),
    ("{epochs: 3, lr: {class: ReduceLROnPlateau}}", "ReduceLROnPlateau does not say its rates alone"),
    ("{epochs: 3, lr: {class: ExponentialLR, gamma: 0.5}}", "ExponentialLR does not say its rates alone"),
    ("{epochs: 3, lr: {class: linear}}", "began with is missing; write {class: linear, from: 0.1}"),
    ("{epochs: 0, lr: {class: linear, from: 0.1}}", "trace.epochs: "),
    ("{lr: {class: linear}}", "trace: needs 'epochs'"),
    ("{epochs: 3, lr: {class: linaer}}", "did you mean linear"),
])  # fmt: skip
def test_a_trace_that_is_none_is_refused(trace: str, message: str) -> None:
    found = problem(f"version: 2\ntrace: {trace}\npolicies: []\n")
    assert found.startswith("2:") and message in found


def test_a_trace_whose_curve_does_not_fit_is_told_before_training() -> None:
    text = (
        HEAD.replace("pruners:", "trace: {epochs: 9, lr: {class: cosine, from: 0.1, warmup: 10}}\npruners:")
        + f"  - {CUT}\n"
    )
    model = small_model()
    with pytest.raises(ScheduleError, match=r"5:\d+: trace.lr: a warm-up of 20 ticks does not fit into a span of 18"):
        load_schedule(text).bind(model, sgd(model), steps_per_epoch=2)


# --- rewinding and releasing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        ((CUT, "{rewind: {weights: 5}, at: cycle}"),
         "9:24: policies[1].rewind.weights: goes back to the weights of epoch 5, and does so at epoch 4, before them"),
        ((CUT, "{rewind: {clock: 9}, at: cycle}", "{lr_scheduler: dense, during: [dense, cycle]}"),
         "9:22: policies[1].rewind.clock: goes back to epoch 9 of the rates, and the dense phase ends at epoch 4"),
        ((CUT, "{release: p, at: cycle}"),
         "9:14: policies[1].release: takes the masks of 'p' away at epoch 4, where it has just cut; "
         "name a later phase"),
        ((CUT, "{rewind: {clock: 2}, at: cycle}", DENSE),
         "9:22: policies[1].rewind.clock: acts at epoch 4, and no learning rate's window begins there"),
        ((CUT, "{rewind: {clock: 2}, at: cycle}", AGAIN),
         "9:22: policies[1].rewind.clock: 'again', which begins at epoch 4, fits its rates into the phase by itself"),
        ((CUT, "{rewind: {clock: 2}, at: cycle}", "{lr_scheduler: dense, during: cycle, clock: run}"),
         "9:22: policies[1].rewind.clock: 'dense', which begins at epoch 4, counts from the start of the run"),
        ((CUT, "{rewind: {clock: 3st}, at: cycle}", "{lr_scheduler: drops, during: cycle}"),
         "9:22: policies[1].rewind.clock: 'drops', which begins at epoch 4, counts whole epochs, and the clock is to"),
        ((CUT, "{rewind: {shuffle: masks}, at: 2}"),
         "9:24: policies[1].rewind.shuffle: acts at epoch 2, before the first cut, and there are no masks yet"),
        (("{rewind: {shuffle: masks}, at: cycle}", CUT), "8:24: policies[0].rewind.shuffle: acts at epoch 4, before"),
        ((CUT, "{rewind: {weights: 4}, at: {end: dense}}"),
         "9:24: policies[1].rewind.weights: goes back to the weights of epoch 4, and does so at epoch 4, before them"),
        (("{pruner: p, at: 9st}", "{rewind: {weights: 50%}, at: cycle}"),
         "9:24: policies[1].rewind.weights: is a share of the dense phase, which ends at 9 steps, not at an epoch"),
        ((CUT, "{rewind: {}, at: cycle}"), "9:14: policies[1].rewind: says nothing; give 'weights'"),
        ((CUT, "{rewind: {weights: 1}, during: cycle}"), "9:5: policies[1]: 'rewind' happens at instants; use 'at'"),
        ((CUT, "{release: q, at: cycle}"), "9:15: policies[1].release: there is no pruner 'q' in 'pruners'"),
        ((CUT, "{release: p, during: cycle}"), "9:5: policies[1]: 'release' happens at instants; use 'at'"),
        ((CUT, "{release: p, at: 3}"),
         "9:15: policies[1].release: takes the masks of 'p' away at epoch 3, and its first cut is at epoch 4"),
        (("{release: p, at: cycle}", CUT),
         "8:15: policies[0].release: takes the masks of 'p' away at epoch 4, and its first cut is at epoch 4, which"),
        ((CUT, "{release: p, at: {end: dense}}"), "9:15: policies[1].release: takes the masks of 'p' away at epoch 4"),
        (("{release: p, at: 3}",),
         "8:15: policies[0].release: takes the masks of 'p' away at epoch 3, and no policy cuts with it"),
        ((CUT, "{release: p, rewind: {weights: 0}, at: 3}"), "9:5: policies[1]: a policy has one of pruner, "),
    ],
)  # fmt: skip
def test_going_back_to_what_is_not_there_is_refused(policies: tuple[str, ...], message: str) -> None:
    found = load(*policies)
    assert re.sub(r"^(\d+):\d+", r"\1", found).startswith(re.sub(r"^(\d+):\d+", r"\1", message)), found


def test_a_total_too_small_for_the_repeats_of_a_group_is_refused() -> None:
    inner = "{name: tune, epochs: {total: 5}, repeat: 2}"
    text = f"version: 2\nphases:\n  - {{name: cycle, repeat: 3, phases: [{inner}]}}\npolicies: []\n"
    assert problem(text) == "3:3: phases: a total of 5 epochs cannot be shared by 6 repeats of 'tune'"


# --- on the time axis ------------------------------------------------------------------------------------------------


def course(*policies: str) -> Course:
    schedule = load_schedule(HEAD + "".join(f"  - {policy}\n" for policy in policies))
    return Course(schedule, Timeline.of(schedule))


def test_the_dense_phase_is_all_before_the_first_cut() -> None:
    assert course(CUT).dense == Moment(Fraction(4))
    assert course("{pruner: p, at: [6, 3]}").dense == Moment(Fraction(3))
    assert course(DENSE).dense == Moment(Fraction(8))


def test_shares_in_a_rewinding_are_of_the_dense_phase() -> None:
    found = course(CUT, "{rewind: {weights: 25%, clock: 50%}, at: cycle}", "{lr_scheduler: dense, during: cycle}")
    assert found.snapshots() == {"25%": Moment(Fraction(1))}
    assert found.offsets() == dict.fromkeys([Moment(Fraction(4)), Moment(Fraction(6))], Moment(Fraction(2)))
