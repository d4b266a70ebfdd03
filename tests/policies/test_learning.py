"""Learned sparsity in a run: what evaluations see, rounds, folding, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, step_once, train
from torch import nn

from schedengine import EffectError, SchedEngineError, ScheduleError, load_schedule

SOFT = {"update": "learned", "pruned": {"soft_threshold": {"init": -2.0, "weight_decay": 0.1}}}
GATES = {"update": "learned", "pruned": {"sigmoid_gate": {"init": 0.01, "penalty": 0.01}}}
STEPS = {"update": "learned", "pruned": {"step_threshold": {"penalty": 0.05}}}
each = pytest.mark.parametrize("axes", [SOFT, GATES, STEPS])


def bound(axes: dict[str, Any], policy: dict[str, Any] | None = None, **options: Any) -> Any:
    model = small_model()
    optimizer = sgd(model)
    schedule = one_pruner(axes, policy or {"during": "run"}, **options)
    return model, optimizer, schedule.bind(model, optimizer, epochs=None if "phases" in options else 3)


def zeros(model: nn.Module) -> int:
    return sum(int((one == 0).sum()) for one in (model[0].weight, model[5].weight))


@each
def test_the_run_ends_with_plain_weights_and_exact_zeros(axes: dict[str, Any]) -> None:
    model, optimizer, scheduler = bound(axes)
    names = list(model.state_dict())
    train(scheduler, model, optimizer)
    assert list(model.state_dict()) == names
    assert 0 < zeros(model) == scheduler.cuts[-1].removed < 294
    assert not scheduler.masks.is_open("p") and scheduler.masks.mask("5.weight") is not None


@each
def test_what_is_settled_stays_settled_in_later_phases(axes: dict[str, Any]) -> None:
    phases = [{"name": "learn", "epochs": 2}, {"name": "tune", "epochs": 2}]
    model, optimizer, scheduler = bound(axes, {"during": "learn"}, phases=phases)
    train(scheduler, model, optimizer, epochs=range(2))
    found, values = zeros(model), model[5].weight.detach().clone()
    train(scheduler, model, optimizer, epochs=range(2, 4))
    assert zeros(model) == found and not torch.equal(values, model[5].weight)


@each
def test_between_steps_the_model_shows_what_would_be_deployed(axes: dict[str, Any]) -> None:
    model, optimizer, scheduler = bound(axes)
    scheduler.on_epoch_begin(0)
    for step in range(4):
        step_once(scheduler, model, optimizer, 0, step, 4)
    learned = scheduler.policies[0].learned
    kept = torch.cat([scheduler.masks.weight(name).flatten() for name in learned.names])
    shown = torch.cat([model[0].weight.flatten(), model[5].weight.flatten()])
    torch.testing.assert_close(learned.gate.deployed(kept, learned._spread(), learned.share), shown.detach())


def test_thresholds_train_in_a_group_of_their_own_with_their_own_decay() -> None:
    _, optimizer, scheduler = bound(SOFT | {"pruned": {"soft_threshold": {"weight_decay": 0.5, "lr": 2.0}}})
    assert [len(group["params"]) for group in optimizer.param_groups] == [6, 1]
    assert optimizer.param_groups[1]["params"][0] is scheduler.policies[0].learned.values
    assert (optimizer.param_groups[1]["weight_decay"], optimizer.param_groups[1]["lr"]) == (0.5, 0.2)


def test_soft_thresholds_decay_with_the_optimizer_unless_they_are_told_otherwise() -> None:
    model = small_model()
    optimizer = sgd(model, weight_decay=0.03)
    one_pruner({"update": "learned", "pruned": "soft_threshold"}, {"during": "run"}).bind(model, optimizer, epochs=1)
    assert optimizer.param_groups[1]["weight_decay"] == 0.03


def test_a_threshold_by_hand_after_one_step() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -0.2]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    axes = {"update": "learned", "pruned": {"soft_threshold": {"init": 0.0}}}  # sigmoid(0): 1/2
    scheduler = one_pruner(axes, {"during": "run"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 1)
    assert model[0].weight.tolist() == [[0.5, 0.0]]
    model(torch.tensor([[3.0, 4.0]])).sum().backward()  # gradient 3, 4
    scheduler.before_parameter_optimization(0, 0, 1)
    assert model[0].weight.grad.tolist() == [[3.0, 0.0]] and model[0].weight[0, 1].item() == pytest.approx(-0.2)
    optimizer.step()
    scheduler.on_minibatch_end(0, 0, 1)
    # w: 1 - 0.3; s: 0 + 0.1 * sigmoid' (1/4) * 3; shown: 0.7 - sigmoid(0.075)
    assert scheduler.policies[0].learned.values.tolist() == pytest.approx([0.075])
    assert model[0].weight.tolist()[0] == pytest.approx([0.7 - torch.tensor(0.075).sigmoid().item(), 0.0])


def test_rounds_of_gates_go_back_to_earlier_weights_and_begin_closed_where_they_closed() -> None:
    schedule = load_schedule(
        {
            "version": 2,
            "phases": [{"name": "round", "epochs": 2, "repeat": 2}],
            "pruners": {"p": {"update": "learned", "pruned": {"sigmoid_gate": {"init": 0.01, "penalty": 0.01}}}},
            "policies": [{"rewind": {"weights": 1}, "at": 2}, {"pruner": "p", "during": "round"}],
        }
    )
    model = small_model()
    optimizer = sgd(model)
    scheduler = schedule.bind(model, optimizer)
    train(scheduler, model, optimizer, epochs=range(2))
    learned = scheduler.policies[1].learned
    closed = learned.values < 0
    scheduler.on_epoch_begin(2)
    snapshot = scheduler._context.snapshots.of("1")
    assert torch.equal(scheduler.masks.weight("5.weight"), snapshot["5.weight"])
    assert learned.share == 0 and bool((learned.values[closed] < -0.01).all()) and bool((learned.values <= 0.01).all())
    assert learned.values not in optimizer.state
    for step in range(4):
        step_once(scheduler, model, optimizer, 2, step, 4)


def test_a_run_that_learned_nothing_to_remove_ends_with_an_error() -> None:
    model, optimizer, scheduler = bound({"update": "learned", "pruned": {"soft_threshold": {"init": -30.0}}})
    with pytest.raises(EffectError, match="'p' removed nothing"):
        train(scheduler, model, optimizer)


def test_a_copy_of_the_model_gets_the_zeros_of_open_gates() -> None:
    model, optimizer, scheduler = bound(SOFT)
    scheduler.on_epoch_begin(0)
    step_once(scheduler, model, optimizer, 0, 0, 4)
    copy = small_model(seed=1)
    scheduler.apply_masks_(copy)
    assert torch.equal(copy[5].weight == 0, model[5].weight == 0) and bool((copy[5].weight == 0).any())


def test_a_loop_without_the_callback_before_the_update_is_told() -> None:
    model, _, scheduler = bound(SOFT)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 4)
    with pytest.raises(Exception, match="before_parameter_optimization was not called"):
        scheduler.on_minibatch_end(0, 0, 4)
    del model


@pytest.mark.parametrize(
    "axes, policy, message",
    [
        ({"update": "learned"}, {"during": "run"}, "needs a gate that learns"),
        ({"pruned": "soft_threshold"}, {"during": "run"}, "write 'update: learned'"),
        (SOFT | {"sparsity": 0.5}, {"during": "run"}, "remove 'sparsity'"),
        (SOFT | {"granularity": "filter"}, {"during": "run"}, "remove 'granularity'"),
        (SOFT | {"optimizer_state": "reset"}, {"during": "run"}, "remove 'optimizer_state'"),
        (SOFT, {"at": "start"}, "use 'during'"),
        (SOFT, {"during": "run", "keep_mask": True}, "has none; remove it"),
    ],
)
def test_what_learning_cannot_mean_is_refused_with_its_place(
    axes: dict[str, Any], policy: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScheduleError, match=message):
        bound(axes, policy)


def test_a_failed_bind_leaves_the_optimizer_as_it_was() -> None:
    model = small_model()
    optimizer = sgd(model)
    document = {
        "version": 2,
        "pruners": {"p": SOFT, "q": {"sparsity": 0.5, "pruned": "dense", "update": "reselect"}},
        "policies": [{"pruner": "p", "during": "run"}, {"pruner": "q", "at": "start"}],
    }
    with pytest.raises(ScheduleError, match="use the same"):
        load_schedule(document).bind(model, optimizer, epochs=2)
    assert len(optimizer.param_groups) == 1


def test_learned_thresholds_need_the_optimizer() -> None:
    with pytest.raises(ScheduleError, match="pass the optimizer to bind"):
        one_pruner(SOFT, {"during": "run"}).bind(small_model(), epochs=1)


@each
def test_a_loop_without_the_callback_after_the_update_is_told(axes: dict[str, Any]) -> None:
    model, optimizer, scheduler = bound(axes)
    scheduler.on_epoch_begin(0)
    for step in range(2):
        scheduler.on_minibatch_begin(0, step, 4)
        optimizer.zero_grad()
        model(torch.ones(4, 2, 6, 6)).square().mean().backward()
        if step:
            with pytest.raises(SchedEngineError, match="on_minibatch_end was not called"):
                scheduler.before_parameter_optimization(0, step, 4)
        else:
            scheduler.before_parameter_optimization(0, step, 4)
            optimizer.step()
