"""Any schedule, stopped after any epoch and resumed in a new process's stead, ends bit for bit where the whole run
ends."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from loops import sgd, small_model, step_once, train
from methods import DATA, METHODS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from schedengine import PruningScheduler, load_schedule
from schedengine.criteria import CRITERIA
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.retraining import Retraining
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
UPDATE_FIELDS: dict[str, dict[str, Any]] = {"splice": {"threshold": {"spread": 0.1}, "sparsity": None}}
THRESHOLDS_OF: dict[str, dict[str, Any]] = {
    "absolute": {},
    "std": {},
    "spread": {"growth": 0.2},
    "rising": {"after": 2},
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


def looking(criterion: Any) -> dict[str, Any]:
    """Filters from the second epoch on: before it there is nothing to see, and later the little network dies."""
    layer = "5.weight" if criterion == "gradient" else "0.weight"
    axes = {"criterion": criterion, "granularity": "filter", "parameters": layer, "sparsity": {"linear": 0.66}}
    return {**pruning(**axes), "policies": [{"pruner": "p", "during": "run", "from": 1, "until": 4}]}


def dropping(**axes: Any) -> dict[str, Any]:
    """Filters that go for one step in two, with the values kept."""
    dropped = {
        "granularity": "filter",
        "criterion": "random",
        "draw": "bernoulli",
        "allocation": "uniform",
        "update": "reselect",
        "pruned": "dense",
        "rescale": True,
        "lasts": "step",
        "mask_gradients": True,
    }
    return {**pruning(**dropped | axes), "policies": [{"pruner": "p", "during": "run", "refresh": "2st"}]}


def lr(name: str) -> dict[str, Any]:
    return {
        "version": 2,
        "lr_schedulers": {"lr": {"class": name, **REQUIRED.get(name, {})}},
        "policies": [{"lr_scheduler": "lr", "during": "run"}],
    }


def phased(*policies: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A dense phase and two cycles, each of which begins with a cut."""
    return {
        "version": 2,
        "phases": [{"name": "dense", "epochs": 2}, {"name": "cycle", "epochs": 2, "repeat": 2}],
        "pruners": {"p": {"sparsity": {"ramp": "geometric", "to": 0.8}, **sections.pop("axes", {})}},
        "lr_schedulers": {"dense": {"class": "linear", "warmup": "20%"}, **sections},
        "policies": [{"pruner": "p", "at": "cycle"}, *policies],
    }


def retraining(name: str, **axes: Any) -> dict[str, Any]:
    rates = [{"lr_scheduler": "dense", "during": "dense"}, {"lr_scheduler": "again", "during": "cycle"}]
    return phased(*rates, again={"class": name}, axes=axes)


def rewinding(at: Any = "cycle", **rewind: Any) -> dict[str, Any]:
    return phased({"rewind": rewind, "at": at}, {"lr_scheduler": "dense", "during": ["dense", "cycle"]})


RULES = [name for name in LR_SCHEDULES.names() if issubclass(LR_SCHEDULES.get(name), Retraining)]
SCHEDULES: dict[str, dict[str, Any]] = {
    **{f"criterion {name}": looking(name) for name in CRITERIA.names()},
    "criterion gradient of the norm": looking({"gradient": {"of": "norm"}}),
    "criterion magnitude, folded": looking({"magnitude": {"folded": True}}),
    **{f"allocation {name}": pruning(allocation=name) for name in ALLOCATIONS.names() if name != "uniform_plus"},
    "allocation uniform_plus": pruning(allocation="uniform_plus", sparsity=0.3),
    **{
        f"ramp {name}": pruning(sparsity={"ramp": name, **RAMP_FIELDS.get(name, {"to": 0.8})}) for name in RAMPS.names()
    },
    **{f"update {name}, {mode}": {**pruning(update=name, pruned=mode, **UPDATE_FIELDS.get(name, {})),
                                  "policies": [{"pruner": "p", "during": "run", "keep_mask": mode == "forward"}]}
       for name in ("shrink", "reselect", "splice") for mode in ("zero", "hidden", "dense", "forward")},
    **{f"optimizer state {how}": pruning(optimizer_state=how) for how in ("mask", "keep", "reset")},
    **{f"threshold {name}": pruning(threshold={name: {"by_name": 0.5, **fields}}, sparsity=None, update="reselect",
                                    pruned="dense")
       for name, fields in THRESHOLDS_OF.items()},
    "patterns, dense": {**pruning(granularity={"keep": [2, 4]}, parameters="5.weight", sparsity=None, update="reselect",
                                  pruned="dense"), "policies": [{"pruner": "p", "during": "run", "every": "3st"}]},
    "runs of kernels": pruning(granularity={"consecutive": 3}, parameters="0.weight"),
    "together, mean": pruning(granularity="row", together="mean", allocation="uniform", parameters="5.weight"),
    "drop-filter": dropping(),
    "drop-filter, hidden": dropping(pruned="hidden", mask_gradients=False),
    "drop-filter at a drawn level": dropping(draw="exact", criterion="magnitude", rescale=False,
                                             sparsity={"ramp": "random", "from": 0.1, "to": 0.6}),
    "steps": {**pruning(), "policies": [{"pruner": "p", "during": "run", "every": "3st"}]},
    "refresh": {**pruning(pruned="dense", update="reselect"),
                "policies": [{"pruner": "p", "during": "run", "refresh": "2st", "keep_mask": True}]},
    **{f"lr {name}": lr(name) for name in LR_SCHEDULES.names() if name not in RULES},
    **{f"lr {name}": retraining(name) for name in RULES},
    "bimp": retraining("ALLR", allocation="global"),
    "bimp, dense": retraining("LayerwiseALLR", pruned="dense", update="reselect"),
    "lottery ticket": rewinding(weights=0, clock=0),
    "rewound to a step": rewinding(weights="3st", clock="3st", optimizer="mask"),
    "rewound rates": rewinding(clock=1),
    "shuffled weights": rewinding(weights=0, shuffle="weights"),
    "shuffled masks": rewinding(shuffle="masks", optimizer="reset"),
    "dense-sparse-dense": phased({"release": "p", "at": {"end": "cycle"}},
                                 {"lr_scheduler": "dense", "during": ["dense", "cycle"]}),
    "recalibrated": phased({"recalibrate": {"batches": 2}, "at": "cycle"},
                           {"recalibrate": "all", "at": ["9st", {"end": "cycle"}]},
                           {"lr_scheduler": "dense", "during": ["dense", "cycle"]}),
    "cuts repeated in a retraining": {**retraining("ALLR", update="reselect", pruned="dense"), "policies": [
        {"pruner": "p", "at": "cycle", "refresh": "3st"},
        {"lr_scheduler": "dense", "during": "dense"}, {"lr_scheduler": "again", "during": "cycle"}]},
    **{f"method {name}": document for name, document in METHODS.items()},
    "rates of a training that goes on": {**retraining("SLR"), "policies": [
        {"pruner": "p", "at": {"end": "run"}},
        {"lr_scheduler": "dense", "during": "dense"}, {"lr_scheduler": "again", "during": "cycle"}]},
}  # fmt: skip


