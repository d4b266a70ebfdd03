"""The loop: order of the callbacks, accumulation, what it reports, and when it refuses to go on."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from schedengine.errors import SchedEngineError
from schedengine.schedule.load import load_schedule
from schedengine.scheduler import PruningScheduler
from schedengine.training.compute import Compute
from schedengine.training.loop import EpochLosses, train_epoch, updates_per_epoch
from schedengine.training.settings import Amp
from schedengine.zoo.loader import Loader

HALF = "version: 2\npruners: {half: {sparsity: 0.5}}\npolicies: [{pruner: half, at: start}]\n"
L1 = """
version: 2
regularizers: {l1: {penalty: l1, strength: 0.5}}
policies: [{regularizer: l1, during: run}]
"""


class Recorder(PruningScheduler):
    """Writes down which callbacks come, with step and count."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_epoch_begin(self, epoch: int, *_: Any, **__: Any) -> None:
        self.calls.append(("begin", epoch))

    def on_minibatch_begin(self, epoch: int, step: int, count: int, *_: Any) -> None:
        self.calls.append(("batch", step, count))

    def before_backward_pass(
        self, epoch: int, minibatch_id: int, minibatches_per_epoch: int, loss: Tensor, *_: Any, **__: Any
    ) -> Any:
        self.calls.append(("loss", minibatch_id, minibatches_per_epoch))
        return loss

    def before_parameter_optimization(self, epoch: int, step: int, count: int, *_: Any) -> None:
        self.calls.append(("update", step, count))

    def on_minibatch_end(self, epoch: int, step: int, count: int, *_: Any) -> None:
        self.calls.append(("end", step, count))


def sgd(model: nn.Module, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


def test_callbacks_come_in_distillers_order(model: nn.Module, loader: Loader, compute: Compute) -> None:
    recorder = Recorder()
    train_epoch(model, loader, sgd(model), recorder, 5, compute)
    one = [[("batch", s, 3), ("loss", s, 3), ("update", s, 3), ("end", s, 3)] for s in range(3)]
    assert recorder.calls == [("begin", 5), *(call for calls in one for call in calls)]


def test_with_accumulation_steps_are_updates_and_losses_come_once_a_batch(
    model: nn.Module, loader: Loader, compute: Compute
) -> None:
    recorder = Recorder()
    train_epoch(model, loader, sgd(model), recorder, 0, compute, accumulate=2)
    assert updates_per_epoch(loader, 2) == 2
    assert [call[:2] for call in recorder.calls if call[0] in ("loss", "update")] == [
        ("loss", 0),
        ("loss", 0),
        ("update", 0),
        ("loss", 1),
        ("update", 1),
    ]


def test_accumulated_batches_update_as_one_large_batch_does(model: nn.Module, loader: Loader, compute: Compute) -> None:
    other = copy.deepcopy(model)
    whole = Loader(loader.split, 12, loader.mean, loader.std)
    train_epoch(
        model, Loader(loader.split, 5, loader.mean, loader.std), sgd(model), Recorder(), 0, compute, accumulate=3
    )
    train_epoch(other, whole, sgd(other), Recorder(), 0, compute)
    torch.testing.assert_close(model[1].weight, other[1].weight)  # type: ignore[index]


def test_pruned_weights_stay_zero_through_an_epoch(model: nn.Module, loader: Loader, compute: Compute) -> None:
    optimizer = sgd(model)
    scheduler = load_schedule(HALF).bind(model, optimizer, epochs=1)
    train_epoch(model, loader, optimizer, scheduler, 0, compute)
    assert int((model[1].weight == 0).sum()) == 4  # type: ignore[index]


def test_what_regularizers_add_is_reported_apart(model: nn.Module, loader: Loader, compute: Compute) -> None:
    weights = model[1].weight  # type: ignore[index]
    scheduler = load_schedule(L1).bind(model, epochs=1)
    expected = 0.5 * float(weights.detach().abs().sum())
    loss, penalty = train_epoch(model, loader, sgd(model, lr=0.0), scheduler, 0, compute)
    assert penalty == pytest.approx(expected, rel=1e-5)
    assert loss == pytest.approx(train_epoch(model, loader, sgd(model, lr=0.0), Recorder(), 0, compute)[0])


def test_the_mean_loss_weighs_batches_by_their_images() -> None:
    losses = EpochLosses()
    losses.add(0, 3, torch.tensor(1.0), torch.tensor(1.5))
    losses.add(1, 1, torch.tensor(5.0), torch.tensor(5.5))
    assert losses.read(0) == (2.0, 0.5)


def test_a_loss_that_is_not_finite_names_epoch_and_step() -> None:
    losses = EpochLosses()
    for step, loss in enumerate([1.0, float("nan"), float("inf")]):
        losses.add(step, 4, torch.tensor(loss), torch.tensor(loss))
    with pytest.raises(SchedEngineError, match="epoch 7, step 1: the training loss is nan"):
        losses.read(7)


@pytest.mark.parametrize("amp", [Amp.BF16, Amp.FP16])
def test_gradients_are_unscaled_when_policies_see_them(model: nn.Module, loader: Loader, amp: Amp) -> None:
    seen: list[float] = []

    class Looks(Recorder):
        def before_parameter_optimization(self, *_: Any) -> None:
            seen.append(float(model[1].weight.grad.abs().max()))  # type: ignore[index]

    train_epoch(model, loader, sgd(model), Looks(), 0, Compute(torch.device("cpu"), amp))
    assert seen and max(seen) < 2  # inputs are 1 or -1; scaled, they would be in the ten thousands
