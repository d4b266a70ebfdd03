"""Filters that belong together, filters of transposed convolutions, and filters that are dropped by chance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, step_once
from torch import Tensor, nn

from schedengine import PruningScheduler, ScheduleError

ROWS = {"granularity": "row", "allocation": "uniform", "sparsity": 0.5}


def rows(*norms: list[float]) -> nn.ModuleDict:
    """Matrices whose rows have these sizes."""
    model = nn.ModuleDict()
    for name, sizes in zip("abc", norms):
        model[name] = nn.Linear(2, len(sizes), bias=False)
        model[name].weight.data = torch.tensor(sizes, dtype=torch.float)[:, None].expand(-1, 2).clone()
    return model


def kept(scheduler: PruningScheduler, name: str) -> list[int]:
    return scheduler.masks.in_force(name)[:, 0].int().tolist()  # type: ignore[no-any-return]


def cut(model: nn.Module, **axes: Any) -> PruningScheduler:
    scheduler = one_pruner({**ROWS, **axes}, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    return scheduler


def test_the_leader_is_the_first_of_the_list() -> None:
    scheduler = cut(rows([1, 2, 3, 4], [4, 3, 2, 1]), together="leader", parameters=["b.weight", "a.weight"])
    assert kept(scheduler, "a.weight") == kept(scheduler, "b.weight") == [1, 1, 0, 0]
    assert scheduler.cuts[0].removed == scheduler.cuts[0].asked == 8


def test_the_mean_weighs_every_layer_alike() -> None:
    """Shares .1 .2 .3 .4 and .6 .2 .1 .1: means .35 .2 .2 .25, whatever the second layer's scale."""
    for scale in (1, 1000):
        model = rows([1, 2, 3, 4], [6 * scale, 2 * scale, scale, scale])
        scheduler = cut(model, together="mean")
        assert kept(scheduler, "a.weight") == kept(scheduler, "b.weight") == [1, 0, 0, 1]


def test_the_mean_of_signed_scores_keeps_their_order() -> None:
    """w * gradient: -4 3 2 1 and -2 1 1 2. Shares of the sizes: the first row goes first, then the third."""
    model = rows([4, 3, 2, 1], [2, 1, 1, 2])
    for name, signs in (("a", [-1.0, 1, 1, 1]), ("b", [-1.0, 1, 1, 1])):
        model[name].weight.grad = torch.tensor(signs)[:, None].expand(-1, 2).clone()
    scheduler = cut(model, together="mean", criterion={"gradient": {"sign": "signed"}})
    assert kept(scheduler, "a.weight") == [0, 1, 0, 1]


def test_matrices_of_different_widths_may_lose_the_same_rows() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 4, bias=False), "b": nn.Linear(7, 4, bias=False)})
    scheduler = cut(model, together="leader")
    assert kept(scheduler, "a.weight") == kept(scheduler, "b.weight")
    assert scheduler.cuts[0].removed == scheduler.cuts[0].asked == 4 + 14


def test_those_of_unequal_counts_are_refused_before_training() -> None:
    with pytest.raises(ScheduleError, match=r"pruners.p.together: .* need as many .*a.weight has 4, b.weight has 3"):
        cut(rows([1, 2, 3, 4], [1, 2, 3]), together="leader")


@pytest.mark.parametrize(
    "axes",
    [
        {"allocation": "global"},
        {"allocation": "erk"},
        {"allocation": {"a.weight": 0.5, "b.weight": 0.25}, "sparsity": "constant"},
        {"threshold": 0.5, "sparsity": None, "allocation": "global"},
    ],
)
def test_parameters_that_would_lose_different_shares_cannot_go_together(axes: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError, match="'together' needs 'sparsity', and 'allocation: uniform'"):
        one_pruner({**ROWS, "together": "leader", **axes}, {"at": "start"})


# --- transposed convolutions -----------------------------------------------------------------------------------------


