"""What a step costs: counted, not timed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from schedengine import PruningScheduler, load_schedule

SYNCHRONISING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "_to_copy", "unique")


class Operations(TorchDispatchMode):
    """Records the name of every operation that is dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def deep_model(layers: int) -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers)))


def step_operations(scheduler: PruningScheduler, model: nn.Module) -> list[str]:
    """What the six callbacks dispatch in a step where no policy is due; gradients are there."""
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 10)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    loss = torch.zeros((), requires_grad=True)
    scheduler.before_backward_pass(0, 0, 10, loss)
    scheduler.before_parameter_optimization(0, 0, 10)
    scheduler.on_minibatch_end(0, 0, 10)
    with Operations() as operations:
        scheduler.on_minibatch_begin(0, 1, 10)
        scheduler.before_backward_pass(0, 1, 10, loss)
        scheduler.before_parameter_optimization(0, 1, 10)
        scheduler.on_minibatch_end(0, 1, 10)
    return operations.names


@pytest.mark.parametrize("pruned", ["zero", "hidden", "dense", "forward"])
@pytest.mark.parametrize("layers", [3, 60])
def test_a_step_costs_at_most_four_operations_whatever_the_number_of_layers(pruned: str, layers: int) -> None:
    model = deep_model(layers)
    axes = {"sparsity": 0.5, "pruned": pruned, "mask_gradients": True}
    scheduler = one_pruner(axes, {"at": "start"}).bind(model, sgd(model), epochs=1)
    operations = step_operations(scheduler, model)
    assert 1 <= len(operations) <= 4
    assert not [name for name in operations if any(word in name for word in SYNCHRONISING)]


def test_masks_of_mode_zero_cost_one_operation() -> None:
    model = deep_model(20)
    scheduler = one_pruner({"sparsity": 0.5}, {"at": "start"}).bind(model, sgd(model), epochs=1)
    assert step_operations(scheduler, model) == ["aten::_foreach_mul_.List"]


def test_a_step_without_masks_costs_nothing() -> None:
    model = deep_model(3)
    scheduler = one_pruner({"sparsity": 0.5}, {"at": 5}).bind(model, sgd(model), epochs=9)
    assert step_operations(scheduler, model) == []


def test_learning_rates_are_written_without_waiting_for_the_device() -> None:
    model = small_model()
    schedule = load_schedule(
        {
            "version": 2,
            "lr_schedulers": {"lr": {"class": "linear"}},
            "policies": [{"lr_scheduler": "lr", "during": "run"}],
        }
    )
    scheduler = schedule.bind(model, sgd(model), epochs=1)
    assert step_operations(scheduler, model) == []


def test_two_dtypes_take_one_operation_each() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4).to(torch.bfloat16))
    scheduler = one_pruner({"sparsity": 0.5, "allocation": "uniform"}, {"at": "start"}).bind(
        model, sgd(model), epochs=1
    )
    assert step_operations(scheduler, model) == ["aten::_foreach_mul_.List"] * 2


