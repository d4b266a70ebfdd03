"""Cells: which weights go at which level, counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from schedengine import load_schedule
from schedengine.analysis.sensitivity.cells import DENSE, Cell, layer_cells, network_cells
from schedengine.criteria.random import Random
from schedengine.errors import SchedEngineError, ScheduleError
from schedengine.granularity import Channel, Filter, Kernel
from schedengine.pruners.pruner import Pruner
from schedengine.pruners.thresholds import Absolute
from schedengine.selection import ParameterTable
from schedengine.sparsity import ALLOCATIONS
from schedengine.sparsity.allocation import ERK, Uniform
from schedengine.sparsity.ramps import Constant

ANY = Constant(0.5)


def small() -> nn.Sequential:
    """A convolution of 4 filters x 2 channels x 1 and a linear layer: 8 + 8 weights, 1 to 8 in order, and 0.5s."""
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 9.0).view(4, 2, 1, 1))
        model[2].weight.fill_(0.5)
    return model


def weight(model: nn.Module, cell: Cell) -> list[float]:
    (found,) = cell.pruned(ParameterTable(model)).values()
    return found.flatten().tolist()


def test_the_smallest_weights_go() -> None:
    model = small()
    (cell,) = layer_cells(ParameterTable(model), [0.25], names=["0.weight"])
    assert weight(model, cell) == [0, 0, 3, 4, 5, 6, 7, 8] and (cell.zeros, cell.sparsity) == (2, 0.25)


def test_filters_and_channels_go_as_one() -> None:
    model = small()
    table, names = ParameterTable(model), ["0.weight"]
    (filters,) = layer_cells(table, [0.5], Pruner(granularity=Filter(), sparsity=ANY), names)
    (channels,) = layer_cells(table, [0.5], Pruner(granularity=Channel(), sparsity=ANY), names)
    assert weight(model, filters) == [0, 0, 0, 0, 5, 6, 7, 8]
    assert weight(model, channels) == [0, 2, 0, 4, 0, 6, 0, 8]


def test_cells_come_by_parameter_then_level_of_all_that_the_pruner_selects() -> None:
    cells = layer_cells(ParameterTable(small()), [0.25, 0.5])
    assert [(cell.parameter, cell.level) for cell in cells] == [
        ("0.weight", 0.25), ("0.weight", 0.5), ("2.weight", 0.25), ("2.weight", 0.5),
    ]  # fmt: skip


def test_a_level_that_rounds_to_nothing_says_so_and_is_the_dense_network() -> None:
    (cell,) = layer_cells(ParameterTable(small()), [0.1], Pruner(granularity=Filter(), sparsity=ANY), ["0.weight"])
    assert cell.key == DENSE and cell.zeros == 0 and "0.1 of its groups rounds to none" in cell.note


def test_a_level_that_min_keep_forbids_says_what_went() -> None:
    (cell,) = layer_cells(ParameterTable(small()), [0.9], Pruner(granularity=Filter(), sparsity=ANY), ["0.weight"])
    assert cell.zeros == 6 and "6 of 8 weights removed: 1 group(s) of a parameter stay" in cell.note


def test_level_0_is_the_dense_network_without_a_word() -> None:
    (cell,) = layer_cells(ParameterTable(small()), [0.0], names=["0.weight"])
    assert (cell.key, cell.note, cell.masks) == (DENSE, "", {})


def test_weights_that_are_0_already_go_first_and_change_nothing() -> None:
    model = small()
    model[0].weight.data.view(-1)[2:6] = 0.0
    less, more = layer_cells(ParameterTable(model), [0.25, 0.625], names=["0.weight"])
    assert (less.key, less.zeros, less.note) == (DENSE, 4, "removes only weights that are 0 already")
    assert weight(model, more) == [0, 2, 0, 0, 0, 0, 7, 8] and more.zeros == 5


def test_levels_of_the_same_weights_have_one_key() -> None:
    one, same, other = layer_cells(ParameterTable(small()), [0.25, 0.26, 0.5], names=["0.weight"])
    assert one.key == same.key != other.key


def test_the_whole_network_competes_in_one_order() -> None:
    model = small()
    (cell,) = network_cells(ParameterTable(model), [0.5])  # of 2.weight one stays (min_keep); 1 of 0.weight goes too
    assert (cell.parameter, cell.weights, cell.zeros) == (None, 16, 8)
    kept = {name: int(value.count_nonzero()) for name, value in cell.pruned(ParameterTable(model)).items()}
    assert kept == {"0.weight": 7, "2.weight": 1}


def test_the_whole_network_follows_its_allocation() -> None:
    (cell,) = network_cells(ParameterTable(small()), [0.5], Pruner(allocation=Uniform(), sparsity=ANY))
    assert [int(value.count_nonzero()) for value in cell.pruned(ParameterTable(small())).values()] == [4, 4]


@pytest.mark.parametrize("name", ALLOCATIONS.names())
def test_every_allocation_can_be_swept(name: str) -> None:
    pruner = Pruner(allocation=ALLOCATIONS.get(name)(), sparsity=ANY)
    cells = network_cells(ParameterTable(small()), [0.0, 0.25], pruner)
    assert cells[0].key == DENSE and cells[1].zeros in (3, 4, 5)  # levels round in each parameter


def test_a_cell_removes_what_a_schedule_removes_at_its_start() -> None:
    model, pruned = small(), small()
    axes = {"sparsity": 0.5, "criterion": "random", "allocation": "erk"}
    schedule = load_schedule({"version": 2, "pruners": {"p": axes}, "policies": [{"pruner": "p", "at": "start"}]})
    schedule.bind(pruned, epochs=1).on_epoch_begin(0)
    (cell,) = network_cells(ParameterTable(model), [0.5], Pruner(criterion=Random(), allocation=ERK(), sparsity=ANY))
    found, wanted = cell.pruned(ParameterTable(model)), ParameterTable(pruned)
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


def test_a_parameter_that_cannot_be_grouped_is_refused_by_name() -> None:
    with pytest.raises(ScheduleError, match=r"2.weight: granularity kernel: got shape \(2, 4\)"):
        layer_cells(ParameterTable(small()), [0.5], Pruner(granularity=Kernel(), sparsity=ANY))
    with pytest.raises(ScheduleError, match="1.weight: no parameter of the model"):
        layer_cells(ParameterTable(small()), [0.5], names=["1.weight"])


def test_a_pruner_without_a_target_to_replace_is_refused() -> None:
    with pytest.raises(SchedEngineError, match="has a threshold"):
        layer_cells(ParameterTable(small()), [0.5], Pruner(threshold=Absolute(0.1)))
    with pytest.raises(SchedEngineError, match="gives each parameter a level"):
        network_cells(ParameterTable(small()), [0.5], Pruner(allocation={"0.weight": 0.5}, sparsity=Constant()))
