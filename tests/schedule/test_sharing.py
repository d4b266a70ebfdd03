"""What may not be done to the same parameters at one time is refused with its place, before anything is trained."""

from __future__ import annotations

import pytest
from loops import sgd, small_model, train

from schedengine import SchedEngineError, ScheduleError, load_schedule
from schedengine.errors import CheckpointError
from schedengine.scheduler import PruningScheduler

pytestmark = pytest.mark.filterwarnings("ignore:.*no policy uses it")
PHASES = "version: 2\nphases: [{name: a, epochs: 2}, {name: b, epochs: 2}]\n"
PRUNERS = """pruners:
  gate: {update: learned, pruned: {soft_threshold: {init: -2.0, weight_decay: 0.1}}}
  other: {update: learned, pruned: step_threshold}
  cut: {sparsity: 0.9}
  hold: {sparsity: 0.5, update: reselect, pruned: {decay: {strength: 0.01}}}
  passive: {criterion: gradient, sparsity: 0.5, update: reselect, pruned: passive}
regularizers:
  group: {penalty: l1, strength: 0.001, threshold: max}
"""


def bound(*policies: str) -> PruningScheduler:
    """Policies stand in lines 12 and after."""
    lines = "".join(f"  - {{{policy}}}\n" for policy in policies)
    model = small_model()
    return load_schedule(f"{PHASES}{PRUNERS}policies:\n{lines}").bind(model, sgd(model), steps_per_epoch=4)


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (("pruner: gate, during: run", "pruner: cut, at: b"),
         "13:5: policies[1]: 'gate' (soft_threshold) learns what goes of 0.weight, and settles it "
         "at the end of epoch 3"),
        (("pruner: cut, at: start", "pruner: gate, during: b"), "12:5: policies[0]: 'gate'"),
        (("pruner: cut, at: {end: a}", "pruner: gate, during: a"), "12:5: policies[0]: 'gate'"),
        (("pruner: gate, during: run, until: \"6st\"", "pruner: cut, at: \"5st\""), "13:5: policies[1]: 'gate'"),
        (("pruner: gate, during: run", "pruner: hold, during: a"), "13:5: policies[1]: 'gate'"),
        (("pruner: gate, during: run", "regularizer: group, during: a, keep_mask: true"), "13:5: policies[1]: 'gate'"),
        (("pruner: gate, during: a", "pruner: other, during: b"), "13:5: policies[1]: 'gate' (soft_threshold) learns "
         "what goes of 0.weight too; let one of them learn it"),
        (("pruner: gate, during: run", "release: gate, at: b"), "13:15: policies[1].release: takes the masks of "
         "'gate' away at epoch 2, and its first cut is at epoch 4"),
        (("pruner: gate, during: run", "thin: all, at: b"), "13:12: policies[1].thin: 'gate' (soft_threshold) learns "
         "with the sizes that layers have now"),
        (("pruner: cut, at: start", "pruner: hold, during: run", "thin: all, at: b"),
         "14:12: policies[2].thin: 'hold' holds weights back then; thin before it begins, or at its end"),
        (("pruner: hold, during: run", "pruner: passive, during: b"),
         "13:5: policies[1]: edits the gradient of 0.weight at the same time as 'hold'; use one of them"),
        (("pruner: hold, during: a", "release: hold, at: b"), "13:15: policies[1].release: takes the masks of "
         "'hold' away at epoch 2, and no policy cuts with it"),
        (("pruner: gate, during: run, every: 2",), "12:5: policies[0]: soft_threshold learns at every step; remove"),
    ],
    ids=lambda one: one if isinstance(one, str) else " | ".join(one),
)  # fmt: skip
def test_what_would_disturb_what_another_does_is_refused_with_its_place(policies: list[str], message: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        bound(*policies)
    assert message in str(caught.value).replace("<text>:", "")


@pytest.mark.parametrize(
    "policies",
    [
        ("pruner: gate, during: a", "pruner: cut, at: b"),
        ("pruner: gate, during: a", "pruner: cut, at: {end: a}"),
        ("pruner: hold, during: a", "pruner: passive, during: b", "pruner: cut, at: {end: run}"),
    ],
)
def test_one_after_the_other_they_go_together(policies: list[str]) -> None:
    scheduler = bound(*policies)
    context = scheduler._context
    assert context.optimizer is not None
    train(scheduler, context.model, context.optimizer)
    assert scheduler.cuts


def test_masks_of_a_weight_that_is_still_learned_are_refused_by_the_store() -> None:
    scheduler = bound("pruner: gate, during: run")
    scheduler.on_epoch_begin(0)
    for change in (
        lambda: scheduler.masks.set_("cut", "0.weight", scheduler.masks.weight("0.weight") != 0),
        lambda: scheduler.masks.slice_({"0.weight": ()}),
    ):
        with pytest.raises(SchedEngineError, match="0.weight: 'gate' still learns what goes of it"):
            change()


def test_another_schedule_does_not_go_on_in_the_middle_of_learning() -> None:
    scheduler = bound("pruner: gate, during: run")
    scheduler.on_epoch_begin(0)
    model = small_model()
    text = f"{PHASES}pruners: {{cut: {{sparsity: 0.5}}}}\npolicies: [{{pruner: cut, at: b}}]\n"
    other = load_schedule(text).bind(model, sgd(model))
    with pytest.raises(CheckpointError, match="'gate' still learns"):
        other.take_over_(scheduler, 0)
