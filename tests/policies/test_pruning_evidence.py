"""Cuts that look at more than weights: when the network is watched, and what happens where it was not."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from loops import batch, one_pruner, sgd, small_model, step_once, train
from torch import Tensor, nn

from schedengine import PruningScheduler
from schedengine.criteria.evidence import Evidence
from schedengine.errors import EffectError, EffectWarning, SchedEngineError, ScheduleError
from schedengine.pruners.bound import BoundPruner
from schedengine.selection import ParameterTable

CONV = "0.weight"
AXES: dict[str, Any] = {"parameters": CONV, "granularity": "filter", "sparsity": 0.34, "allocation": "uniform"}
CRITERIA = ["gradient", "apoz", "activation_mean", "norm_scale", {"magnitude": {"folded": True}}]


def bound(criterion: Any, model: nn.Module, *, at: Any = 1, epochs: int = 3, **given: Any) -> PruningScheduler:
    schedule = one_pruner({**AXES, "criterion": criterion, **given.pop("axes", {})}, {"at": at})
    return schedule.bind(model, sgd(model), epochs=epochs, **given)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def lost(scheduler: PruningScheduler) -> list[int]:
    """The filters that are gone."""
    mask = scheduler.masks.mask(CONV)
    assert mask is not None
    return [at for at, filter in enumerate(mask) if not filter.any()]


def outputs(model: nn.Sequential, images: Tensor) -> Tensor:
    """After the normalisation and a ReLU; the first two modules are looked at by no hook."""
    with torch.no_grad():
        return nn.functional.relu(model[1].forward(model[0].forward(images)))


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_hooks_are_there_for_the_epoch_before_the_cut_only(criterion: Any) -> None:
    model = small_model()
    scheduler = bound(criterion, model, at=2, epochs=4)
    found = []
    for epoch in scheduler.epochs():
        train(scheduler, model, sgd(model), epochs=range(epoch, epoch + 1))
        found.append(hooks(model))
    assert found == [0, 0 if criterion == "gradient" else 2, 0, 0]
    assert len(lost(scheduler)) == 1


def test_the_filter_goes_that_gave_most_zeros_in_the_last_evaluation() -> None:
    model = small_model()
    scheduler, optimizer = bound("apoz", model), sgd(model)
    scheduler.on_epoch_begin(0)
    for step in range(4):
        step_once(scheduler, model, optimizer, 0, step, 4)
    model.eval()
    images = [batch(7, step)[0] for step in range(3)]
    for one in images:
        model(one)
    scheduler.on_epoch_end(0)
    zeros = sum((outputs(model, one) == 0).sum((0, 2, 3)) for one in images)
    assert isinstance(zeros, Tensor) and len(zeros.unique()) == 3
    scheduler.on_epoch_begin(1)
    assert lost(scheduler) == [int(zeros.argmax())]


def test_without_an_evaluation_the_training_passes_count() -> None:
    model = small_model()
    scheduler, optimizer, total = bound("activation_mean", model), sgd(model), torch.zeros(3)

    def add(module: nn.Module, given: Any, made: Tensor) -> None:
        total.add_(made.detach().relu().sum((0, 2, 3)))

    handle = model[1].register_forward_hook(add)
    train(scheduler, model, optimizer, epochs=range(1))
    handle.remove()
    scheduler.on_epoch_begin(1)
    assert lost(scheduler) == [int(total.argmin())]


@pytest.mark.parametrize("at", [{"end": "run"}, "6st", "1.5ep"])
def test_a_cut_at_the_end_or_inside_an_epoch_has_its_statistics(at: Any) -> None:
    model = small_model()
    scheduler = bound("apoz", model, at=at, epochs=2, steps_per_epoch=4)
    train(scheduler, model, sgd(model))
    assert len(scheduler.cuts) == 1 and hooks(model) == 0


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
def test_a_cut_at_every_epoch_and_step_has_its_facts(criterion: Any) -> None:
    model = small_model()
    axes = {**AXES, "criterion": criterion, "sparsity": {"ramp": "linear", "to": 0.6}}
    schedule = one_pruner(axes, {"during": "run", "from": 1, "every": "2st"})
    scheduler = schedule.bind(model, sgd(model), epochs=3, steps_per_epoch=4)
    train(scheduler, model, sgd(model))
    assert len(scheduler.cuts) == 4 and len(lost(scheduler)) == 2


@pytest.mark.parametrize(
    ("criterion", "said"),
    [
        ("gradient", "has no gradient; cut after the first step"),
        ("apoz", "has no statistics of its outputs; cut after the first epoch, or pass data to bind"),
        ("norm_scale", "is followed by no batch normalisation that could be found"),
    ],
)
def test_a_cut_before_anything_is_known_is_an_error_that_says_what_to_do(criterion: str, said: str) -> None:
    scheduler = bound(criterion, small_model(), at="start")
    with pytest.raises(EffectError, match=f"pruner 'p', epoch 0: no cut: 0.weight {said}"):
        scheduler.on_epoch_begin(0)


def test_where_effects_are_warnings_there_is_no_cut() -> None:
    scheduler = bound("apoz", small_model(), at="start", axes={"optional": True})
    with pytest.warns(EffectWarning, match="no cut"):
        scheduler.on_epoch_begin(0)
    assert not scheduler.cuts and not scheduler.masks.names


@pytest.mark.parametrize("criterion", CRITERIA[1:], ids=str)
def test_a_cut_at_the_start_looks_at_the_data(criterion: Any) -> None:
    model, seen = small_model().train(), []
    generator = torch.Generator().manual_seed(1)
    images: Any = [(batch(0, at)[0][0], at) for at in range(30)]
    data = torch.utils.data.DataLoader(images, batch_size=3, shuffle=True, generator=generator)
    handle = model[0].register_forward_hook(lambda *_: seen.append(1))
    before = [torch.get_rng_state(), generator.get_state(), *(buffer.clone() for buffer in model.buffers())]
    scheduler = bound(criterion, model, at="start", data=data)
    scheduler.on_epoch_begin(0)
    handle.remove()
    after = [torch.get_rng_state(), generator.get_state(), *model.buffers()]
    assert all(one.equal(other) for one, other in zip(before, after, strict=True))
    assert len(lost(scheduler)) == 1 and model.training and hooks(model) == 0
    assert len(seen) == (8 if criterion in ("apoz", "activation_mean") else 1)


def test_as_many_batches_are_looked_at_as_the_criterion_says() -> None:
    model, data = small_model(), [batch(0, step)[0] for step in range(5)]
    scheduler = bound({"apoz": {"batches": 2}}, model, at="start", data=data)
    zeros = sum((outputs(model.eval(), one) == 0).sum((0, 2, 3)) for one in data[:2])
    scheduler.on_epoch_begin(0)
    assert isinstance(zeros, Tensor) and lost(scheduler) == [int(zeros.argmax())]


def test_example_inputs_show_which_normalisation_follows() -> None:
    model = small_model()
    model[1].weight.data = torch.tensor([1.0, -0.1, 0.5])
    scheduler = bound("norm_scale", model, at="start", example_inputs=torch.zeros(1, 2, 6, 6))
    scheduler.on_epoch_begin(0)
    assert lost(scheduler) == [1]


def test_the_scales_of_all_layers_compete() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model[1].weight.data = torch.tensor([0.1, 0.9, 0.8])
    model[3].weight.data = torch.tensor([0.7, 0.2, 0.3, 0.6])
    axes = {"criterion": "norm_scale", "granularity": "filter", "allocation": "global", "sparsity": 0.45}
    scheduler = one_pruner(axes, {"at": "start"}).bind(model, epochs=1, example_inputs=torch.zeros(1, 2, 4, 4))
    scheduler.on_epoch_begin(0)  # of 18 weights 8: 2 of the first layer's filter, 3 + 3 of the second's
    first, second = scheduler.masks.in_force("0.weight"), scheduler.masks.in_force("2.weight")
    assert first[:, 0, 0, 0].tolist() == [False, True, True]
    assert second[:, 0, 0, 0].tolist() == [True, False, False, True]


def test_folding_takes_what_follows_and_leaves_the_others_as_they_are() -> None:
    model = small_model()
    model[1].weight.data = torch.tensor([1.0, 1e-3, 1.0])
    axes = {**AXES, "parameters": [CONV, "5.weight"], "criterion": {"magnitude": {"folded": True}}}
    scheduler = one_pruner(axes, {"at": "start"}).bind(model, epochs=1, example_inputs=torch.zeros(1, 2, 6, 6))
    scheduler.on_epoch_begin(0)
    rows = scheduler.masks.in_force("5.weight").any(dim=1)
    sizes = model[5].weight.detach().abs().sum(dim=1)
    assert lost(scheduler) == [1]
    assert float(sizes.masked_fill(rows, 9).min()) == float(sizes.min()) or rows.all()


def test_folding_with_nothing_to_fold_is_an_error() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU())
    scheduler = bound({"magnitude": {"folded": True}}, model, at="start", example_inputs=torch.zeros(1, 2, 6, 6))
    with pytest.raises(EffectError, match="followed by no batch normalisation"):
        scheduler.on_epoch_begin(0)


@pytest.mark.parametrize("sets_to_none", [True, False])
def test_a_loop_that_clears_gradients_after_its_step_is_understood_or_told(sets_to_none: bool) -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner({**AXES, "criterion": "gradient"}, {"at": 1}).bind(model, optimizer, epochs=2)

    def clear(epoch: int, step: int) -> None:
        optimizer.zero_grad(set_to_none=sets_to_none)

    train(scheduler, model, optimizer, epochs=range(1), after_step=clear)
    if sets_to_none:
        scheduler.on_epoch_begin(1)
        assert len(lost(scheduler)) == 1
    else:
        with pytest.raises(EffectError, match="has no gradient"):
            scheduler.on_epoch_begin(1)


@pytest.mark.parametrize("criterion", CRITERIA, ids=str)
@pytest.mark.parametrize("stop", ["between", "within"])
def test_a_run_killed_before_the_cut_cuts_the_same(criterion: Any, stop: str) -> None:
    def resumed(steps: int, epochs: int) -> list[int]:
        model = small_model()
        scheduler, optimizer = bound(criterion, model), sgd(model)
        scheduler.on_epoch_begin(0)
        for step in range(4):
            if step == steps:
                model, optimizer, scheduler = anew(model, optimizer, scheduler)
            step_once(scheduler, model, optimizer, 0, step, 4)
        scheduler.on_epoch_end(0)
        if epochs:
            model, optimizer, scheduler = anew(model, optimizer, scheduler)
        scheduler.on_epoch_begin(1)
        return lost(scheduler)

    def anew(*old: Any) -> tuple[nn.Sequential, torch.optim.SGD, PruningScheduler]:
        file = io.BytesIO()
        torch.save([part.state_dict() for part in old], file)
        file.seek(0)
        model = small_model(9)
        new = model, sgd(model), bound(criterion, model)
        for part, state in zip(new, torch.load(file, weights_only=True), strict=True):
            part.load_state_dict(state)  # type: ignore[attr-defined]
        return new

    assert resumed(*{"between": (-1, 1), "within": (2, 0)}[stop]) == resumed(-1, 0)


def test_statistics_are_taken_for_outputs_only() -> None:
    schedule = one_pruner({**AXES, "criterion": "apoz", "granularity": "channel"}, {"at": 1})
    pruner = BoundPruner("p", schedule.pruners["p"], [CONV], None, lenient=False)
    with pytest.raises(ScheduleError, match=r"criterion: 0.weight: it scores the outputs of a layer.*use granularity"):
        pruner.check_layers(ParameterTable(small_model()))


def test_gradients_of_the_norm_that_were_set_to_0_are_no_gradients() -> None:
    model = small_model()
    scheduler = bound({"gradient": {"of": "norm"}}, model)
    optimizer = sgd(model)
    train(scheduler, model, optimizer, epochs=range(1))
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad.zero_()
    with pytest.raises(SchedEngineError, match="set gradients to None or 0 before backward"):
        scheduler.on_epoch_begin(1)


def test_samples_of_a_layer_that_was_thinned_since_are_none() -> None:
    """Of the old channels: they fit its weight no more."""
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    evidence = Evidence(["2.weight"], frozenset({"inputs"}), 1)
    evidence.watch_(model, ParameterTable(model))
    model(torch.rand(30, 4))
    facts = evidence.facts(model, ParameterTable(model), None, None)
    assert facts is not None and facts["2.weight"].inputs is not None
    model[2].weight = nn.Parameter(torch.ones(3, 2))
    facts = evidence.facts(model, ParameterTable(model), None, None)
    assert facts is not None and facts["2.weight"].inputs is None
