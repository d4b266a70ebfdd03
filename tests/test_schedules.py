"""Every schedule that ships loads without a note, fits the model its header names, trains, and says how it did."""

from __future__ import annotations

import copy
import json
import re
import warnings
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import pytest
import torch
from loops import batch, sgd, small_model
from torch import Tensor, nn

from schedengine import dump, load_schedule
from schedengine.errors import EffectError, ScheduleError
from schedengine.schedule.budget import rescale
from schedengine.schedule.document import Schedule
from schedengine.scheduler import PruningScheduler
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import build_model

FOLDER = Path(__file__).parent.parent / "schedules"
FILES = sorted(FOLDER.rglob("*.yaml"))
STEPS = 100
IMAGES = {"digits_cnn": 320, "resnet20_cifar": 4}
"""In a batch; least squares over the widest layer needs so many."""
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.lstrip("# ") for line in lines[:end])


def model_name(path: Path) -> str:
    (name,) = set(re.findall(r"--model (\S+)", header(path)))
    return name


def shortest(schedule: Schedule, model: nn.Module, example: Tensor) -> Schedule:
    """In as few epochs as it can be rescaled to, and bound in."""
    assert schedule.epochs is not None
    for budget in range(1, schedule.epochs):
        with suppress(ScheduleError):
            short = rescale(schedule, budget)
            short.bind(model, sgd(model), steps_per_epoch=STEPS, example_inputs=example)
            return short
    return schedule


def with_a_middle() -> nn.Module:
    """Most weights are neither in the first nor in the last layer, which some allocations spare."""
    torch.manual_seed(0)
    first = (nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    middle = (nn.Conv2d(4, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU())
    return nn.Sequential(*first, *middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))


def fitting(path: Path) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A network that has the parameters a schedule names, and a batch for it: the header's, or a small one."""
    if path.parent.name == "methods":
        return with_a_middle(), batch(0, 0)
    if path.parent.name != "structured":
        return small_model(), batch(0, 0)
    name = model_name(path)
    torch.manual_seed(0)
    (example,) = example_inputs(name)
    if not example.is_floating_point():
        return build_model(name), (torch.randint(0, 200, tuple(example.shape)), torch.randint(0, 200, (len(example),)))
    return build_model(name), (torch.randn(IMAGES[name], *example.shape[1:]), torch.randint(0, 10, (IMAGES[name],)))


def step_once(
    scheduler: PruningScheduler,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: tuple[Tensor, Tensor],
    epoch: int,
    step: int,
) -> None:
    scheduler.on_minibatch_begin(epoch, step, STEPS)
    out = model(data[0])
    scores = out[0].flatten(0, 1) if isinstance(out, tuple) else out
    loss = scheduler.before_backward_pass(epoch, step, STEPS, nn.functional.cross_entropy(scores, data[1]))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    scheduler.before_parameter_optimization(epoch, step, STEPS)
    optimizer.step()
    scheduler.on_minibatch_end(epoch, step, STEPS)


def train_two_steps_an_epoch(
    scheduler: PruningScheduler, model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor]
) -> None:
    """The first and the last of each epoch; the others only begin, so that a cut in between is made."""
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        step_once(scheduler, model, optimizer, data, epoch, 0)
        for step in range(1, STEPS - 1):
            scheduler.on_minibatch_begin(epoch, step, STEPS)
        step_once(scheduler, model, optimizer, data, epoch, STEPS - 1)
        scheduler.on_epoch_end(epoch)


@each_file
def test_a_shipped_schedule_binds_to_the_model_of_its_header(path: Path) -> None:
    model = build_model(model_name(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = load_schedule(path)
        schedule.bind(model, sgd(model), steps_per_epoch=STEPS, example_inputs=example_inputs(model_name(path)))
    assert load_schedule(dump(schedule)) == schedule


@each_file
def test_a_shipped_schedule_says_what_it_is_and_how_it_did(path: Path) -> None:
    said = header(path)
    schema = re.match(r"yaml-language-server: \$schema=(\S+)", said)
    assert schema is not None and json.loads((path.parent / schema[1]).read_text())["title"] == "schedengine schedule"
    for word in ("arXiv", "schedengine train", "--seed", "Result", "sparsity", "top-1"):
        assert word in said, word


@each_file
def test_a_shipped_schedule_binds_in_half_its_epochs_or_says_how_many_it_needs(path: Path) -> None:
    schedule, (model, data) = load_schedule(path), fitting(path)
    assert schedule.epochs is not None
    try:
        half = rescale(schedule, schedule.epochs // 2)
    except ScheduleError as error:
        assert re.search(r"which need \d+", str(error))
    else:
        scheduler = half.bind(model, sgd(model), steps_per_epoch=STEPS, example_inputs=data[0][:2])
        assert scheduler.total_epochs == schedule.epochs // 2


@each_file
def test_a_shipped_schedule_trains_to_its_end_in_as_few_epochs_as_it_can(path: Path) -> None:
    model, data = fitting(path)
    schedule, optimizer = load_schedule(path), sgd(model, lr=0.01)
    schedule = shortest(schedule, copy.deepcopy(model), data[0][:2])
    inputs, loss = data[0][:2], nn.functional.cross_entropy
    scheduler = schedule.bind(model, optimizer, steps_per_epoch=STEPS, example_inputs=inputs, data=[data], loss=loss)
    with missing(schedule):
        train_two_steps_an_epoch(scheduler, model, optimizer, data)  # which fails where a cut or a target was missed
    assert {cut.pruner for cut in scheduler.cuts} == {name for name, one in schedule.pruners.items() if not one.is_edit}
    assert all(weight.isfinite().all() for weight in model.parameters())


def missing(schedule: Schedule) -> AbstractContextManager[object]:
    """What a penalty has to bring to 0 does not get there in a few steps."""
    is_learned = any(one.threshold is not None for one in schedule.regularizers.values())
    return pytest.raises(EffectError, match="nothing to remove") if is_learned else nullcontext()
