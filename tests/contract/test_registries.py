"""Registered means tested: every member is made from a file's words, written back, and survives awkward weights."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from loops import one_pruner
from torch import nn

from schedengine import dump, load_schedule
from schedengine.criteria import CRITERIA
from schedengine.errors import EffectError, EffectWarning
from schedengine.granularity import GRANULARITIES
from schedengine.lr import LR_SCHEDULES
from schedengine.pruners import PRUNED, THRESHOLDS, UPDATES
from schedengine.pruners.gates import Gate
from schedengine.pruners.pruned import Edit
from schedengine.registry import Registry
from schedengine.regularizers import PENALTIES, STRENGTHS
from schedengine.sparsity import ALLOCATIONS, RAMPS

REGISTRIES = [CRITERIA, GRANULARITIES, ALLOCATIONS, RAMPS, UPDATES, PRUNED, THRESHOLDS, PENALTIES]
REGISTRIES += [STRENGTHS, LR_SCHEDULES]
GRANULARITY: dict[str, Any] = {"block": {"block": [1, 1]}, "consecutive": {"consecutive": 1}}
THRESHOLD: dict[str, Any] = {"rising": {"rising": {"by_name": 0.5, "after": 2.0}}}
UPDATE: dict[str, Any] = {
    "splice": {"threshold": 0.5, "sparsity": None, "pruned": "hidden"},
    "drop_grow": {"allocation": "uniform", "mask_gradients": True},
    "learned": {"pruned": "soft_threshold", "sparsity": None},
}
RAMP: dict[str, Any] = {
    "list": {"ramp": "list", "values": [0.3]},
    "remaining": {"remaining": 0.3},
}

STEADY = [cls for name in PRUNED.names() if issubclass(cls := PRUNED.get(name), (Gate, Edit))]
"""What acts at every step of a stretch of time, and never at an instant."""

AXES: list[dict[str, Any]] = [
    *({"criterion": name} for name in CRITERIA.names()),
    *({"granularity": GRANULARITY.get(name, name)} for name in GRANULARITIES.names() if name != "keep"),  # takes no 1x1
    *({"allocation": name} for name in ALLOCATIONS.names()),
    *({"update": name, **UPDATE.get(name, {})} for name in UPDATES.names() if name != "learned"),
    *({"pruned": name, "update": "reselect"} for name in PRUNED.names() if PRUNED.get(name) not in STEADY),
    *({"sparsity": RAMP.get(name, {"ramp": name, "to": 0.3})} for name in RAMPS.names()),
    *({"threshold": THRESHOLD.get(name, {name: 0.5}), "sparsity": None} for name in THRESHOLDS.names()),
]


NEEDY = [name for name in CRITERIA.names() if CRITERIA.get(name)().needs]
"""Criteria that look at more than weights."""
BLIND = [axes for axes in AXES if axes.get("criterion") not in NEEDY]


def axes_of(axes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {"sparsity": 0.3, **axes}.items() if value is not None}


def layers(*shapes: tuple[int, int, int, int], value: float | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Conv2d(i, o, (h, w), bias=False) for o, i, h, w in shapes))
    if value is not None:
        for parameter in model.parameters():
            nn.init.constant_(parameter, value)
    return model


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_member_says_what_it_is_for(registry: Registry) -> None:
    for name in registry.names():
        assert registry.get(name).__doc__, name


@pytest.mark.parametrize("axes", AXES, ids=str)
def test_every_axis_value_reads_back_from_its_dump(axes: dict[str, Any]) -> None:
    schedule = one_pruner(axes_of(axes), {"at": "start"})
    assert load_schedule(dump(schedule)) == schedule


@pytest.mark.parametrize("axes", BLIND, ids=str)
@pytest.mark.parametrize("value", [None, 1.0, 0.0], ids=["random", "all equal", "all zero"])
def test_every_axis_value_cuts_awkward_weights(axes: dict[str, Any], value: float | None) -> None:
    """Among them a 1x1 weight, of which nothing can go."""
    model = layers((2, 3, 1, 1), (8, 2, 2, 2), (1, 1, 1, 1), (2, 2, 1, 3), value=value)
    schedule = one_pruner({**axes_of(axes), "optional": True}, {"at": "start"})
    scheduler = schedule.bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    kept = [
        int(mask.count_nonzero()) for name in scheduler.masks.names if (mask := scheduler.masks.mask(name)) is not None
    ]
    assert all(count > 0 for count in kept)
    assert scheduler.cuts[0].removed == sum(p.numel() for p in model.parameters()) - sum(kept)


@pytest.mark.parametrize("axes", BLIND, ids=str)
def test_half_precision_weights_can_be_cut(axes: dict[str, Any]) -> None:
    model = layers((2, 3, 1, 1), (8, 2, 2, 2), (2, 2, 1, 3)).to(torch.bfloat16)
    scheduler = one_pruner({**axes_of(axes), "optional": True}, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    assert scheduler.masks.violations() == {}


def normalised(value: float | None, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Four convolutions, each with what criteria may look at: a gradient, and a normalisation that follows."""
    weights = [*layers((2, 3, 1, 1), (8, 2, 2, 2), (1, 8, 1, 1), (2, 1, 1, 3), value=value)]
    norms = [nn.BatchNorm2d(weight.out_channels) for weight in weights if isinstance(weight, nn.Conv2d)]
    model = nn.Sequential(*(part for pair in zip(weights, norms, strict=True) for part in pair)).to(dtype)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    return model


