from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from schedengine.errors import CheckpointError, SchedEngineError
from schedengine.masks import Applied, MaskStore, Mode, sliced
from schedengine.selection import ParameterTable


def store(values: list[float]) -> tuple[MaskStore, nn.Linear]:
    layer = nn.Linear(len(values), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([values]))
    return MaskStore(ParameterTable(layer)), layer


def mask(*kept: int) -> Tensor:
    return torch.tensor([kept], dtype=torch.bool)


def update(masks: MaskStore, layer: nn.Linear, gradient: float, rate: float = 1.0) -> None:
    """One SGD step by hand, with the masks' two calls around it."""
    layer.weight.grad = torch.full_like(layer.weight, gradient)
    masks.before_update_()
    with torch.no_grad():
        layer.weight.sub_(rate * layer.weight.grad)
    masks.after_update_()


def test_a_mask_takes_effect_when_it_is_applied() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0))
    assert layer.weight.tolist() == [[1.0, 2.0]] and masks.is_pending
    masks.apply_()
    assert layer.weight.tolist() == [[1.0, 0.0]] and not masks.is_pending


def test_masks_of_two_pruners_combine() -> None:
    masks, layer = store([1.0, 2.0, 3.0])
    masks.set_("a", "weight", mask(1, 1, 0))
    masks.set_("b", "weight", mask(0, 1, 1))
    masks.apply_()
    assert layer.weight.tolist() == [[0.0, 2.0, 0.0]]


def test_a_replacing_mask_drops_the_others() -> None:
    masks, _ = store([1.0, 2.0])
    masks.set_("a", "weight", mask(0, 1))
    masks.set_("b", "weight", mask(1, 1), replace=True)
    combined = masks.mask("weight")
    assert combined is not None and combined.tolist() == [[True, True]]


def test_zero_holds_after_an_update() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0))
    masks.apply_()
    update(masks, layer, gradient=0.5)
    assert layer.weight.tolist() == [[0.5, 0.0]]


def test_hidden_keeps_the_value_and_masks_its_gradient() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("hidden"))
    masks.apply_()
    update(masks, layer, gradient=0.5)
    assert layer.weight.tolist() == [[0.5, 0.0]]
    assert masks.weight("weight").tolist() == [[0.5, 2.0]]


def test_dense_trains_the_kept_value_on() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense"))
    masks.apply_()
    update(masks, layer, gradient=0.5)
    assert layer.weight.tolist() == [[0.5, 0.0]]
    assert masks.weight("weight").tolist() == [[0.5, 1.5]]


def test_a_readmitted_weight_comes_back_with_its_kept_value() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense"))
    masks.apply_()
    masks.set_("p", "weight", mask(0, 1), Applied("dense"))
    masks.apply_()
    update(masks, layer, gradient=0.0)
    assert layer.weight.tolist() == [[0.0, 2.0]]


def test_forward_leaves_weights_to_the_optimizer_until_the_next_step() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("forward"))
    masks.apply_()
    update(masks, layer, gradient=0.5)
    assert layer.weight.tolist() == [[0.5, -0.5]]
    masks.before_forward_()
    assert layer.weight.tolist() == [[0.5, 0.0]]


def test_what_stays_is_rescaled_and_the_kept_values_are_not() -> None:
    masks, layer = store([1.0, 2.0, 3.0, 4.0])
    masks.set_("p", "weight", mask(1, 0, 0, 0), Applied("dense", rescale=True))
    masks.apply_()
    assert layer.weight.tolist() == [[4.0, 0.0, 0.0, 0.0]]
    update(masks, layer, gradient=0.5)
    assert layer.weight.tolist() == [[2.0, 0.0, 0.0, 0.0]]
    assert masks.weight("weight").tolist() == [[0.5, 1.5, 2.5, 3.5]]


def test_the_gradient_of_a_rescaled_weight_is_rescaled() -> None:
    """What is shown is 4 w, so the gradient for w is 4 times that of what is shown."""
    masks, layer = store([1.0, 2.0, 3.0, 4.0])
    masks.set_("p", "weight", mask(1, 0, 0, 0), Applied("dense", mask_gradients=True, rescale=True))
    masks.apply_()
    update(masks, layer, gradient=0.5)
    assert masks.weight("weight").tolist() == [[-1.0, 2.0, 3.0, 4.0]]


