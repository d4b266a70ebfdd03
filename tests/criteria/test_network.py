"""What is measured on the side leaves no trace; what is missing is named."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from loops import batch, one_pruner, small_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from schedengine import PruningScheduler
from schedengine.criteria.network import Network
from schedengine.criteria.snip import Snip
from schedengine.errors import EffectError, SchedEngineError
from schedengine.selection import ParameterTable

CRITERIA: list[Any] = ["snip", "grasp", "synflow", "fisher", "obs"]
WITH_LOSS = ["snip", "grasp", "fisher", "obs"]
LOSS = nn.functional.cross_entropy


def bound(criterion: Any, model: nn.Module, *, at: Any = 0, **given: Any) -> PruningScheduler:
    return one_pruner({"criterion": criterion, "sparsity": 0.5}, {"at": at}).bind(model, epochs=2, **given)


def with_dropout() -> nn.Sequential:
    model = small_model()
    model.insert(3, nn.Dropout())
    model[0].eval()  # a flag of its own
    return model


def shuffled() -> DataLoader[Any]:
    images, labels = (torch.cat(parts) for parts in zip(*(batch(0, step) for step in range(3))))
    return DataLoader(TensorDataset(images, labels), batch_size=4, shuffle=True)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_measuring_leaves_the_model_and_the_generators_alone(criterion: str) -> None:
    model, data = with_dropout(), shuffled()
    scheduler = bound(criterion, model, data=data, loss=LOSS, example_inputs=torch.zeros(2, 2, 6, 6))
    before = {name: one.clone() for name, one in model.state_dict().items()}
    modes, generator = [one.training for one in model.modules()], torch.get_rng_state()
    scheduler.on_epoch_begin(0)
    masks = {name: scheduler.masks.in_force(name) for name in scheduler.masks.names}
    for name, one in model.state_dict().items():
        assert torch.equal(one, before[name] * masks[name] if name in masks else before[name]), name
    assert [one.training for one in model.modules()] == modes and torch.equal(torch.get_rng_state(), generator)
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_same_network_and_data_give_the_same_masks(criterion: str) -> None:
    found = []
    for seed in (1, 2):
        model, images = with_dropout(), [batch(0, step) for step in range(3)]
        torch.manual_seed(seed)
        scheduler = bound(criterion, model, data=images, loss=LOSS)
        scheduler.on_epoch_begin(0)
        found.append({name: scheduler.masks.in_force(name) for name in scheduler.masks.names})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("criterion", WITH_LOSS)
def test_a_loss_that_is_missing_is_named(criterion: str) -> None:
    with pytest.raises(EffectError, match=f"'p', epoch 0: no cut: criterion {criterion} needs the loss function: pass"):
        bound(criterion, small_model(), data=[batch(0, 0)]).on_epoch_begin(0)


@pytest.mark.parametrize("criterion", WITH_LOSS)
def test_data_that_are_missing_are_named_epochs_before_the_cut(criterion: str) -> None:
    with pytest.raises(EffectError, match="needs data: pass data=, batches of"):
        bound(criterion, small_model(), at=1, loss=LOSS).on_epoch_begin(0)


def test_after_the_last_cut_nothing_is_asked_for() -> None:
    model = small_model()
    scheduler = bound("snip", model, data=[batch(0, 0)], loss=LOSS)
    scheduler.on_epoch_begin(0)
    scheduler.on_epoch_end(0)
    resumed = bound("snip", model)
    resumed.load_state_dict(scheduler.state_dict())
    resumed.on_epoch_begin(1)


def test_data_that_are_used_up_are_an_error() -> None:
    with pytest.raises(EffectError, match="gave no batch; pass to bind.. what can be gone through more than once"):
        bound("snip", small_model(), data=iter([]), loss=LOSS).on_epoch_begin(0)


def test_fewer_batches_than_asked_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        bound("snip", small_model(), data=[batch(0, 0)] * 3, loss=LOSS).on_epoch_begin(0)
    assert "the data gave 3 batches of the 10 that were asked for" in caplog.text


@pytest.mark.parametrize(
    ("data", "what"), [([torch.ones(2, 2, 6, 6)], "a Tensor"), ([[torch.ones(2, 2, 6, 6)]], "a list")]
)
def test_batches_without_targets_are_an_error(data: Any, what: str) -> None:
    with pytest.raises(SchedEngineError, match=f"a batch of data= is {what}; a loss needs"):
        bound("snip", small_model(), data=data, loss=LOSS).on_epoch_begin(0)


def test_a_loss_of_every_example_is_an_error() -> None:
    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        return LOSS(outputs, targets, reduction="none")

    with pytest.raises(SchedEngineError, match=r"shape \(4,\); it must give the mean loss of a batch, a scalar"):
        bound("snip", small_model(), data=[batch(0, 0)], loss=each).on_epoch_begin(0)


def test_a_layer_that_the_network_does_not_use_is_named() -> None:
    model = small_model()
    model.aside = nn.Linear(2, 2)  # type: ignore[assignment]
    model.forward = lambda images: nn.Sequential(*list(model)[:6])(images)  # type: ignore[method-assign]
    with pytest.raises(EffectError, match="aside.weight takes no part in what the network makes"):
        bound("snip", model, data=[batch(0, 0)], loss=LOSS).on_epoch_begin(0)


def test_weights_that_a_round_left_out_are_zero_in_the_next() -> None:
    model, keep = small_model(), torch.rand(5, 48) > 0.5
    table, given = ParameterTable(model), {"data": [batch(0, 0)], "loss": LOSS}
    found = Snip().measure(Network(model, table, ["0.weight"], **given))["0.weight"]  # type: ignore[arg-type]
    names = ["0.weight", "5.weight"]
    masked = Network(model, table, names, keep={"5.weight": keep}, **given)  # type: ignore[arg-type]
    other = Snip().measure(masked)["0.weight"]
    model[5].weight.data.mul_(keep)  # type: ignore[union-attr, operator]
    expected = Snip().measure(Network(model, table, ["0.weight"], **given))["0.weight"]  # type: ignore[arg-type]
    assert torch.equal(other, expected) and not torch.equal(other, found)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_normalisation_runs_in_the_mode_that_is_asked_for(mode: Any) -> None:
    model, (images, labels) = small_model().train(mode == "train"), batch(0, 0)
    network = Network(model, ParameterTable(model), ["0.weight"], data=[(images, labels)], loss=LOSS)
    found = Snip(mode=mode).measure(network)["0.weight"]
    LOSS(model(images), labels).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, model[0].weight.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_wrapped_model_is_measured_as_the_bare_one(criterion: str) -> None:
    found = []
    for wrap in (nn.Identity, nn.DataParallel):
        model = small_model()
        scheduler = bound(criterion, wrap(model) if wrap is nn.DataParallel else model, data=[batch(0, 0)], loss=LOSS)
        scheduler.on_epoch_begin(0)
        found.append(scheduler.masks.in_force("5.weight"))
    assert torch.equal(*found)


def test_a_tied_weight_is_measured_once() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 72, bias=False), nn.Tanh(), nn.Linear(72, 72, bias=False))
    model[3].weight = model[1].weight
    images, labels = batch(0, 0)
    network = Network(model, ParameterTable(model), ["1.weight"], data=[(images, labels)], loss=LOSS)
    found = Snip().measure(network)["1.weight"]
    LOSS(model(images), labels).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(found, model[1].weight.grad)  # type: ignore[arg-type]