def test_filters_of_a_transposed_convolution_are_its_outputs() -> None:
    """It stores (in, out, h, w); the smallest outputs go."""
    layer = nn.ConvTranspose2d(3, 4, 2, bias=False)
    layer.weight.data = torch.tensor([4.0, 1.0, 3.0, 2.0])[None, :, None, None].expand(3, 4, 2, 2).clone()
    scheduler = one_pruner({"granularity": "filter", "sparsity": 0.5, "parameters": "weight"}, {"at": "start"})
    scheduler.bind(layer, epochs=1).on_epoch_begin(0)
    outputs = layer(torch.ones(1, 3, 2, 2)).abs().sum((0, 2, 3))
    assert (outputs > 0).tolist() == [True, False, True, False]


def test_outputs_of_both_kinds_of_convolution_go_together() -> None:
    model = nn.ModuleDict({"up": nn.ConvTranspose2d(3, 4, 2), "down": nn.Conv2d(5, 4, 3)})
    axes = {"granularity": "filter", "together": "leader", "parameters": ["up.weight", "down.weight"]}
    scheduler = cut(model, **axes)
    up, down = scheduler.masks.in_force("up.weight"), scheduler.masks.in_force("down.weight")
    assert up.all(0).all(-1).all(-1).equal(down.flatten(1).all(1)) and int(up.sum()) == 24


# --- chance ----------------------------------------------------------------------------------------------------------

DROP = {"criterion": "random", "draw": "bernoulli", "update": "reselect", "allocation": "uniform", "sparsity": 0.4,
        "granularity": "filter", "pruned": "dense", "lasts": "step", "rescale": True}  # fmt: skip


def test_every_draw_is_its_own() -> None:
    model = nn.ModuleDict({"a": nn.Linear(1, 2000, bias=False), "b": nn.Linear(1, 2000, bias=False)})
    scheduler = one_pruner(DROP, {"during": "run"}).bind(model, epochs=2)
    found = []
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
        found += [scheduler.masks.in_force(name).flatten() for name in ("a.weight", "b.weight")]
    assert all(abs(float(mask.float().mean()) - 0.6) < 4 * (0.24 / 2000) ** 0.5 for mask in found)
    for one, other in ((0, 1), (0, 2), (1, 3)):
        both = float((found[one] & found[other]).float().mean())
        assert abs(both - 0.36) < 4 * (0.36 * 0.64 / 2000) ** 0.5  # independent


def test_a_draw_leaves_what_must_stay() -> None:
    axes = {**DROP, "sparsity": 0.99, "lasts": "run"}
    scheduler = one_pruner({**axes, "optional": True}, {"at": "start"}).bind(nn.Linear(1, 3), epochs=1)
    scheduler.on_epoch_begin(0)
    assert int(scheduler.masks.in_force("weight").sum()) == 1


def test_a_drop_for_one_step_leaves_the_dense_weights_bit_for_bit() -> None:
    """Where the gradient is masked, and nothing decays; the forward pass saw the others scaled."""
    model = small_model()
    dense = model[5].weight.detach().clone()  # type: ignore[union-attr, operator]
    optimizer = sgd(model, momentum=0.0)
    axes = {**DROP, "granularity": "row", "parameters": "5.weight", "mask_gradients": True}
    scheduler = one_pruner(axes, {"during": "run"}).bind(model, optimizer, epochs=2)
    scheduler.on_epoch_begin(0)
    mask = scheduler.masks.in_force("5.weight")
    torch.testing.assert_close(model[5].weight.detach(), dense * mask / mask.float().mean())  # type: ignore[union-attr, operator]
    step_once(scheduler, model, optimizer, 0, 0, 2)
    after: Tensor = model[5].weight.detach()  # type: ignore[union-attr, assignment, operator]
    assert not mask.all() and after[~mask].equal(dense[~mask]) and not after[mask].equal(dense[mask])
    assert not scheduler.masks.names  # an evaluation sees the dense weights


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"criterion": "magnitude"}, "goes with 'criterion: random'"),
        ({"allocation": "global"}, "needs 'sparsity', and 'allocation: uniform'"),
        ({"allocation": "lamp"}, "needs 'sparsity', and 'allocation: uniform'"),
        ({"update": "shrink"}, "draws all groups at every cut; write 'update: reselect'"),
        ({"together": "mean"}, "has one draw for parameters that belong together; use 'leader'"),
        ({"pruned": "zero"}, "'rescale' needs 'pruned: dense' or 'hidden'"),
    ],
)
def test_draws_that_mean_nothing_are_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        one_pruner({**DROP, **axes}, {"at": "start"})