PHASED = [name for name, document in SCHEDULES.items() if "phases" in document]
REMEMBERING = [
    name
    for name in SCHEDULES
    if name.startswith(("criterion", "threshold", "drop", "patterns", "update spl", "method"))
]
"""Those that change something with a step, or gather something through an epoch."""
Setting = tuple[nn.Sequential, torch.optim.SGD, PruningScheduler]


def setting(document: dict[str, Any], seed: int = 0, rate: float = 0.1) -> Setting:
    model = small_model(seed)
    optimizer = sgd(model, lr=rate, weight_decay=0.01)
    given: dict[str, Any] = {"example_inputs": DATA[0][0][:1], "data": DATA, "loss": cross_entropy}
    return model, optimizer, load_schedule(document).bind(model, optimizer, epochs=EPOCHS, **given)


def anew(document: dict[str, Any], old: Setting) -> Setting:
    """What a new process sets up from the file that the old one saved."""
    file = io.BytesIO()
    torch.save([part.state_dict() for part in old], file)
    file.seek(0)
    new = setting(document, seed=9, rate=0.7)
    weights, momentum, state = torch.load(file, weights_only=True)
    new[0].load_state_dict(weights)
    new[1].load_state_dict(momentum)
    new[2].load_state_dict(state)
    return new


def finish(model: nn.Sequential, optimizer: torch.optim.SGD, scheduler: PruningScheduler) -> dict[str, Tensor]:
    for epoch in scheduler.epochs():
        train(scheduler, model, optimizer, epochs=range(epoch, epoch + 1))
    return model.state_dict()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_resumed_run_ends_where_the_whole_run_ends(name: str) -> None:
    document = SCHEDULES[name]
    whole = finish(*setting(document))
    for stop_after in range(1, EPOCHS) if name in PHASED else (1, 4):
        stopped = setting(document)
        train(stopped[2], *stopped[:2], epochs=range(stop_after))
        resumed = finish(*anew(document, stopped))
        assert all(whole[key].equal(resumed[key]) for key in whole), stop_after


@pytest.mark.parametrize("name", [*PHASED, *REMEMBERING])
@pytest.mark.parametrize("epoch", [0, 2, 5])
def test_a_run_resumed_within_an_epoch_ends_where_the_whole_run_ends(name: str, epoch: int) -> None:
    document, stopped_at = SCHEDULES[name], 2
    whole = finish(*setting(document))
    model, optimizer, scheduler = setting(document)
    train(scheduler, model, optimizer, epochs=range(epoch))
    scheduler.on_epoch_begin(epoch)
    for step in range(stopped_at):
        step_once(scheduler, model, optimizer, epoch, step, 4)
    model, optimizer, scheduler = anew(document, (model, optimizer, scheduler))
    for step in range(stopped_at, 4):
        step_once(scheduler, model, optimizer, epoch, step, 4)
    scheduler.on_epoch_end(epoch, metrics={"loss": 1.0 / (epoch + 1), "top1": float(epoch)})
    resumed = finish(model, optimizer, scheduler)
    assert all(whole[key].equal(resumed[key]) for key in whole)
