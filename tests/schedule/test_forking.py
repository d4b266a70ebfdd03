"""What may not happen while replicas of one network train: told with the line, when the file is loaded."""

from __future__ import annotations

import pytest

from schedengine import ScheduleError, dump, load_schedule
from schedengine.schedule.document import Schedule
from schedengine.schedule.forking import Forking
from schedengine.schedule.plan import Timeline
from schedengine.schedule.retraining import Course

TEXT = """\
version: 2
phases:
  - {{name: dense, epochs: 2}}
  - {{name: cycle, epochs: 4, repeat: 2, replicas: 3{phase}}}
  - {{name: last, epochs: 2}}
pruners: {{imp: {{sparsity: {{ramp: geometric, to: 0.9}}{pruner}}}}}
policies:
  - {policy}
"""
CUT = "{pruner: imp, at: cycle}"


def load(policy: str = CUT, phase: str = "", pruner: str = "") -> Schedule:
    return load_schedule(TEXT.format(policy=policy, phase=phase, pruner=pruner))


def refused(match: str, **parts: str) -> None:
    with pytest.raises(ScheduleError, match=match):
        load(**parts)


@pytest.mark.parametrize(
    "policy",
    [
        CUT,
        "{pruner: imp, at: {end: cycle}}",
        "{pruner: imp, at: [2, 6, 11]}",
        "{pruner: imp, during: cycle, every: 4}",
    ],
)
def test_cuts_before_and_after_replicas_are_fine(policy: str) -> None:
    load(policy)


@pytest.mark.parametrize(
    ("policy", "at"),
    [
        ("{pruner: imp, during: run}", "epoch 3"),
        ("{pruner: imp, during: cycle, every: 2}", "epoch 4"),
        ("{pruner: imp, at: [2, 7]}", "epoch 7"),
        ("{pruner: imp, during: cycle, every: 1.5}", "steps from epoch 2 on"),
        ("{pruner: imp, during: cycle, every: 16st}", "steps from epoch 2 on"),
    ],
)
def test_a_cut_inside_a_replica_is_refused_with_its_line(policy: str, at: str) -> None:
    refused(
        rf"<text>:8:5: policies\[0\]: cuts at {at}, inside the replicas of 'cycle'.*'masks: reprune'", policy=policy
    )


def test_what_a_regularizer_keeps_at_0_inside_a_replica_is_refused_with_its_line() -> None:
    penalty = (
        "{ssl: {penalty: group_lasso, granularity: filter, parameters: [a], strength: 0.1, threshold: {max: 0.1}}}"
    )
    policy = f"{CUT}\n  - {{regularizer: ssl, during: cycle, keep_mask: true}}\nregularizers: {penalty}"
    refused(r"policies\[1\].keep_mask: keeps at 0 .* at epoch 6, inside the replicas of 'cycle'", policy=policy)
    load(policy.replace("during: cycle", "during: dense"))


def test_replicas_with_masks_of_their_own_may_cut() -> None:
    load("{pruner: imp, during: run}", phase=", masks: reprune")


def test_choosing_anew_from_dense_weights_waits_for_the_average() -> None:
    schedule = load("{pruner: imp, during: cycle, every: 16st}", pruner=", update: reselect, pruned: dense")
    forking = Forking(Course(schedule, Timeline.of(schedule)))
    assert [forking.resting(fork) for fork in forking.forks] == [[0], [0]]


def test_what_is_learned_cannot_be_averaged() -> None:
    with pytest.raises(ScheduleError, match=r"policies\[0\]: learns what goes inside the replicas"):
        load_schedule(
            TEXT.format(policy="{pruner: imp, during: cycle}", phase="", pruner="").replace(
                "sparsity: {ramp: geometric, to: 0.9}", "update: learned, pruned: {soft_threshold: {init: -5}}"
            )
        )


def test_weights_of_one_of_several_replicas_are_none_to_go_back_to() -> None:
    policy = f"{CUT}\n  - {{rewind: {{weights: 3}}, at: last}}"
    refused(r"policies\[1\].rewind.weights: goes back to the weights of epoch 3, inside the replicas", policy=policy)


def test_replicas_of_replicas_are_refused() -> None:
    text = TEXT.format(policy=CUT, phase="", pruner="").replace(
        "  - {name: last, epochs: 2}", "  - {name: last, replicas: 2, phases: [{name: in, epochs: 1, replicas: 2}]}"
    )
    with pytest.raises(ScheduleError, match=r"phases\[2\]: 'in' lies in 'last', which has replicas itself"):
        load_schedule(text)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (", vary: {seed: [1, 2]}", "'vary' has 2 values of 'seed' for 3 replicas"),
        (", vary: {lr: [1, 2, 3]}", r"write how many times the phase's rates, as in \[0.5x, 1x, 2x\] \(got 3\)"),
        (", vary: {epochs: [1, 2, 3]}", "the longest replica trains 3 epochs, and 'epochs' says 4"),
        (", vary: {}", "'vary' varies nothing"),
        (", vary: {weight_decay: [.inf, 1, 1]}", "finite number"),
        (", masks: reprune, soup: greedy", "'masks: reprune' goes with 'soup: uniform'"),
        (", recalibrate: never", "write all .one pass over the data., {batches: 50}, or none"),
    ],
)
def test_a_phase_that_contradicts_itself_is_refused(phase: str, message: str) -> None:
    refused(message, phase=phase)


def test_what_goes_with_replicas_is_refused_without() -> None:
    with pytest.raises(ScheduleError, match=r"'soup' goes with 'replicas', as in 'replicas: 3'"):
        load_schedule(TEXT.format(policy=CUT, phase=", soup: greedy", pruner="").replace(", replicas: 3", ""))


def test_a_phase_with_replicas_reads_back_as_it_was() -> None:
    schedule = load(phase=", vary: {lr: [0.5x, 1x, 2x], epochs: [2, 3, 4]}, soup: {greedy: loss}, recalibrate: none")
    assert load_schedule(dump(schedule)) == schedule


def test_replicas_that_nothing_tells_apart_are_refused() -> None:
    phase = "{name: cycle, epochs: 2, replicas: 2, vary: {seed: [7, 7]VARY}}"
    text = f"version: 2\nphases: [{phase}]\npolicies: []\n"
    with pytest.raises(ScheduleError, match="gives replicas 0 and 1 the same seed, and nothing else parts them"):
        load_schedule(text.replace("VARY", ""))
    load_schedule(text.replace("VARY", ", lr: [1x, 2x]"))
