"""Any schedule, stopped after any epoch and resumed in a new process's stead, ends bit for bit where the whole run
ends."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from loops import sgd, small_model, train

from schedengine import load_schedule
from schedengine.criteria import CRITERIA
from schedengine.lr import LR_SCHEDULES
from schedengine.pruners import UPDATES
from schedengine.sparsity import ALLOCATIONS, RAMPS

EPOCHS = 6
REQUIRED: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 2},
    "MultiStepLR": {"milestones": [2, 4]},
    "ExponentialLR": {"gamma": 0.5},
    "CosineAnnealingLR": {"T_max": 6},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 7},
    "ReduceLROnPlateau": {"patience": 0, "mode": "max"},
    "MultiStepMultiGammaLR": {"milestones": [2, 4], "gammas": [0.5, 0.1]},
    "DistillerPolynomialLR": {"T_max": 7, "power": 2.0},
}
RAMP_FIELDS: dict[str, dict[str, Any]] = {
    "list": {"values": [0.1, 0.2, 0.3, 0.5, 0.6, 0.8]},
    "remaining": {"fraction": 0.2},
}


def pruning(**axes: Any) -> dict[str, Any]:
    return {
        "version": 2,
        "pruners": {"p": {"sparsity": {"ramp": "cubic", "to": 0.8}, **axes}},
        "policies": [{"pruner": "p", "during": "run"}],
    }


def lr(name: str) -> dict[str, Any]:
    return {
        "version": 2,
        "lr_schedulers": {"lr": {"class": name, **REQUIRED.get(name, {})}},
        "policies": [{"lr_scheduler": "lr", "during": "run"}],
    }


SCHEDULES: dict[str, dict[str, Any]] = {
    **{f"criterion {name}": pruning(criterion=name) for name in CRITERIA.names()},
    **{f"allocation {name}": pruning(allocation=name) for name in ALLOCATIONS.names() if name != "uniform_plus"},
    "allocation uniform_plus": pruning(allocation="uniform_plus", sparsity=0.3),
    **{
        f"ramp {name}": pruning(sparsity={"ramp": name, **RAMP_FIELDS.get(name, {"to": 0.8})}) for name in RAMPS.names()
    },
    **{f"update {name}, {mode}": {**pruning(update=name, pruned=mode),
                                  "policies": [{"pruner": "p", "during": "run", "keep_mask": mode == "forward"}]}
       for name in UPDATES.names() for mode in ("zero", "hidden", "dense", "forward")},
    **{f"optimizer state {how}": pruning(optimizer_state=how) for how in ("mask", "keep", "reset")},
    "threshold std": {**pruning(), "pruners": {"p": {"threshold": {"std": 0.5}, "update": "reselect"}}},
    "steps": {**pruning(), "policies": [{"pruner": "p", "during": "run", "every": "3st"}]},
    "refresh": {**pruning(pruned="dense", update="reselect"),
                "policies": [{"pruner": "p", "during": "run", "refresh": "2st", "keep_mask": True}]},
    **{f"lr {name}": lr(name) for name in LR_SCHEDULES.names()},
}  # fmt: skip


def final_weights(document: dict[str, Any], stop_after: int | None) -> dict[str, torch.Tensor]:
    """Weights after the run, which is torn down and set up anew after ``stop_after`` epochs."""
    model = small_model()
    optimizer = sgd(model, weight_decay=0.01)
    scheduler = load_schedule(document).bind(model, optimizer, epochs=EPOCHS)
    if stop_after is not None:
        train(scheduler, model, optimizer, epochs=range(stop_after))
        file = io.BytesIO()
        torch.save([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)
        file.seek(0)
        weights, momentum, state = torch.load(file, weights_only=True)
        model = small_model(seed=9)
        optimizer = sgd(model, lr=0.7, weight_decay=0.01)
        scheduler = load_schedule(document).bind(model, optimizer, epochs=EPOCHS)
        model.load_state_dict(weights)
        optimizer.load_state_dict(momentum)
        scheduler.load_state_dict(state)
    for epoch in scheduler.epochs():
        train(scheduler, model, optimizer, epochs=range(epoch, epoch + 1))
    return model.state_dict()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_run_ends_where_the_whole_run_ends(name: str) -> None:
    document = SCHEDULES[name]
    whole = final_weights(document, None)
    for stop_after in (1, 4):
        resumed = final_weights(document, stop_after)
        assert all(whole[key].equal(resumed[key]) for key in whole), stop_after