def test_where_all_is_dropped_nothing_shows_at_any_scale() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(0, 0), Applied("dense", rescale=True))
    masks.apply_()
    assert layer.weight.tolist() == [[0.0, 0.0]]


def test_dropping_a_rescaled_mask_shows_the_kept_values() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense", rescale=True))
    masks.apply_()
    masks.drop_("p")
    assert layer.weight.tolist() == [[1.0, 2.0]] and masks.names == []


def test_rescaling_is_in_the_state() -> None:
    masks, _ = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense", rescale=True))
    other, layer = store([1.0, 2.0])
    other.load_state_dict(masks.state_dict())
    other.apply_()
    assert layer.weight.tolist() == [[2.0, 0.0]]


def test_a_missing_gradient_is_left_missing() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("zero", mask_gradients=True))
    masks.before_update_()
    assert layer.weight.grad is None


def test_a_revived_weight_is_a_violation() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0))
    masks.apply_()
    assert masks.violations() == {}
    with torch.no_grad():
        layer.weight[0, 1] = 3.0
    assert "1 pruned weights are not 0" in masks.violations()["weight"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_weight_under_a_mask_is_a_violation(value: float) -> None:
    masks, _ = store([1.0, value])
    masks.set_("p", "weight", mask(1, 0))
    masks.apply_()
    assert "non-finite" in masks.violations()["weight"]


def test_masks_follow_the_model_to_another_dtype() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense"))
    masks.apply_()
    layer.double()
    masks.refresh_()
    update(masks, layer, gradient=0.5)
    assert masks.weight("weight").dtype == torch.float64
    assert layer.weight.tolist() == [[0.5, 0.0]]


def test_masks_follow_the_model_to_another_device() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense"))
    layer.to("meta")
    masks.refresh_()
    masks.apply_()
    masks.before_update_()
    masks.after_update_()
    assert masks.weight("weight").device.type == "meta"


def test_momentum_of_pruned_weights_is_masked_at_a_cut() -> None:
    masks, layer = store([1.0, 2.0])
    optimizer = torch.optim.Adam(layer.parameters())
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    masks.set_("p", "weight", mask(1, 0))
    masks.mask_optimizer_state_(optimizer, ["weight"], reset=False)
    state = optimizer.state[layer.weight]
    assert state["exp_avg"][0, 1] == 0 and state["exp_avg"][0, 0] != 0
    assert state["exp_avg_sq"][0, 1] == 0 and state["step"] == 1


def test_state_can_be_reset_instead() -> None:
    masks, layer = store([1.0, 2.0])
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
    layer.weight.grad = torch.ones_like(layer.weight)
    optimizer.step()
    masks.set_("p", "weight", mask(1, 0))
    masks.mask_optimizer_state_(optimizer, ["weight"], reset=True)
    assert layer.weight not in optimizer.state


def test_state_round_trips() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense", mask_gradients=True))
    other = MaskStore(ParameterTable(layer))
    other.load_state_dict(masks.state_dict())
    assert other.state_dict() == {**masks.state_dict(), "masters": other.state_dict()["masters"]}
    assert other.weight("weight").equal(masks.weight("weight"))


@pytest.mark.parametrize("name, shape", [("other", (1, 2)), ("weight", (2, 2))])
def test_a_mask_of_another_model_is_refused(name: str, shape: tuple[int, int]) -> None:
    masks, _ = store([1.0, 2.0])
    state = {"masks": {name: {"p": torch.ones(shape, dtype=torch.bool)}}, "masters": {}, "applied": {}}
    with pytest.raises(CheckpointError, match=name):
        masks.load_state_dict({**state, "is_pending": False})


def test_masks_can_be_applied_to_a_copy() -> None:
    masks, _ = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0))
    _, copy = store([5.0, 6.0])
    masks.apply_to_(nn.ModuleDict({"module": copy}))
    assert copy.weight.tolist() == [[5.0, 0.0]]


