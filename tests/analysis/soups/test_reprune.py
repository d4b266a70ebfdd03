"""Averages cut back to the sparsity of what they were made of."""

from __future__ import annotations

import pytest
import torch
from analysis.soups.networks import line, network
from torch import nn

from schedengine.analysis.soups.pot import Pot
from schedengine.analysis.soups.reprune import cutter
from schedengine.errors import SchedEngineError


def zeros(model: nn.Module) -> int:
    return sum(int((one.weight == 0).sum()) for one in model.modules() if isinstance(one, nn.Linear))


def test_the_smallest_of_the_average_go() -> None:
    networks = {"a": line(0.0, 4.0, 1.0, 0.0), "b": line(2.0, 0.0, 0.0, -6.0)}
    mixed = Pot([*networks.values()], [cutter(networks)]).mix([0, 1])
    assert mixed.weight.tolist() == [[0.0, 2.0, 0.0, -3.0]]  # of the average 1, 2, 0.5, -3


@pytest.mark.parametrize("sharing", ["global", "layer"])
def test_as_many_are_zero_as_in_each_member(sharing: str) -> None:
    networks = {"a": network(0, zeros=(0, 1, 2)), "b": network(1, zeros=(7, 8, 11))}
    assert zeros(Pot([*networks.values()]).mix([0, 1])) == 0
    assert zeros(Pot([*networks.values()], [cutter(networks, sharing)]).mix([0, 1])) == 3  # type: ignore[arg-type]


def test_each_layer_goes_to_its_own_sparsity() -> None:
    networks = {"a": network(0, zeros=(0, 1, 2)), "b": network(1, zeros=(7, 8, 11))}
    for one in networks.values():
        with torch.no_grad():
            one[4].weight.mul_(1e-6)  # one ranking over both layers would take these
    mixed = Pot([*networks.values()], [cutter(networks, "layer")]).mix([0, 1])
    assert (int((mixed[1].weight == 0).sum()), int((mixed[4].weight == 0).sum())) == (3, 0)


def test_a_layer_of_zeros_only_stays_one() -> None:
    networks = {"a": network(0, zeros=(0, 1)), "b": network(1, zeros=(2, 3))}
    for one in networks.values():
        nn.init.zeros_(one[4].weight)
    mixed = Pot([*networks.values()], [cutter(networks, "layer")]).mix([0, 1])
    assert zeros(mixed) == 2 + 6


def test_networks_of_different_sparsities_need_one_to_be_named() -> None:
    networks = {"a": network(0, zeros=(0,)), "b": network(1, zeros=(0, 1))}
    with pytest.raises(SchedEngineError, match=r"from 0.0556 \(a\) to 0.1111 \(b\); .*--sparsity"):
        cutter(networks)
    assert zeros(Pot([*networks.values()], [cutter(networks, sparsity=0.5)]).mix([0, 1])) == 9


def test_dense_networks_have_nothing_to_be_cut_to() -> None:
    with pytest.raises(SchedEngineError, match="no weight of the networks is 0"):
        cutter({"a": network(0, zeros=()), "b": network(1, zeros=())})


@pytest.mark.parametrize(("sharing", "sparsity"), [("layer", 0.5), ("global", 1.0), ("global", 0.0)])
def test_a_sparsity_that_makes_no_sense_is_refused(sharing: str, sparsity: float) -> None:
    with pytest.raises(SchedEngineError, match="--sparsity"):
        cutter({"a": network(0), "b": network(1)}, sharing, sparsity)  # type: ignore[arg-type]
