"""Gradient edits: what is held back, by hand, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import batch, one_pruner, sgd, small_model, step_once, train
from torch import nn

from schedengine import EffectError, ScheduleError, load_schedule
from schedengine.errors import EffectWarning, SchedEngineError
from schedengine.pruners.pruned import Decay

PASSIVE = {"criterion": "gradient", "update": "reselect", "pruned": "passive", "sparsity": 0.5}
DECAY = {"update": "reselect", "pruned": {"decay": {"strength": 0.1}}, "sparsity": 0.5}


def line(*weights: float) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(len(weights), 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([weights]))
    return model


def edited(axes: dict[str, Any], weights: list[float], inputs: list[float], **options: Any) -> list[float]:
    """The gradient after one edit; without an edit it is the inputs."""
    model = line(*weights)
    optimizer = options.pop("optimizer", torch.optim.SGD)(model.parameters(), lr=0.1, **options)
    scheduler = one_pruner(axes, {"during": "run"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 1)
    model(torch.tensor([inputs])).sum().backward()
    scheduler.before_parameter_optimization(0, 0, 1)
    return model[0].weight.grad.flatten().tolist()


def test_only_the_weights_that_matter_most_get_a_gradient() -> None:
    # |w g|: 1, 4, 3, 0.5; the two largest stay active
    assert edited(PASSIVE, [1.0, -2.0, 3.0, 0.5], [1.0, 2.0, 1.0, 1.0]) == [0, 2, 1, 0]


def test_weight_decay_and_momentum_still_move_the_others() -> None:
    model = line(1.0, -2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.5)
    scheduler = one_pruner(PASSIVE, {"during": "run"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 1)
    model(torch.tensor([[1.0, 3.0]])).sum().backward()
    scheduler.before_parameter_optimization(0, 0, 1)
    optimizer.step()
    assert model[0].weight.flatten().tolist() == pytest.approx([1 - 0.1 * 0.5, -2 - 0.1 * (3 - 0.5 * 2)])


def test_only_the_smallest_weights_are_decayed() -> None:
    assert edited(DECAY, [1.0, -2.0, 3.0, 0.5], [1.0, 1.0, 1.0, 1.0]) == pytest.approx([1.1, 1, 1, 1.05])


def test_decay_stands_in_for_the_optimizers() -> None:
    # what the optimizer will add, 0.2 w, is taken out; 0.1 w joins for the two smallest
    found = edited(DECAY, [1.0, -2.0, 3.0, 0.5], [0.0, 0.0, 0.0, 0.0], weight_decay=0.2)
    assert found == pytest.approx([0.1 - 0.2, 0.4, -0.6, 0.05 - 0.1])


def test_decay_is_the_optimizers_unless_it_has_a_strength() -> None:
    axes = DECAY | {"pruned": "decay"}
    assert edited(axes, [1.0, -2.0], [0.0, 0.0], weight_decay=0.2) == pytest.approx([0, 0.4])


@pytest.mark.parametrize("share, factor", [(0.0, 1.0), (0.5, 1.1**15), (0.99, 15.863093), (1.0, 15.863093)])
def test_decay_grows_in_steps_as_published(share: float, factor: float) -> None:
    assert Decay(strength=2.0, growth=1.1).at(share, 0.0) == pytest.approx(2 * factor)


def test_with_everything_active_nothing_changes() -> None:
    plain, axes = small_model(), PASSIVE | {"sparsity": 0.0}
    held = small_model()
    scheduler = one_pruner(axes, {"during": "run"}).bind(held, sgd(held), epochs=1)
    optimizer = sgd(held)
    scheduler.on_epoch_begin(0)
    step_once(scheduler, held, optimizer, 0, 0, 1)
    images, labels = batch(0, 0)
    nn.functional.cross_entropy(plain(images), labels).backward()
    sgd(plain).step()
    assert torch.equal(plain[5].weight, held[5].weight)


def test_with_everything_exempt_nothing_is_decayed() -> None:
    found = edited(DECAY | {"sparsity": 0.0}, [1.0, -2.0], [0.0, 0.0], weight_decay=0.2)
    assert found == pytest.approx([-0.2, 0.4])  # exactly what the optimizer adds again


def test_a_choice_holds_until_the_next_instant() -> None:
    model = line(1.0, -2.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scheduler = one_pruner(PASSIVE, {"during": "run", "every": "2st"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    active = []
    for step, inputs in enumerate([[9.0, 1.0], [1.0, 9.0], [1.0, 9.0]]):
        scheduler.on_minibatch_begin(0, step, 3)
        optimizer.zero_grad()
        model(torch.tensor([inputs])).sum().backward()
        scheduler.before_parameter_optimization(0, step, 3)
        active.append([one != 0 for one in model[0].weight.grad.flatten().tolist()])
        scheduler.on_minibatch_end(0, step, 3)
    assert active == [[True, False], [True, False], [False, True]]


def test_uniform_allocation_holds_back_the_same_share_of_each_parameter() -> None:
    model = small_model()
    optimizer = sgd(model)
    axes = PASSIVE | {"allocation": "uniform", "sparsity": 0.75}
    scheduler = one_pruner(axes, {"during": "run"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 1)
    images, labels = batch(0, 0)
    nn.functional.cross_entropy(model(images), labels).backward()
    scheduler.before_parameter_optimization(0, 0, 1)
    assert [int(model[at].weight.grad.count_nonzero()) for at in (0, 5)] == [54 - 41, 240 - 180]


def test_what_is_held_back_is_cut_by_another_pruner() -> None:
    model = small_model()
    optimizer = sgd(model, weight_decay=0.01)
    pruners = {"hold": PASSIVE, "cut": {"sparsity": 0.5}}
    policies = [{"pruner": "hold", "during": "run"}, {"pruner": "cut", "at": {"end": "run"}}]
    schedule = load_schedule({"version": 2, "pruners": pruners, "policies": policies})
    scheduler = schedule.bind(model, optimizer, epochs=2)
    train(scheduler, model, optimizer)
    assert [cut.pruner for cut in scheduler.cuts] == ["cut"]
    assert int((model[5].weight == 0).sum() + (model[0].weight == 0).sum()) == 147


def test_a_loop_without_the_callback_before_the_update_is_told_at_the_end() -> None:
    model = small_model()
    scheduler = one_pruner(PASSIVE, {"during": "run"}).bind(model, sgd(model), epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 1)
    scheduler.on_minibatch_end(0, 0, 1)
    with pytest.raises(EffectError, match="held nothing back"):
        scheduler.on_epoch_end(0)


def overflown(weights: list[float]) -> Any:
    """A step whose gradients have left the range, and one after it with the same choice."""
    model = line(*weights)
    scheduler = one_pruner(PASSIVE, {"during": "run", "every": "2st"}).bind(model, sgd(model), epochs=1)
    scheduler.on_epoch_begin(0)
    for step, gradient in enumerate(([float("inf"), 1.0], [1.0, 4.0])):
        scheduler.on_minibatch_begin(0, step, 2)
        model[0].weight.grad = torch.tensor([gradient])
        scheduler.before_parameter_optimization(0, step, 2)
        scheduler.on_minibatch_end(0, step, 2)
    return model, scheduler


def test_in_an_update_that_mixed_precision_skips_nothing_is_held_back_and_that_is_told() -> None:
    model, scheduler = overflown([1.0, -2.0])
    assert model[0].weight.grad.tolist() == [[1.0, 4.0]]
    with pytest.warns(EffectWarning, match="'p', epoch 0: gradients of a step were not finite"):
        scheduler.on_epoch_end(0)


def test_weights_that_are_not_finite_end_the_run() -> None:
    _, scheduler = overflown([float("nan"), -2.0])
    with pytest.raises(SchedEngineError, match="weights of 0.weight are not finite"):
        scheduler.on_epoch_end(0)


def test_a_choice_follows_a_model_that_moves() -> None:
    model = line(1.0, -2.0, 3.0)
    scheduler = one_pruner(PASSIVE, {"during": "run", "every": "2st"}).bind(model, sgd(model), epochs=1)
    scheduler.on_epoch_begin(0)
    for step, dtype in enumerate((torch.float32, torch.bfloat16)):
        model.to(dtype)
        scheduler.on_minibatch_begin(0, step, 2)
        model[0].weight.grad = torch.tensor([[1.0, 1.0, 1.0]], dtype=dtype)
        scheduler.before_parameter_optimization(0, step, 2)
        scheduler.on_minibatch_end(0, step, 2)
    assert model[0].weight.grad.tolist() == [[0.0, 0.0, 1.0]]  # half of three, rounded up, is two


@pytest.mark.parametrize(
    "axes, policy, message",
    [
        (PASSIVE | {"update": "shrink"}, {"during": "run"}, "write 'update: reselect'"),
        (PASSIVE | {"granularity": "filter"}, {"during": "run"}, "remove 'granularity'"),
        (PASSIVE | {"allocation": "lamp"}, {"during": "run"}, "use 'allocation: global'"),
        (PASSIVE | {"min_keep": 0}, {"during": "run"}, "remove 'min_keep'"),
        (PASSIVE | {"criterion": "random"}, {"during": "run"}, "use magnitude or gradient"),
        (PASSIVE, {"at": "start"}, "use 'during'"),
    ],
)
def test_what_holding_back_cannot_mean_is_refused_with_its_place(
    axes: dict[str, Any], policy: dict[str, Any], message: str
) -> None:
    model = small_model()
    with pytest.raises(ScheduleError, match=message):
        one_pruner(axes, policy).bind(model, sgd(model), epochs=1)


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.Adafactor])
def test_an_optimizer_that_decays_apart_from_gradients_cannot_be_stood_in_for(optimizer: Any) -> None:
    with pytest.raises(ScheduleError, match=f"{optimizer.__name__} decays all weights by itself"):
        edited(DECAY, [1.0], [1.0], optimizer=optimizer, weight_decay=0.1)
    assert edited(DECAY | {"sparsity": 0.0}, [1.0], [1.0], optimizer=optimizer, weight_decay=0.0) == [1.0]