def test_a_cut_copies_a_weight_in_another_layout_a_few_times_only() -> None:
    model = nn.Conv2d(600, 600, 3, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    scheduler = load_schedule(
        {"version": 2, "pruners": {"p": {"sparsity": 0.5}}, "policies": [{"pruner": "p", "at": "start"}]}
    ).bind(model, epochs=1)
    with Operations() as operations:
        scheduler.on_epoch_begin(0)
    assert operations.names.count("aten::clone") <= 4


RETRAINING = ["FT", "LRW", "SLR", "CLR", "LLR", "ALLR", "LayerwiseALLR"]


def retraining(rule: str, **options: Any) -> tuple[PruningScheduler, nn.Module]:
    """Three layers, cut at the start of a retraining of weights that were trained before."""
    model = deep_model(3)
    document = {
        "version": 2,
        "trace": {"epochs": 4, "lr": {"class": "linear", "from": 0.1}},
        "pruners": {"p": {"sparsity": 0.5}},
        "lr_schedulers": {"again": {"class": rule}},
        "policies": [{"pruner": "p", "at": "start"}, {"lr_scheduler": "again", "during": "run"}],
    }
    return load_schedule(document).bind(model, sgd(model, **options), epochs=1), model


@pytest.mark.parametrize("rule", RETRAINING)
def test_a_retraining_rule_adds_nothing_to_a_step(rule: str) -> None:
    scheduler, model = retraining(rule)
    assert step_operations(scheduler, model) == ["aten::_foreach_mul_.List"]


@pytest.mark.parametrize("rule", RETRAINING)
def test_a_retraining_rule_fills_a_tensor_rate_without_reading_it(rule: str) -> None:
    scheduler, model = retraining(rule, lr=torch.tensor(0.1))
    operations = step_operations(scheduler, model)
    assert operations == ["aten::fill_.Scalar", "aten::_foreach_mul_.List"]


def test_the_trace_of_a_dense_training_costs_a_step_nothing() -> None:
    model = deep_model(3)
    scheduler = load_schedule({"version": 2, "policies": []}).bind(model, sgd(model), epochs=1)
    assert step_operations(scheduler, model) == []


def test_the_trace_of_a_tensor_rate_is_a_copy_of_one_number_on_the_device() -> None:
    model = deep_model(3)
    scheduler = load_schedule({"version": 2, "policies": []}).bind(model, sgd(model, lr=torch.tensor(0.1)), epochs=1)
    operations = step_operations(scheduler, model)
    assert operations == ["aten::detach", "aten::clone"]


def test_snapshots_cost_a_step_nothing_where_none_is_due() -> None:
    model = deep_model(3)
    policies = [{"pruner": "p", "at": "start"}, {"rewind": {"weights": 0}, "at": "start"}]
    schedule = load_schedule({"version": 2, "pruners": {"p": {"sparsity": 0.5}}, "policies": policies})
    scheduler = schedule.bind(model, sgd(model), epochs=1)
    assert step_operations(scheduler, model) == ["aten::_foreach_mul_.List"]


ANEW = {"update": "reselect", "sparsity": 0.5}
AT_EVERY_STEP: dict[str, dict[str, Any]] = {
    "dnw": {**ANEW, "pruned": "dense"},
    "gsm": {**ANEW, "pruned": "passive", "criterion": "gradient"},
    "lc": {**ANEW, "pruned": {"decay": {"strength": 0.1}}},
    "str": {"update": "learned", "pruned": "soft_threshold"},
    "dst": {"update": "learned", "pruned": "step_threshold"},
    "cs": {"update": "learned", "pruned": "sigmoid_gate"},
}


def shapeless(names: list[str]) -> list[str]:
    """Without what only gives a tensor another shape: no kernel is launched for it."""
    views = ("view", "reshape", "detach", "alias", "split", "slice", "select", "unsqueeze", "expand", "_unsafe_view")
    return [name for name in names if not any(f"::{word}" in name for word in views)]


@pytest.mark.parametrize("name", AT_EVERY_STEP)
def test_what_is_done_at_every_step_launches_as_much_for_three_layers_as_for_sixty(name: str) -> None:
    counts = []
    for layers in (3, 60):
        model = deep_model(layers)
        policy = {"during": "run", "every": "1st"} if name == "dnw" else {"during": "run"}
        scheduler = one_pruner(AT_EVERY_STEP[name], policy).bind(model, sgd(model), epochs=1, steps_per_epoch=10)
        operations = shapeless(step_operations(scheduler, model))
        waiting = [word for word in SYNCHRONISING if word != "_to_copy"]  # to another dtype here, not device
        assert not [one for one in operations if any(word in one for word in waiting)]
        counts.append(len(operations))
    assert counts[0] == counts[1] <= 110, counts
