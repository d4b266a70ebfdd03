"""What holds of every method: it does something, under mixed precision too, and ends as plain weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import batch, sgd, small_model, train
from methods import DATA, METHODS
from torch import nn
from torch.nn.functional import cross_entropy

from schedengine import PruningScheduler, dump, load_schedule

each_method = pytest.mark.parametrize("name", METHODS)
EPOCHS, STEPS = 6, 4


def bound(document: dict[str, Any], model: nn.Module) -> tuple[torch.optim.SGD, PruningScheduler]:
    optimizer = sgd(model, weight_decay=0.01)
    options: dict[str, Any] = {"example_inputs": DATA[0][0][:1], "data": DATA, "loss": cross_entropy}
    epochs = None if "phases" in document else EPOCHS
    return optimizer, load_schedule(document).bind(model, optimizer, epochs=epochs, steps_per_epoch=STEPS, **options)


def zeros(model: nn.Sequential) -> int:
    return sum(int((model[at].weight == 0).sum()) for at in (0, 5))


@each_method
def test_a_method_ends_with_plain_weights_and_as_many_zeros_as_its_last_record_says(name: str) -> None:
    model = small_model()
    names = list(model.state_dict())
    optimizer, scheduler = bound(METHODS[name], model)
    train(scheduler, model, optimizer, steps=STEPS)
    assert list(model.state_dict()) == names and type(model[5].weight) is nn.Parameter
    assert 0 < scheduler.cuts[-1].removed <= zeros(model) < 294
    assert not scheduler.masks.violations()


@each_method
def test_a_method_reads_back_from_its_dump(name: str) -> None:
    schedule = load_schedule(METHODS[name])
    assert load_schedule(dump(schedule)) == schedule


def sparse_after(
    name: str, *, parts: int = 1, amp: bool = False, scale: float = 1.0, skipped: tuple[int, ...] = ()
) -> dict[str, torch.Tensor]:
    """Trained with every batch in so many parts, with autocast, with a scaled loss; some updates overflow."""
    model = small_model()
    optimizer, scheduler = bound(METHODS[name], model)
    model[1].eval()  # batch statistics would depend on the parts
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        for step in range(STEPS):
            scheduler.on_minibatch_begin(epoch, step, STEPS)
            optimizer.zero_grad(set_to_none=True)
            images, labels = batch(epoch, step)
            for x, y in zip(images.chunk(parts), labels.chunk(parts)):
                with torch.autocast("cpu", torch.bfloat16, enabled=amp):
                    loss = cross_entropy(model(x), y)
                total = scheduler.before_backward_pass(epoch, step, STEPS, loss.float())
                (total * scale / parts).backward()
            for group in optimizer.param_groups:
                for one in group["params"]:
                    if one.grad is not None:
                        one.grad /= 0.0 if epoch * STEPS + step in skipped else scale
            scheduler.before_parameter_optimization(epoch, step, STEPS)
            if epoch * STEPS + step not in skipped:
                optimizer.step()
            scheduler.on_minibatch_end(epoch, step, STEPS)
        scheduler.on_epoch_end(epoch, metrics={"loss": 1.0, "top1": 1.0})
    assert 0 < scheduler.cuts[-1].removed <= zeros(model) < 294
    return model.state_dict()


@each_method
def test_accumulated_gradients_and_a_scaled_loss_train_the_same_network(name: str) -> None:
    """Up to rounding, for the first cuts; a power of two scales exactly."""
    whole, scaled = sparse_after(name), sparse_after(name, scale=1024.0)
    assert all(torch.equal(whole[key], scaled[key]) for key in whole)
    parts = sparse_after(name, parts=2)
    same = (whole["5.weight"] == 0) == (parts["5.weight"] == 0)
    assert float(same.float().mean()) > 0.8


@each_method
def test_a_method_runs_under_autocast(name: str) -> None:
    assert all(value.isfinite().all() for value in sparse_after(name, amp=True).values())


@each_method
@pytest.mark.filterwarnings("ignore:.*not finite:schedengine.errors.EffectWarning")
def test_updates_that_mixed_precision_skips_leave_no_trace(name: str) -> None:
    """The first ones, as a scaler does while it looks for its scale, one within an epoch, and one before a cut."""
    assert all(value.isfinite().all() for value in sparse_after(name, skipped=(0, 1, 6, 11, 14)).values())
