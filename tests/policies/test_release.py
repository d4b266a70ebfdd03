"""Dense-sparse-dense training: masks are taken away, and weights train again."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from loops import sgd, small_model, train
from torch import nn

from schedengine import EffectError, PruningScheduler, load_schedule

MODES = ["zero", "hidden", "dense"]


def run(*policies: dict[str, Any], epochs: int = 4, **axes: Any) -> tuple[nn.Module, PruningScheduler]:
    """A cut at epoch 1, and what else the policies say."""
    model = small_model()
    optimizer = sgd(model)
    pruners = {"p": {"sparsity": 0.5, "allocation": "uniform", **axes}}
    written = {"version": 2, "pruners": pruners, "policies": list(policies)}
    scheduler = load_schedule(written).bind(model, optimizer, epochs=epochs)
    train(scheduler, model, optimizer)
    return model, scheduler


def zeros(model: nn.Module) -> int:
    return sum(int((model.state_dict()[name] == 0).sum()) for name in ("0.weight", "5.weight"))


@pytest.mark.parametrize("pruned", MODES)
@pytest.mark.parametrize("at", [2, "9st", {"end": "run"}])
def test_released_weights_are_free_and_the_end_of_the_run_does_not_complain(at: Any, pruned: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, scheduler = run({"pruner": "p", "at": 1}, {"release": "p", "at": at}, pruned=pruned)
    assert scheduler.masks.names == [] and scheduler.cuts[0].removed == 147
    assert zeros(model) == (147 if at == {"end": "run"} and pruned == "zero" else 0)


@pytest.mark.parametrize("pruned", MODES)
def test_a_later_cut_works_again(pruned: str) -> None:
    model, scheduler = run({"pruner": "p", "at": [1, 3]}, {"release": "p", "at": 2}, pruned=pruned)
    assert [cut.removed for cut in scheduler.cuts] == [147, 147] and zeros(model) == 147


def test_a_ramp_goes_on_after_a_release_from_a_dense_network() -> None:
    ramp = {"ramp": "list", "values": [0.8, 0.5]}
    _, scheduler = run({"pruner": "p", "at": [1, 3]}, {"release": "p", "at": 2}, sparsity=ramp, update="reselect")
    assert [cut.achieved for cut in scheduler.cuts] == pytest.approx([0.8, 0.5], abs=0.01)


def test_other_pruners_masks_stay() -> None:
    model = small_model()
    optimizer = sgd(model)
    written = {
        "version": 2,
        "pruners": {name: {"sparsity": 0.5, "parameters": f"{name}.weight"} for name in ("0", "5")},
        "policies": [{"pruner": "0", "at": 1}, {"pruner": "5", "at": 1}, {"release": "0", "at": 2}],
    }
    scheduler = load_schedule(written).bind(model, optimizer, epochs=3)
    train(scheduler, model, optimizer)
    assert scheduler.masks.names == ["5.weight"] and zeros(model) == 120


def test_the_trace_of_the_dense_training_does_not_go_on_after_a_release() -> None:
    _, scheduler = run({"pruner": "p", "at": 1}, {"release": "p", "at": 2})
    assert scheduler.trace is not None and scheduler.trace.epochs == 1


def test_a_second_release_has_nothing_to_take_away() -> None:
    document = {
        "version": 2,
        "pruners": {"p": {"sparsity": 0.5}},
        "policies": [{"pruner": "p", "at": 0}, {"release": "p", "at": [1, 2]}],
    }
    model = small_model()
    scheduler = load_schedule(document).bind(model, sgd(model), epochs=3)
    with pytest.raises(EffectError, match="release of pruner 'p': it has no masks to take away"):
        train(scheduler, model, sgd(model))