@pytest.mark.parametrize("mode", ["hidden", "dense"])
def test_a_kept_value_that_is_readmitted_shows_at_once(mode: Mode) -> None:
    masks, layer = store([1.0, 2.0, 3.0])
    masks.set_("p", "weight", mask(0, 1, 1), Applied(mode))
    masks.apply_()
    masks.set_("p", "weight", mask(1, 1, 0), Applied(mode))
    masks.apply_()
    assert layer.weight.tolist() == [[1.0, 2.0, 0.0]]


def test_an_update_without_the_kept_values_is_an_error() -> None:
    masks, _ = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0), Applied("dense"))
    masks.apply_()
    with pytest.raises(SchedEngineError, match="before_parameter_optimization was not called"):
        masks.after_update_()


def test_the_applied_form_has_the_layout_of_the_weight() -> None:
    layer = nn.Conv2d(4, 4, 3, bias=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    masks = MaskStore(ParameterTable(layer))
    masks.set_("p", "weight", torch.ones(4, 4, 3, 3, dtype=torch.bool))
    assert masks._of("all")[0].masks[0].stride() == layer.weight.stride()


def test_masks_follow_a_model_to_another_device() -> None:
    masks, layer = store([1.0, 2.0])
    masks.set_("p", "weight", mask(1, 0))
    layer.to("meta")
    masks.refresh_()
    owned = masks.owned("p", "weight")
    assert owned is not None and owned.device.type == "meta"


@pytest.mark.parametrize(("mode", "left"), [("zero", [1, 0, 0]), ("hidden", [1, 2, 3]), ("dense", [1, 2, 3])])
def test_masks_that_are_taken_away_leave_zeros_or_the_kept_values(mode: Mode, left: list[float]) -> None:
    masks, layer = store([1, 2, 3])
    masks.set_("a", "weight", mask(1, 0, 0), Applied(mode))
    masks.apply_()
    masks.drop_("a")
    assert layer.weight.flatten().tolist() == left and masks.names == [] and masks.mask("weight") is None


@pytest.mark.parametrize(("mode", "left"), [("zero", [1, 0, 0]), ("hidden", [1, 2, 0]), ("dense", [1, 2, 0])])
def test_another_pruners_mask_holds_when_one_is_taken_away(mode: Mode, left: list[float]) -> None:
    masks, layer = store([1, 2, 3])
    masks.set_("a", "weight", mask(1, 0, 1), Applied(mode))
    masks.set_("b", "weight", mask(1, 1, 0), Applied(mode))
    masks.apply_()
    masks.drop_("a")
    assert layer.weight.flatten().tolist() == left and not masks.violations()


@pytest.mark.parametrize("mode", ["zero", "hidden", "dense"])
def test_values_are_replaced_under_the_mask_too(mode: Mode) -> None:
    masks, layer = store([1, 2, 3])
    masks.set_("a", "weight", mask(1, 0, 1), Applied(mode))
    masks.apply_()
    masks.fill_("weight", torch.tensor([[7.0, 8.0, 9.0]]))
    masks.apply_()
    assert layer.weight.flatten().tolist() == [7, 0, 9]
    assert masks.weight("weight").flatten().tolist() == ([7, 0, 9] if mode == "zero" else [7, 8, 9])


def test_what_stays_of_a_mask_is_that_of_the_positions_that_stay() -> None:
    whole = torch.tensor([[True, False], [False, True], [True, True]])
    assert sliced(whole, ((0, torch.tensor([0, 2])), (1, torch.tensor([1])))).tolist() == [[False], [True]]


def test_changes_are_counted_but_for_owners_that_are_left_out() -> None:
    masks, _ = store([1, 2, 3])
    masks.set_("a", "weight", mask(1, 0, 1))
    masks.set_("b", "weight", mask(0, 1, 1))
    masks.drop_("b")
    assert (masks.changes(), masks.changes(but={"b"})) == (3, 1)
    masks.set_("b", "weight", mask(0, 1, 1))
    whole, but = masks.mask("weight"), masks.mask("weight", but={"b"})
    assert whole is not None and but is not None
    assert (whole.tolist(), but.tolist()) == ([[False, False, True]], [[True, False, True]])
