"""Methods that are each other, or plain training, where their numbers say so.

More of them stand with what they are about: IMP in one cycle, BIMP, learning-rate rewinding and rescaled linear rates
in ``engine/test_retraining.py``; DPF and, with a period of one, DNW against their pseudo-code in
``pruners/test_feedback.py``; drop and grow of nothing in ``pruners/test_growth.py``; OBD where the information is one
number in ``criteria/test_fisher.py``; rounds by magnitude in ``pruners/test_rounds.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import batch, one_pruner, sgd, small_model, train
from methods import DATA
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from schedengine.pruners.aim import staged
from schedengine.sparsity import ALLOCATIONS, RAMPS

WEIGHTS = ("0.weight", "5.weight")
seeds = st.integers(0, 2**31)
shares = st.floats(0.05, 0.95)
few = settings(max_examples=10, deadline=None)


def trained(axes: dict[str, Any], policy: dict[str, Any], seed: int = 0, **options: Any) -> tuple[nn.Module, Any]:
    model = small_model(seed)
    optimizer = sgd(model, **options)
    given: dict[str, Any] = {"example_inputs": DATA[0][0][:1], "data": DATA, "loss": cross_entropy}
    scheduler = one_pruner(axes, policy).bind(model, optimizer, epochs=2, **given)
    train(scheduler, model, optimizer)
    return model, scheduler


def plainly_trained(seed: int = 0, **options: Any) -> nn.Module:
    model = small_model(seed)
    optimizer = sgd(model, **options)
    for place in range(8):
        images, labels = batch(*divmod(place, 4))
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


def masks_after(axes: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Of one cut of an initial network."""
    model = small_model(seed)
    scheduler = one_pruner(axes, {"at": "start"}).bind(
        model, epochs=1, example_inputs=DATA[0][0][:1], data=DATA, loss=cross_entropy
    )
    scheduler.on_epoch_begin(0)
    return {name: scheduler.masks.in_force(name) for name in scheduler.masks.names}


def are_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@given(st.floats(0.001, 0.9), st.integers(1, 100))
def test_the_rounds_of_synflow_are_the_cuts_of_geometric_imp(density: float, count: int) -> None:
    """A density of rho ** (k / n) after the k-th of n, in both."""
    imp = RAMPS.get("geometric")(to=1 - density)
    for number in range(1, count + 1):
        expected = pytest.approx(1 - density ** (number / count), abs=1e-12)
        assert imp.at(number, count) == expected and staged(1 - density, 0.0, number, count) == expected


@pytest.mark.parametrize("ramp", ["constant", "cubic"])
def test_dnw_keeps_at_every_step_the_largest_of_its_dense_weights(ramp: str) -> None:
    """With a cubic target and layer by layer it is magnitude pruning with a straight-through gradient."""
    axes = {"sparsity": {"ramp": ramp, "to": 0.6}, "allocation": "uniform", "update": "reselect", "pruned": "dense"}
    model = small_model()
    optimizer, seen = sgd(model), list[int]()
    scheduler = one_pruner(axes, {"during": "run", "every": "1st"}).bind(model, optimizer, epochs=2)
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
        for step in range(4):
            scheduler.on_minibatch_begin(epoch, step, 4)
            sizes, kept = scheduler.masks.weight(WEIGHTS[1]).abs(), scheduler.masks.in_force(WEIGHTS[1])
            assert float(sizes[kept].min()) >= float(sizes[~kept].max())
            seen.append(240 - int(kept.count_nonzero()))
            images, labels = batch(epoch, step)
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            scheduler.before_parameter_optimization(epoch, step, 4)
            optimizer.step()
            scheduler.on_minibatch_end(epoch, step, 4)
    # 240 * 0.6 (1 - (1 - j / 8) ** 3) for the cuts 1 to 8
    assert seen == [144] * 8 if ramp == "constant" else seen == [48, 83, 109, 126, 136, 142, 144, 144]


@few
@given(seeds, shares)
def test_in_a_single_layer_all_allocations_are_one(seed: int, share: float) -> None:
    found = [
        masks_after({"parameters": WEIGHTS[1], "sparsity": share, "allocation": name}, seed)
        for name in ALLOCATIONS.names()
        if name != "uniform_plus"  # which leaves the first layer dense, and here there is no other
    ]
    assert all(are_equal(one, found[0]) for one in found)


