"""The scheduler in other people's loops: accumulation, mixed precision, compile, wrappers, odd uses."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from loops import batch, one_pruner, sgd, small_model, step_once, train
from torch import nn

from schedengine import PruningScheduler, SchedEngineError, ScheduleError, file_config, load_schedule
from schedengine.errors import CheckpointError
from schedengine.policies.base import Context, Policy
from schedengine.scheduler import STATE_VERSION, PolicyLoss

HALF = {"sparsity": 0.5}


def zeros(model: nn.Module) -> int:
    return sum(int((p == 0).sum()) for name, p in model.named_parameters() if name.endswith(("0.weight", "5.weight")))


class Recorder(Policy):
    """Writes down which hook was called, and what it was told."""

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def on_epoch_begin(self, context: Context) -> None:
        self.calls.append(f"epoch {context.progress.epoch}")

    def before_backward_pass(self, context: Context) -> None:
        assert context.loss is not None
        context.loss = context.loss + 1
        self.calls.append(f"loss at step {context.progress.step}")

    def on_epoch_end(self, context: Context) -> None:
        self.calls.append(f"metrics {dict(context.metrics)}")


def test_hooks_are_called_in_the_order_of_the_policies() -> None:
    model = small_model()
    scheduler = one_pruner(HALF, {"at": "start"}).bind(model, epochs=1)
    calls: list[str] = []
    mine = PruningScheduler(
        model, None, [Recorder(calls), Recorder(calls)], {}, scheduler._context.table, scheduler.masks
    )
    mine.on_epoch_begin(0)
    loss = mine.before_backward_pass(0, 0, 2, torch.tensor(1.0))
    mine.on_epoch_end(0, metrics={"top1": 0.5})
    assert calls == ["epoch 0"] * 2 + ["loss at step 0"] * 2 + ["metrics {'top1': 0.5}"] * 2
    assert loss == torch.tensor(3.0)


def test_plain_range_works_without_our_epochs() -> None:
    model = small_model()
    scheduler = one_pruner({**HALF}, {"during": "run", "until": 3}).bind(model, sgd(model))
    train(scheduler, model, sgd(model), epochs=range(3))
    assert zeros(model) == 147 and len(scheduler.cuts) == 3


def test_our_epochs_need_a_length() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model())
    with pytest.raises(SchedEngineError, match="pass epochs=n to bind"):
        next(scheduler.epochs())


def test_an_open_window_needs_a_length() -> None:
    with pytest.raises(ScheduleError, match="length of the run is needed"):
        one_pruner(HALF, {"during": "run"}).bind(small_model())


def test_micro_batches_counted_as_steps_are_an_error() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    scheduler.on_epoch_begin(0)
    with pytest.raises(SchedEngineError, match="step 2 of 2 in epoch 0"):
        scheduler.on_minibatch_begin(0, 2, 2)


def test_loss_components_are_returned_on_request() -> None:
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    schedule = load_schedule(
        {
            "version": 2,
            "regularizers": {"l1": {"penalty": "l1", "strength": 0.5}},
            "policies": [{"regularizer": "l1", "during": "run"}],
        }
    )
    scheduler = schedule.bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    result = scheduler.before_backward_pass(0, 0, 1, torch.tensor(1.0), return_loss_components=True)
    assert isinstance(result, PolicyLoss)
    assert float(result.overall_loss.detach()) == 4.0 and result.loss_components == {"l1": torch.tensor(3.0)}


def accumulate(micro: int) -> nn.Module:
    """Two epochs of two updates on the same images, each update in ``micro`` parts."""
    model = small_model().eval()  # batch statistics would differ between parts
    optimizer = sgd(model)
    document = {
        "version": 2,
        "pruners": {"p": {"sparsity": {"ramp": "linear", "to": 0.6}}},
        "regularizers": {"l2": {"penalty": "l2", "strength": 0.01}},
        "policies": [{"pruner": "p", "during": "run", "every": "1st"}, {"regularizer": "l2", "during": "run"}],
    }
    scheduler = load_schedule(document).bind(model, optimizer, epochs=2)
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        for step in range(2):
            scheduler.on_minibatch_begin(epoch, step, 2)
            optimizer.zero_grad()
            images, labels = batch(epoch, step)
            for part in range(micro):
                loss = nn.functional.cross_entropy(model(images[part::micro]), labels[part::micro])
                total = scheduler.before_backward_pass(epoch, step, 2, loss)
                (total / micro).backward()
            scheduler.before_parameter_optimization(epoch, step, 2)
            optimizer.step()
            scheduler.on_minibatch_end(epoch, step, 2)
        scheduler.on_epoch_end(epoch)
    return model


def test_gradient_accumulation_gives_the_whole_batch_result() -> None:
    whole, parts = accumulate(1), accumulate(4)
    for one, other in zip(whole.parameters(), parts.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert zeros(whole) == zeros(parts)


@pytest.mark.parametrize("pruned", ["zero", "hidden", "dense"])
def test_masks_hold_when_the_scaler_skips_a_step(pruned: str) -> None:
    model = small_model()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    scheduler = one_pruner({**HALF, "pruned": pruned}, {"at": "start"}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    for step in range(4):
        scheduler.on_minibatch_begin(0, step, 4)
        images, labels = batch(0, step)
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(model(images), labels)
        total = scheduler.before_backward_pass(0, step, 4, loss)
        optimizer.zero_grad()
        scaler.scale(total).backward()
        if step == 1:
            model[5].weight.grad.fill_(float("inf"))  # type: ignore[union-attr, operator]
        scaler.unscale_(optimizer)
        scheduler.before_parameter_optimization(0, step, 4)
        before = model[5].bias.detach().clone()  # type: ignore[union-attr, operator]
        scaler.step(optimizer)
        scaler.update()
        scheduler.on_minibatch_end(0, step, 4)
        assert before.equal(model[5].bias) == (step == 1)  # type: ignore[arg-type]
        assert zeros(model) == 147
    scheduler.on_epoch_end(0)


def test_a_compiled_model_is_pruned_under_its_own_names() -> None:
    model = small_model()
    compiled = torch.compile(model, backend="eager")
    optimizer = sgd(model)
    scheduler = one_pruner({**HALF, "parameters": "_orig_mod.5.weight"}, {"at": 1}).bind(compiled, optimizer, epochs=2)  # type: ignore[arg-type]
    train(scheduler, compiled, optimizer)  # type: ignore[arg-type]
    assert scheduler.masks.names == ["5.weight"] and int((model[5].weight == 0).sum()) == 120  # type: ignore[arg-type]


def test_state_moves_between_wrappings() -> None:
    model = small_model()
    scheduler = one_pruner(HALF, {"at": "start"}).bind(nn.DataParallel(model), epochs=1)
    scheduler.on_epoch_begin(0)
    other = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    other.load_state_dict(scheduler.state_dict())
    assert other.masks.mask("5.weight") is not None


def test_an_ema_copy_is_masked_too() -> None:
    model = small_model()
    scheduler = one_pruner(HALF, {"at": "start"}).bind(model, epochs=1)
    average = copy.deepcopy(model)
    scheduler.on_epoch_begin(0)
    scheduler.apply_masks_(average)
    assert zeros(average) == zeros(model) == 147


def test_distillers_entry_point_binds_a_file(tmp_path: Any) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("version: 2\npruners: {p: {sparsity: 0.5}}\npolicies: [{pruner: p, at: start}]\n")
    model = small_model()
    scheduler = file_config(model, sgd(model), str(path))
    scheduler.on_epoch_begin(0)
    assert zeros(model) == 147


def test_a_model_that_moves_to_another_dtype_goes_on() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner(HALF, {"at": "start"}).bind(model, optimizer, epochs=2)
    train(scheduler, model, optimizer, epochs=range(1))
    model.to(torch.float64).to(torch.float32)
    train(scheduler, model, optimizer, epochs=range(1, 2))
    assert zeros(model) == 147


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 99}, "version 99"),
        ({"policies": []}, "0 policies"),
        ({"policies": [{}, {}]}, "2 policies"),
        ({"pruners": ["q"]}, "the pruners q, this one has p"),
    ],
)
def test_the_state_of_another_schedule_is_refused(change: Mapping[str, Any], message: str) -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    with pytest.raises(CheckpointError, match=message):
        scheduler.load_state_dict({**scheduler.state_dict(), **change})


def test_the_state_of_other_policies_is_refused() -> None:
    model = small_model()
    policies = [{"pruner": "p", "at": "start"}, {"lr_scheduler": "l", "during": "run"}]
    sections = {"version": 2, "pruners": {"p": HALF}, "lr_schedulers": {"l": {"class": "linear"}}}
    one, other = (
        load_schedule({**sections, "policies": order}).bind(model, sgd(model), epochs=1)
        for order in (policies, policies[::-1])
    )
    with pytest.raises(CheckpointError, match=r"policies\[0\] is of another kind"):
        other.load_state_dict(one.state_dict())


def test_version_1_masks_take_effect_with_the_first_step() -> None:
    model = small_model()
    document = {
        "version": 1,
        "pruners": {
            "agp": {
                "class": "AutomatedGradualPruner",
                "initial_sparsity": 0.2,
                "final_sparsity": 0.5,
                "weights": ["module.5.weight"],
            }
        },
        "policies": [{"pruner": {"instance_name": "agp"}, "starting_epoch": 0, "ending_epoch": 2, "frequency": 1}],
    }
    scheduler = load_schedule(document).bind(model, epochs=2)
    scheduler.on_epoch_begin(0)
    assert zeros(model) == 0
    step_once(scheduler, model, sgd(model), 0, 0, 1)
    assert zeros(model) == 48


def test_steps_without_the_beginning_of_their_epoch_are_an_error() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    with pytest.raises(SchedEngineError, match=r"without on_epoch_begin\(0\)"):
        scheduler.on_minibatch_begin(0, 0, 2)


def test_epochs_of_different_lengths_are_an_error_where_cuts_are_placed_by_steps() -> None:
    scheduler = one_pruner(HALF, {"at": "3st"}).bind(small_model(), epochs=2)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 10)
    with pytest.raises(SchedEngineError, match="epoch 0 has 7 steps, and 10 were"):
        scheduler.on_minibatch_begin(0, 1, 7)


def test_a_copy_of_another_model_is_refused() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    scheduler.on_epoch_begin(0)
    with pytest.raises(SchedEngineError, match="no parameter '0.weight'"):
        scheduler.apply_masks_(nn.Linear(2, 2))


def test_a_state_that_is_none_is_refused() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    with pytest.raises(CheckpointError, match="lacks begun, cuts"):
        scheduler.load_state_dict({"version": STATE_VERSION})


def test_a_state_of_an_earlier_release_is_refused() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model(), epochs=1)
    with pytest.raises(CheckpointError, match="has version 1; this release reads 6"):
        scheduler.load_state_dict({"version": 1})


def test_a_model_without_values_is_an_error_at_the_cut() -> None:
    scheduler = one_pruner(HALF, {"at": "start"}).bind(small_model().to("meta"), epochs=1)
    with pytest.raises(SchedEngineError, match="meta device"):
        scheduler.on_epoch_begin(0)


def test_a_parametrization_that_fills_zeros_again_is_an_error() -> None:
    model = nn.Sequential(torch.nn.utils.parametrizations.orthogonal(nn.Linear(6, 6, bias=False)))
    scheduler = one_pruner(HALF, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    with pytest.raises(SchedEngineError, match="0.weight: .* pruned weights are not 0"):
        scheduler.on_epoch_end(0)


def test_distillers_entry_point_takes_over_the_trace_of_the_dense_training(tmp_path: Any) -> None:
    path, model = tmp_path / "s.yaml", small_model()
    path.write_text("version: 2\npolicies: []\n")
    dense = file_config(model, sgd(model), path, epochs=1)
    train(dense, model, sgd(model))
    path.write_text(
        "version: 2\npruners: {p: {sparsity: 0.5}}\nlr_schedulers: {again: {class: LLR}}\n"
        "policies: [{pruner: p, at: start}, {lr_scheduler: again, during: run}]\n"
    )
    pruning = file_config(model, sgd(model), path, dense, epochs=1)
    train(pruning, model, sgd(model))
    assert pruning.trace == dense.trace


def test_distillers_entry_point_takes_over_masks_and_epoch(tmp_path: Any) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("version: 2\npruners: {p: {sparsity: 0.5}}\npolicies: [{pruner: p, at: start}]\n")
    first = file_config(small_model(), None, path, epochs=4)
    first.on_epoch_begin(0)
    model = small_model()
    second = file_config(model, None, path, first, 2, epochs=4)
    assert zeros(model) == 147 and list(second.epochs()) == [3]
    second.on_epoch_begin(3)
    second.on_epoch_end(3)  # the cut was made under the first one