@pytest.mark.parametrize("name", NEEDY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [None, 1.0, 0.0], ids=["random", "all equal", "all zero"])
def test_criteria_that_look_at_more_than_weights_cut_awkward_ones(
    name: str, dtype: torch.dtype, value: float | None
) -> None:
    model, images = normalised(value, dtype), torch.ones(2, 3, 6, 6, dtype=dtype)
    axes = {"criterion": name, "granularity": "filter", "sparsity": 0.3, "optional": True}
    data, squares = [(images, torch.zeros(2))], lambda made, _: made.square().mean()
    given: dict[str, Any] = {"data": data, "loss": squares, "example_inputs": images, "steps_per_epoch": 2}
    if name == "gradient":  # which knows that it is 0 over filters before a normalisation, if it can trace one
        del given["example_inputs"]
    scheduler = one_pruner(axes, {"at": "1st"}).bind(model, epochs=1, **given)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 2)
    scheduler.before_parameter_optimization(0, 0, 2)
    scheduler.on_minibatch_end(0, 0, 2)
    scheduler.on_minibatch_begin(0, 1, 2)
    kept = [int(scheduler.masks.in_force(f"{at}.weight").count_nonzero()) for at in (0, 2, 4, 6)]
    assert all(count > 0 for count in kept)
    assert scheduler.cuts[0].removed == 6 + 64 + 8 + 6 - sum(kept) > 0


@pytest.mark.parametrize("name", NEEDY)
def test_criteria_that_look_at_more_than_weights_cut_nothing_blindly(name: str) -> None:
    scheduler = one_pruner({"criterion": name, "granularity": "filter", "sparsity": 0.3}, {"at": 0}).bind(
        layers((4, 3, 1, 1)), epochs=1
    )
    with pytest.raises(EffectError, match="no cut"):
        scheduler.on_epoch_begin(0)


@pytest.mark.parametrize("name", [name for name in PRUNED.names() if PRUNED.get(name) in STEADY])
@pytest.mark.parametrize("value", [None, 1.0, 0.0], ids=["random", "all equal", "all zero"])
def test_what_acts_at_every_step_takes_awkward_weights(name: str, value: float | None) -> None:
    model = layers((2, 3, 1, 1), (8, 2, 2, 2), (1, 8, 1, 1), value=value)
    is_learned = issubclass(PRUNED.get(name), Gate)
    axes = {"update": "learned"} if is_learned else {"update": "reselect", "sparsity": 0.3}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = one_pruner({"pruned": name, **axes, "optional": True}, {"during": "run"})
    scheduler = schedule.bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    for step in range(2):
        scheduler.on_minibatch_begin(0, step, 2)
        optimizer.zero_grad()
        model(torch.ones(2, 3, 4, 4)).square().mean().backward()
        scheduler.before_parameter_optimization(0, step, 2)
        optimizer.step()
        scheduler.on_minibatch_end(0, step, 2)
    with suppress(EffectWarning):  # that nothing was removed
        scheduler.on_epoch_end(0)
    assert all(bool(one.isfinite().all()) for one in model.parameters())