@few
@given(seeds, shares)
def test_a_target_of_every_layer_by_name_is_a_uniform_one(seed: int, share: float) -> None:
    named = {"sparsity": "constant", "allocation": dict.fromkeys(WEIGHTS, share)}
    assert are_equal(masks_after(named, seed), masks_after({"sparsity": share, "allocation": "uniform"}, seed))


@few
@given(seeds, shares, st.sampled_from(["snip", "grasp", "synflow", "magnitude", "random"]))
def test_static_sparse_training_from_a_saliency_is_that_saliency_before_training(
    seed: int, share: float, criterion: str
) -> None:
    static = {"update": {"drop_grow": {"first": criterion, "fraction": 0.0}}, "mask_gradients": True}
    axes = {"sparsity": share, "allocation": "uniform"}
    assert are_equal(masks_after(axes | static, seed), masks_after(axes | {"criterion": criterion}, seed))


@few
@given(seeds, shares)
def test_diagonal_obs_removes_what_obd_does_and_rewrites_nothing(seed: int, share: float) -> None:
    damping = {"samples": 12, "damp": 0.01}
    diagonal = {"criterion": {"obs": {"block": 1, **damping}}, "compensate": "obs", "sparsity": share}
    found = masks_after(diagonal, seed)
    assert are_equal(found, masks_after({"criterion": {"fisher": damping}, "sparsity": share}, seed))
    model = small_model(seed)
    dense = {name: value.clone() for name, value in model.state_dict().items()}
    scheduler = one_pruner(diagonal, {"at": "start"}).bind(model, epochs=1, data=DATA, loss=cross_entropy)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 1)
    assert all(torch.equal(model.state_dict()[name], dense[name] * found[name]) for name in WEIGHTS)


@few
@given(seeds, shares)
def test_hard_and_soft_gmp_begin_alike_and_hard_masks_are_nested(seed: int, share: float) -> None:
    soft = {"sparsity": {"ramp": "cubic", "to": share}, "update": "reselect", "pruned": "hidden"}
    hard = {"sparsity": {"ramp": "cubic", "to": share}}
    seen: dict[str, list[Tensor]] = {}
    for word, axes in {"soft": soft, "hard": hard}.items():
        model = small_model(seed)
        optimizer = sgd(model)
        scheduler = one_pruner(axes, {"during": "run"}).bind(model, optimizer, epochs=3)
        for epoch in range(3):
            train(scheduler, model, optimizer, epochs=range(epoch, epoch + 1), steps=2)
            seen.setdefault(word, []).append(scheduler.masks.in_force(WEIGHTS[1]).clone())
    assert torch.equal(seen["soft"][0], seen["hard"][0])
    assert not any(bool((after & ~before).any()) for before, after in zip(seen["hard"], seen["hard"][1:]))


@few
@given(seeds)
def test_gsm_that_keeps_every_gradient_is_plain_training(seed: int) -> None:
    axes = {"criterion": "gradient", "update": "reselect", "pruned": "passive", "sparsity": 0.0}
    model, _ = trained(axes, {"during": "run"}, seed, weight_decay=0.02)
    assert are_equal(model.state_dict(), plainly_trained(seed, weight_decay=0.02).state_dict())


@few
@given(seeds, st.sampled_from([0.02, 0.5]))
def test_lc_that_spares_every_weight_is_training_without_their_decay(seed: int, strength: float) -> None:
    axes = {"update": "reselect", "pruned": {"decay": {"strength": strength}}, "sparsity": 0.0}
    model, _ = trained(axes, {"during": "run"}, seed)
    assert are_equal(model.state_dict(), plainly_trained(seed).state_dict())


@few
@given(seeds)
def test_lc_that_decays_every_weight_is_weight_decay(seed: int) -> None:
    """Of 240 weights 239.9 go, which rounds to all."""
    axes = {"update": "reselect", "parameters": WEIGHTS[1], "sparsity": 0.9999}
    model, _ = trained(axes | {"pruned": {"decay": {"strength": 0.02}}}, {"during": "run"}, seed)
    expected = small_model(seed)
    decayed = [one for name, one in expected.named_parameters() if name == WEIGHTS[1]]
    others = [one for name, one in expected.named_parameters() if name != WEIGHTS[1]]
    groups = [{"params": decayed, "weight_decay": 0.02}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    for place in range(8):
        images, labels = batch(*divmod(place, 4))
        optimizer.zero_grad()
        cross_entropy(expected(images), labels).backward()
        optimizer.step()
    torch.testing.assert_close(model.state_dict(), expected.state_dict())
