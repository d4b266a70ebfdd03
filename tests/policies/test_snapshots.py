"""When snapshots are taken, and where they are kept."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from schedengine.errors import SchedEngineError
from schedengine.masks import MaskStore
from schedengine.policies.snapshots import Snapshots
from schedengine.progress import Moment, Progress
from schedengine.selection import ParameterTable


def taken_at(moment: Moment, *passed: Progress) -> list[float]:
    """The value of a weight, which counts the moments that were passed, in the snapshot after each of them."""
    model = nn.Linear(1, 1, bias=False)
    table = ParameterTable(model)
    snapshots, found = Snapshots({"here": moment}), []
    for number, progress in enumerate(passed):
        nn.init.constant_(model.weight, number)
        snapshots.take_due(progress, model, table, MaskStore(table))
        state = snapshots.state_dict()
        found.append(float(state["here"]["weight"]) if state else -1.0)
    return found


def begin(epoch: int, steps: int | None = 4) -> Progress:
    return Progress(epoch, None, steps)


def step(epoch: int, number: int) -> Progress:
    return Progress(epoch, number, 4)


def test_an_epochs_snapshot_is_taken_at_its_beginning_only() -> None:
    passed = (begin(0, None), step(0, 0), begin(1), step(1, 0), begin(2))
    assert taken_at(Moment(Fraction(1)), *passed) == [-1, -1, 2, 2, 2]


def test_a_steps_snapshot_is_taken_before_the_step() -> None:
    assert taken_at(Moment(steps=6), begin(1), step(1, 0), step(1, 2), step(1, 3)) == [-1, -1, 2, 2]


def test_a_step_that_begins_an_epoch_is_before_what_happens_at_its_beginning() -> None:
    assert taken_at(Moment(steps=4), begin(0, None), step(0, 3), begin(1), step(1, 0), step(1, 1)) == [-1, -1, 2, 2, 2]


def test_a_part_of_an_epoch_that_rounds_to_its_first_step_is_taken_when_steps_are_known() -> None:
    assert taken_at(Moment(Fraction(1, 100)), begin(0, None), step(0, 0), step(0, 1)) == [-1, 1, 1]


def test_a_loop_that_goes_back_takes_it_again() -> None:
    assert taken_at(Moment(Fraction(1)), begin(1), begin(2), begin(1)) == [0, 0, 2]


def test_what_was_not_passed_is_not_there() -> None:
    with pytest.raises(SchedEngineError, match="no weights of epoch 3 to go back to"):
        Snapshots({"3": Moment(Fraction(3))}).of("3")


def test_loaded_snapshots_move_to_the_weights() -> None:
    table = ParameterTable(nn.BatchNorm2d(3))
    snapshots = Snapshots({"0": Moment()})
    snapshots.take_due(begin(0), nn.BatchNorm2d(3), table, MaskStore(table))
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = ParameterTable(nn.BatchNorm2d(3, device="cuda"))
        again = Snapshots({"0": Moment()})
        again.load_state_dict(snapshots.state_dict(), there)
        assert {value.device.type for value in again.of("0").values()} == {"cuda"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_snapshot_lives_where_the_weights_live(dtype: torch.dtype) -> None:
    with FakeTensorMode():
        model = nn.Linear(4, 3, device="cuda", dtype=dtype)
        table = ParameterTable(model)
        snapshots = Snapshots({"0": Moment()})
        snapshots.take_due(begin(0), model, table, MaskStore(table))
        assert {(value.device.type, value.dtype) for value in snapshots.of("0").values()} == {("cuda", dtype)}
