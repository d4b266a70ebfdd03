"""Snapshots of a model, going back to them, and values in random order."""

from __future__ import annotations

import pytest
import torch
from loops import small_model
from torch import Tensor, nn

from schedengine import weights
from schedengine.errors import SchedEngineError
from schedengine.masks import Applied, MaskStore, Mode
from schedengine.selection import ParameterTable

MODES: list[Mode] = ["zero", "hidden", "dense"]


def parts(model: nn.Module) -> tuple[nn.Module, ParameterTable, MaskStore]:
    table = ParameterTable(model)
    return model, table, MaskStore(table)


def masked(mode: Mode, seed: int = 0) -> tuple[nn.Module, ParameterTable, MaskStore]:
    """The last layer's first column is pruned."""
    model, table, masks = parts(small_model(seed))
    keep = torch.ones(5, 48, dtype=torch.bool)
    keep[:, 0] = False
    masks.set_("p", "5.weight", keep, Applied(mode))
    masks.apply_()
    return model, table, masks


def disturb_(model: nn.Module) -> None:
    with torch.no_grad():
        for value in model.state_dict().values():
            value.add_(1)


def column(model: nn.Module) -> Tensor:
    weight: Tensor = model.state_dict()["5.weight"]
    return weight[:, 0]


def test_a_model_goes_back_to_its_snapshot_buffers_and_all() -> None:
    model, table, masks = parts(small_model())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    snapshot = weights.take(model, table, masks)
    disturb_(model)
    weights.restore_(snapshot, model, table, masks)
    assert snapshot.keys() == before.keys()
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())


def test_a_snapshot_is_a_copy() -> None:
    model, table, masks = parts(small_model())
    snapshot = weights.take(model, table, masks)
    disturb_(model)
    assert not any(snapshot[name].equal(value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("mode", MODES)
def test_masks_hold_after_going_back(mode: Mode) -> None:
    model, table, masks = masked(mode)
    initial = small_model(seed=3)
    snapshot = weights.take(*parts(initial))
    weights.restore_(snapshot, model, table, masks)
    last = model.state_dict()["5.weight"]
    assert not column(model).any() and last[:, 1:].equal(initial.state_dict()["5.weight"][:, 1:])


@pytest.mark.parametrize(("mode", "remembers"), [("zero", False), ("hidden", True), ("dense", True)])
def test_a_snapshot_holds_the_values_that_a_mode_keeps(mode: Mode, remembers: bool) -> None:
    model, table, masks = masked(mode)
    snapshot = weights.take(model, table, masks)
    assert bool(snapshot["5.weight"][:, 0].any()) is remembers and not column(model).any()


def test_a_kept_value_goes_back_too_and_comes_out_when_it_is_readmitted() -> None:
    model, table, masks = masked("hidden")
    snapshot = weights.take(*parts(small_model(seed=3)))
    weights.restore_(snapshot, model, table, masks)
    masks.set_("p", "5.weight", torch.ones(5, 48, dtype=torch.bool), Applied("hidden"))
    masks.apply_()
    assert model.state_dict()["5.weight"].equal(snapshot["5.weight"])


def test_a_buffer_that_is_not_saved_is_no_value_of_the_model() -> None:
    model, table, masks = parts(nn.Linear(2, 2))
    model.register_buffer("scratch", torch.ones(2), persistent=False)
    assert weights.take(model, table, masks).keys() == {"weight", "bias"}


@pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 2))])
def test_a_snapshot_of_another_model_is_refused(other: nn.Module) -> None:
    model, table, masks = parts(nn.Linear(2, 2))
    with pytest.raises(SchedEngineError, match="the snapshot is of another model: '.*' is missing on one side"):
        weights.restore_(weights.take(*parts(other)), model, table, masks)


def test_names_are_normalised_so_that_a_wrapped_model_fits() -> None:
    snapshot = weights.take(*parts(small_model()))
    wrapped = nn.DataParallel(small_model(seed=3))
    weights.restore_(snapshot, *parts(wrapped))
    assert all(wrapped.module.state_dict()[name].equal(value) for name, value in snapshot.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_dtypes_stay(dtype: torch.dtype) -> None:
    model, table, masks = parts(small_model().to(dtype))
    snapshot = weights.take(model, table, masks)
    weights.restore_(snapshot, model, table, masks)
    assert snapshot["0.weight"].dtype == model.state_dict()["0.weight"].dtype == dtype


# --- shuffling -------------------------------------------------------------------------------------------------------


def shuffled(key: str, **masks: Tensor | None) -> dict[str, Tensor]:
    table = parts(small_model())
    return weights.shuffled(weights.take(*table), masks or dict.fromkeys(table[1].names), key)


def test_shuffling_keeps_every_parameters_values_and_leaves_buffers() -> None:
    before, after = small_model().state_dict(), shuffled("0/1")
    assert all(before[name].flatten().sort()[0].equal(after[name].flatten().sort()[0]) for name in before)
    assert not before["5.weight"].equal(after["5.weight"]) and after["1.running_var"].equal(before["1.running_var"])


def test_only_kept_values_move_under_a_mask() -> None:
    keep = torch.zeros(5, 48, dtype=torch.bool)
    keep[:, ::2] = True
    before, after = small_model().state_dict()["5.weight"], shuffled("0", **{"5.weight": keep})["5.weight"]
    assert after[~keep].equal(before[~keep]) and after[keep].sort()[0].equal(before[keep].sort()[0])
    assert not after[keep].equal(before[keep])


def test_the_same_key_gives_the_same_order_and_another_one_does_not() -> None:
    one, two, other = (shuffled(key)["5.weight"] for key in ("0/1", "0/1", "0/2"))
    assert one.equal(two) and not one.equal(other)


def test_an_order_is_a_permutation_that_depends_on_the_key_only() -> None:
    torch.manual_seed(1)
    one = weights.order(50, "key")
    torch.manual_seed(2)
    assert one.equal(weights.order(50, "key")) and one.sort()[0].equal(torch.arange(50))


# --- batch-norm statistics -------------------------------------------------------------------------------------------


def test_statistics_are_plain_averages_over_the_batches() -> None:
    norm = nn.BatchNorm1d(1)
    norm.running_mean.fill_(99)  # type: ignore[union-attr]
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])]  # means 1 and 6, variances 2 and 8
    weights.recalibrate_(norm, batches)
    assert norm.state_dict()["running_mean"].item() == 3.5 and norm.state_dict()["running_var"].item() == 5


def test_recalibration_leaves_modes_momentum_and_dropout_as_they_were() -> None:
    norms = nn.BatchNorm1d(1, momentum=0.3), nn.BatchNorm1d(1)
    model = nn.Sequential(norms[0], nn.Dropout(), norms[1]).train()
    model[1].eval()
    seen: list[bool] = []
    model[1].register_forward_hook(lambda module, *_: seen.append(module.training))
    weights.recalibrate_(model, [torch.tensor([[0.0], [2.0]])])
    assert [one.training for one in model] == [True, False, True] and model.training and seen == [False]
    assert [norm.momentum for norm in norms] == [0.3, 0.1]


def test_recalibration_without_batches_is_an_error_and_changes_nothing() -> None:
    norm = nn.BatchNorm1d(1)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with pytest.raises(SchedEngineError, match="cannot be estimated from no batches"):
        weights.recalibrate_(norm, [])
    assert all(norm.state_dict()[name].equal(value) for name, value in before.items())
