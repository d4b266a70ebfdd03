"""Every schedule that ships loads without a note, fits the model its header names, trains, and says how it did."""

from __future__ import annotations

import json
import re
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from loops import sgd, small_model, step_once
from torch import nn

from schedengine import dump, load_schedule
from schedengine.errors import ScheduleError
from schedengine.schedule.budget import rescale
from schedengine.schedule.document import Schedule
from schedengine.scheduler import PruningScheduler
from schedengine.zoo.models import build_model

FOLDER = Path(__file__).parent.parent / "schedules"
FILES = sorted(FOLDER.rglob("*.yaml"))
STEPS = 100
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.lstrip("# ") for line in lines[:end])


def shortest(schedule: Schedule) -> Schedule:
    """In as few epochs as it can be rescaled to."""
    assert schedule.epochs is not None
    for budget in range(1, schedule.epochs):
        with suppress(ScheduleError):
            return rescale(schedule, budget)
    return schedule


def train_two_steps_an_epoch(scheduler: PruningScheduler, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """The first and the last of each epoch; the others only begin, so that a cut in between is made."""
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        step_once(scheduler, model, optimizer, epoch, 0, STEPS)
        for step in range(1, STEPS - 1):
            scheduler.on_minibatch_begin(epoch, step, STEPS)
        step_once(scheduler, model, optimizer, epoch, STEPS - 1, STEPS)
        scheduler.on_epoch_end(epoch)


@each_file
def test_a_shipped_schedule_binds_to_the_model_of_its_header(path: Path) -> None:
    (name,) = set(re.findall(r"--model (\S+)", header(path)))
    model = build_model(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = load_schedule(path)
        schedule.bind(model, sgd(model), steps_per_epoch=STEPS)
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
    schedule, model = load_schedule(path), small_model()
    assert schedule.epochs is not None
    try:
        half = rescale(schedule, schedule.epochs // 2)
    except ScheduleError as error:
        assert re.search(r"which need \d+", str(error))
    else:
        scheduler = half.bind(model, sgd(model), steps_per_epoch=STEPS)
        assert scheduler.total_epochs == schedule.epochs // 2


@each_file
def test_a_shipped_schedule_trains_to_its_end_in_as_few_epochs_as_it_can(path: Path) -> None:
    schedule, model = shortest(load_schedule(path)), small_model()
    optimizer = sgd(model)
    scheduler = schedule.bind(model, optimizer, steps_per_epoch=STEPS)
    train_two_steps_an_epoch(scheduler, model, optimizer)  # which fails where a cut or a target was missed
    assert {cut.pruner for cut in scheduler.cuts} == set(schedule.pruners)
    assert all(weight.isfinite().all() for weight in model.parameters())
