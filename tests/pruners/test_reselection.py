"""Choosing anew at the same target: exactly what whole cuts would choose, and none of what they cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, step_once, train
from torch import nn

from schedengine import load_schedule
from schedengine.pruners.choice import Reselection

DENSE = {"update": "reselect", "pruned": "dense", "sparsity": 0.6}


def trained(axes: dict[str, Any], policy: dict[str, Any]) -> tuple[nn.Sequential, Any]:
    model = small_model()
    optimizer = sgd(model, weight_decay=0.01)
    scheduler = one_pruner(axes, policy).bind(model, optimizer, epochs=3)
    train(scheduler, model, optimizer)
    return model, scheduler


@pytest.mark.parametrize("every", ["1st", "3st"])
@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", {"0.weight": 0.2, "5.weight": 0.7}])
def test_it_chooses_what_whole_cuts_choose(monkeypatch: pytest.MonkeyPatch, allocation: Any, every: str) -> None:
    sparsity: Any = {"ramp": "constant"} if isinstance(allocation, dict) else 0.4
    axes = DENSE | {"allocation": allocation, "sparsity": sparsity}
    quick, _ = trained(axes, {"during": "run", "every": every})
    monkeypatch.setattr(Reselection, "renew_", lambda *_: False)
    whole, scheduler = trained(axes, {"during": "run", "every": every})
    assert len(scheduler.cuts) > 1
    assert all(torch.equal(one, other) for one, other in zip(quick.parameters(), whole.parameters()))


def test_one_record_stands_for_all_cuts_at_one_target() -> None:
    sparsity = {"ramp": "cubic", "to": 0.8, "every": 1}
    _, scheduler = trained(DENSE | {"sparsity": sparsity}, {"during": "run", "every": "2st"})
    assert [(cut.epoch, cut.number, cut.count) for cut in scheduler.cuts] == [(0, 2, 6), (1, 4, 6), (2, 6, 6)]


def test_policies_of_one_pruner_after_each_other_know_each_others_targets() -> None:
    phases = [{"name": "a", "epochs": 2}, {"name": "b", "epochs": 2}]
    policies = [{"pruner": "p", "during": "a", "every": "2st"}, {"pruner": "p", "during": "b", "every": "1st"}]
    pruner = DENSE | {"sparsity": {"ramp": "linear", "to": 0.8, "every": 1}}
    schedule = load_schedule({"version": 2, "phases": phases, "pruners": {"p": pruner}, "policies": policies})
    model = small_model()
    optimizer = sgd(model)
    scheduler = schedule.bind(model, optimizer)
    train(scheduler, model, optimizer)
    # 0.2, 0.4, 0.6, 0.8 of 294, from epoch to epoch; 2 + 2 + 4 + 4 choices
    assert [(cut.removed, cut.number) for cut in scheduler.cuts] == [(59, 2), (118, 4), (176, 8), (235, 12)]


def test_a_period_of_one_step_and_a_constant_target_is_dnw() -> None:
    """Another mask at every step, always of the same size; the trained weights stay dense."""
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner(DENSE, {"during": "run", "every": "1st"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    masks = []
    for step in range(4):
        step_once(scheduler, model, optimizer, 0, step, 4)
        masks.append(scheduler.masks.mask("5.weight").clone())
        ranked = torch.cat([scheduler.masks.weight(name).abs().flatten() for name in ("0.weight", "5.weight")])
        assert int((ranked == 0).sum()) == 0
    assert len({mask.numpy().tobytes() for mask in masks}) > 1


def test_what_cannot_be_chosen_quickly_is_cut_as_a_whole() -> None:
    for axes in ({"granularity": "filter", "parameters": "0.weight"}, {"criterion": "random"}, {"pruned": "hidden"}):
        _, scheduler = trained(DENSE | axes, {"during": "run", "every": "2st"})
        assert len(scheduler.cuts) == 6


def test_weights_that_are_not_finite_are_told_at_the_end_of_the_epoch() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner(DENSE, {"during": "run", "every": "1st"}).bind(model, optimizer, epochs=2)
    scheduler.on_epoch_begin(0)
    step_once(scheduler, model, optimizer, 0, 0, 4)
    scheduler.masks._masters["5.weight"][0, 0] = float("nan")
    scheduler.on_minibatch_begin(0, 1, 4)
    with pytest.raises(Exception, match="'p': found scores that are not finite"):
        scheduler.on_epoch_end(0)
