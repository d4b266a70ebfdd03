"""Rates of a retraining before it runs: those that the engine then writes, as far as they can be known."""

from __future__ import annotations

from fractions import Fraction

import pytest
from loops import sgd, small_model, train

from schedengine import SchedEngineError, load_schedule
from schedengine.analysis.plan import plan_schedule
from schedengine.analysis.rates import POINTS, Background, Rates, sample
from schedengine.lr.base import Group
from schedengine.lr.trace import Trace
from schedengine.policies.lr import groups_of
from schedengine.schedule.plan import Timeline
from schedengine.schedule.retraining import Course

STEPS = 4


def cycles(rule: str, dense: str = "linear, from: 0.1, warmup: 1") -> str:
    return f"""
version: 2
phases: [{{name: dense, epochs: 4}}, {{name: cycle, epochs: 3, repeat: 2}}]
pruners: {{imp: {{sparsity: {{ramp: geometric, to: 0.75}}}}}}
lr_schedulers: {{dense: {{class: {dense}}}, retrain: {{class: {rule}}}}}
policies:
  - {{pruner: imp, at: cycle}}
  - {{lr_scheduler: dense, during: dense}}
  - {{lr_scheduler: retrain, during: cycle}}
"""


ONE_SHOT = """
version: 2
phases: [{name: retrain, epochs: 3}]
trace: {epochs: 20, lr: {class: linear, from: 0.1}}
pruners: {once: {sparsity: 0.5}}
lr_schedulers: {retrain: {class: ALLR}}
policies:
  - {pruner: once, at: retrain}
  - {lr_scheduler: retrain, during: retrain}
"""
REWOUND = """
version: 2
phases: [{name: dense, epochs: 4}, {name: cycle, epochs: 3, repeat: 2}]
pruners: {imp: {sparsity: {ramp: geometric, to: 0.75}}}
lr_schedulers: {fall: {class: linear, from: 0.1}}
policies:
  - {pruner: imp, at: cycle}
  - {rewind: {weights: 1, clock: 1}, at: cycle}
  - {lr_scheduler: fall, during: [dense, cycle]}
"""


def known_and_written(text: str) -> tuple[list[float], list[float]]:
    """The rates of a whole run: as known before it, and as the engine writes them."""
    model, schedule, seen = small_model(), load_schedule(text), list[float]()
    optimizer = sgd(model)
    scheduler = schedule.bind(model, optimizer, steps_per_epoch=STEPS)
    background = Background.of(Course(schedule, Timeline.of(schedule)), STEPS, None)
    rates = Rates(scheduler.policies, groups_of(optimizer), STEPS, background)
    known = [rates.at(step) for step in range(10 * STEPS)]
    train(scheduler, model, optimizer, after_step=lambda epoch, step: seen.append(optimizer.param_groups[0]["lr"]))
    return known, seen


@pytest.mark.parametrize("rule", ["FT", "LRW", "SLR", "CLR", "LLR", "LLR, warmup: 1"])
def test_rates_that_need_no_cut_are_those_that_the_engine_writes(rule: str) -> None:
    known, written = known_and_written(cycles(rule))
    assert known == written


def test_a_dense_rate_that_only_the_optimizer_knows_is_in_the_trace() -> None:
    known, written = known_and_written(cycles("LLR", dense="cosine"))
    assert known == written


def test_rates_after_a_rewound_clock_are_those_that_the_engine_writes() -> None:
    known, written = known_and_written(REWOUND)
    assert known == written and known[16] == pytest.approx(0.075)  # a quarter of the curve is gone at epoch 1 of 4


def test_a_peak_that_a_cut_decides_is_known_at_most() -> None:
    known, written = known_and_written(cycles("ALLR"))
    assert known[:16] == written[:16]
    assert all(most >= rate for most, rate in zip(known, written)) and known[17] == pytest.approx(0.1)


def test_a_cut_before_the_first_step_decides_the_peak_of_the_weights_given() -> None:
    model, seen = small_model(), list[float]()
    optimizer = sgd(model)
    plan = plan_schedule(ONE_SHOT, model, steps_per_epoch=STEPS, optimizer=optimizer, use_values=True)
    train(load_schedule(ONE_SHOT).bind(model, optimizer, steps_per_epoch=STEPS), model, optimizer,
          after_step=lambda epoch, step: seen.append(optimizer.param_groups[0]["lr"]))  # fmt: skip
    curve = plan.curves.query("kind == 'lr'")["value"].tolist()
    assert curve[:12] == pytest.approx(seen[:12]) and max(seen[:12]) < 0.1


def test_the_training_before_the_run_comes_first() -> None:
    rates = Rates([], [Group(0.1)], STEPS, Background(Trace([0.3, 0.2], STEPS), first_cut=0))
    assert list(rates.past(0).dense.rates) == [0.3, 0.2]


def test_without_any_training_there_is_nothing_to_start_from() -> None:
    with pytest.raises(SchedEngineError, match="none is known: nothing trains before the first cut"):
        Rates([], [], STEPS, Background(first_cut=0)).past(0)


def test_of_a_long_dense_training_ends_and_peak_are_exact() -> None:
    text = cycles("LLR").replace("warmup: 1", "warmup: 50%")
    model, steps = small_model(), 10 * POINTS + 7
    optimizer = sgd(model)
    scheduler = load_schedule(text).bind(model, optimizer, steps_per_epoch=steps)
    asked = []

    class Counting(Rates):
        def at(self, step: int, *arguments: object) -> float:
            asked.append(step)
            return super().at(step)

    dense = (
        Counting(scheduler.policies, groups_of(optimizer), steps, Background(first_cut=4 * steps)).past(4 * steps).dense
    )
    assert (len(dense), dense.epochs, dense.highest) == (4 * steps, Fraction(4), 0.1)
    assert dense.lowest == pytest.approx(0.1 / (2 * steps)) and len(asked) < 3 * POINTS


def test_samples_hold_both_ends_and_all_around_the_largest() -> None:
    found = sample(lambda step: 1.0 if step == 50 else step / 1000, 0, 100, 10)
    assert found[50] == 1.0 and {0, 41, 59, 100} <= found.keys()
