"""Going back: to which weights, with which momentum, and controls in random order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import sgd, small_model, train
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from schedengine import PruningScheduler, SchedEngineError, load_schedule
from schedengine.policies.rewind import Rewind

MODES = ["zero", "hidden", "dense"]


def document(rewind: dict[str, Any], at: Any = 2, **axes: Any) -> dict[str, Any]:
    """Half of each layer goes at epoch 2; then the rewinding."""
    axes = {"sparsity": 0.5, "allocation": "uniform", **axes}
    policies = [{"pruner": "p", "at": 2}, {"rewind": rewind, "at": at}]
    return {"version": 2, "pruners": {"p": axes}, "policies": policies}


def before_training_on(
    rewind: dict[str, Any], epochs: int = 4, **axes: Any
) -> tuple[nn.Module, torch.optim.SGD, PruningScheduler]:
    """Two dense epochs of four steps, the cut, and the rewinding."""
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(document(rewind, **axes)).bind(model, optimizer, epochs=epochs)
    train(scheduler, model, optimizer, epochs=range(2))
    scheduler.on_epoch_begin(2)
    return model, optimizer, scheduler


def trained(steps: int) -> dict[str, Tensor]:
    """The network after so many steps of the same training without a schedule."""
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule({"version": 2, "policies": []}).bind(model, optimizer, epochs=9)
    seen: list[dict[str, Tensor]] = [{name: value.clone() for name, value in model.state_dict().items()}]
    keep = lambda *_: seen.append({name: value.clone() for name, value in model.state_dict().items()})  # noqa: E731
    train(scheduler, model, optimizer, epochs=range(2), after_step=keep)
    return seen[steps]


def momenta(model: nn.Module, optimizer: torch.optim.SGD) -> list[Tensor]:
    """Of the two weights; empty where there is none."""
    return [optimizer.state[one].get("momentum_buffer", torch.empty(0)) for one in (model[0].weight, model[5].weight)]  # type: ignore[index]


# --- which weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("time", "steps"), [(0, 0), (1, 4), ("3st", 3), ("4st", 4), ("1.5ep", 6), ("50%", 4), (2, 8)])
@pytest.mark.parametrize("pruned", MODES)
def test_weights_and_buffers_go_back_to_any_epoch_or_step(time: Any, steps: int, pruned: str) -> None:
    model, _, scheduler = before_training_on({"weights": time}, pruned=pruned)
    expected = trained(steps)
    for name, value in model.state_dict().items():
        mask = scheduler.masks.mask(name)
        assert value.equal(expected[name] if mask is None else expected[name] * mask), name


def test_weights_of_the_moment_itself_are_those_before_its_cut() -> None:
    _, _, scheduler = before_training_on({"weights": "8st"}, pruned="hidden")
    assert scheduler.masks.weight("5.weight").equal(trained(8)["5.weight"])


def test_the_weights_at_the_end_of_an_epoch_can_go_back() -> None:
    written = document({"weights": 1}, at={"end": "last"})
    written["phases"] = [{"name": "first", "epochs": 2}, {"name": "last", "epochs": 1}]
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(written).bind(model, optimizer)
    train(scheduler, model, optimizer)
    mask = scheduler.masks.in_force("5.weight")
    assert model.state_dict()["5.weight"].equal(trained(4)["5.weight"] * mask)


def test_a_loop_that_began_later_has_no_weights_to_go_back_to() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(document({"weights": 0})).bind(model, optimizer, epochs=4)
    with pytest.raises(SchedEngineError, match="there are no weights of epoch 0 to go back to: the loop did not begin"):
        train(scheduler, model, optimizer, epochs=range(1, 4))


# --- momentum --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rewind", "kept"),
    [({"weights": 0}, False), ({"weights": 0, "optimizer": "keep"}, True),
     ({"optimizer": "reset"}, False), ({"shuffle": "masks"}, True)],
)  # fmt: skip
def test_momentum_is_forgotten_where_weights_go_back_unless_the_file_says_so(rewind: Any, kept: bool) -> None:
    model, optimizer, _ = before_training_on(rewind, optimizer_state="keep")
    assert all(bool(one.any()) is kept for one in momenta(model, optimizer))
    assert bool(optimizer.state[model[0].bias]) is kept  # type: ignore[index]


def test_momentum_of_pruned_weights_can_be_masked() -> None:
    model, optimizer, scheduler = before_training_on({"weights": 0, "optimizer": "mask"}, optimizer_state="keep")
    for name, momentum in zip(("0.weight", "5.weight"), momenta(model, optimizer), strict=True):
        mask = scheduler.masks.in_force(name)
        assert not momentum[~mask].any() and momentum[mask].any()


# --- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruned", MODES)
def test_initial_weights_in_random_order_are_a_fresh_draw(pruned: str) -> None:
    rewind = {"weights": 0, "shuffle": "weights"}
    model, _, scheduler = before_training_on(rewind, pruned=pruned)
    initial, found = small_model().state_dict(), model.state_dict()
    assert found["5.bias"].sort()[0].equal(initial["5.bias"].sort()[0])
    assert not found["5.weight"].equal(initial["5.weight"] * scheduler.masks.in_force("5.weight"))
    assert not scheduler.masks.violations() and int((found["5.weight"] == 0).sum()) == 120
    drawn = found["5.weight"][found["5.weight"] != 0].tolist()
    assert set(drawn) <= set(initial["5.weight"].flatten().tolist())


@pytest.mark.parametrize("pruned", MODES)
def test_kept_weights_in_random_order_are_the_same_ones(pruned: str) -> None:
    stayed = before_training_on({"optimizer": "keep"}, pruned=pruned)[0].state_dict()["5.weight"]
    moved = before_training_on({"shuffle": "weights"}, pruned=pruned)[0].state_dict()["5.weight"]
    assert moved.flatten().sort()[0].equal(stayed.flatten().sort()[0]) and not moved.equal(stayed)
    assert (moved == 0).equal(stayed == 0)


def test_random_order_is_the_same_twice_and_another_with_another_seed() -> None:
    one, two, other = (
        before_training_on({"weights": 0, "shuffle": "weights", "seed": seed})[0].state_dict()["5.weight"]
        for seed in (3, 3, 4)
    )
    assert one.equal(two) and not one.equal(other)


@pytest.mark.parametrize("granularity", ["element", "filter", "kernel"])
@pytest.mark.parametrize("pruned", MODES)
def test_shuffled_masks_keep_as_many_groups_in_every_layer(granularity: str, pruned: str) -> None:
    axes: dict[str, Any] = {"granularity": granularity, "parameters": "0.weight", "pruned": pruned}
    _, _, cut = before_training_on({"optimizer": "keep"}, **axes)
    _, _, scheduler = before_training_on({"shuffle": "masks"}, **axes)
    old, new = (one.masks.in_force("0.weight") for one in (cut, scheduler))
    assert int(new.sum()) == int(old.sum()) and not new.equal(old)
    assert granularity != "filter" or all(bool(group.all()) or not bool(group.any()) for group in new)
    assert not scheduler.masks.violations()


@pytest.mark.parametrize("rewind", [{"shuffle": "masks"}, {"weights": 0, "shuffle": "masks"},
                                    {"weights": 0, "shuffle": "weights"}, {"weights": "3st"}])  # fmt: skip
@pytest.mark.parametrize("pruned", MODES)
def test_a_run_with_rewinding_ends_as_sparse_as_it_was_cut(rewind: Any, pruned: str) -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(document(rewind, pruned=pruned)).bind(model, optimizer, epochs=4)
    train(scheduler, model, optimizer)  # verifies masks and targets
    assert list(scheduler.masks.counts()) == [("0.weight", 54, 27), ("5.weight", 240, 120)]


def test_every_cycle_has_an_order_of_its_own() -> None:
    written = document({"shuffle": "masks"}, at=[2, 3])
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(written).bind(model, optimizer, epochs=4)
    train(scheduler, model, optimizer, epochs=range(3))
    first = scheduler.masks.in_force("5.weight").clone()
    train(scheduler, model, optimizer, epochs=range(3, 4))
    assert not scheduler.masks.in_force("5.weight").equal(first)


# --- the file --------------------------------------------------------------------------------------------------------


def test_a_rewinding_that_says_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="says nothing; give 'weights'"):
        TypeAdapter(Rewind).validate_python({})
    with pytest.raises(ValidationError, match="says nothing"):
        TypeAdapter(Rewind).validate_python({"seed": 3})
