"""What can be averaged, and what is said of the rest."""

from __future__ import annotations

import pytest
from analysis.soups.networks import network
from torch import nn

from schedengine.analysis.soups.alike import check_architectures, check_masks
from schedengine.errors import ModelError, SchedEngineError


def test_networks_of_one_architecture_and_mask_pass() -> None:
    networks = {"a": network(0), "b": network(1)}
    check_architectures(networks)
    check_masks(networks)


def test_another_shape_is_said_with_both_networks() -> None:
    with pytest.raises(ModelError, match=r"a and c are .*\n  weight: 2x3 in a, 2x4 in c"):
        check_architectures({"a": nn.Linear(3, 2), "b": nn.Linear(3, 2), "c": nn.Linear(4, 2)})


def test_a_tensor_that_one_lacks_is_said() -> None:
    with pytest.raises(ModelError, match="bias: only in b"):
        check_architectures({"a": nn.Linear(3, 2, bias=False), "b": nn.Linear(3, 2)})


def test_wrappers_make_no_other_architecture() -> None:
    check_architectures({"a": network(0), "b": nn.DataParallel(network(1))})


def test_other_masks_are_said_by_parameter_count_and_networks() -> None:
    networks = {"a": network(0), "b": network(1), "c": network(2, zeros=(0, 6, 7))}
    with pytest.raises(SchedEngineError, match=r"1.weight: 3 weights are 0 in one of a and c only\n  3 differences"):
        check_masks(networks)


def test_at_most_five_parameters_are_listed() -> None:
    layers = [nn.Sequential(*(nn.Linear(2, 2) for _ in range(7))) for _ in range(2)]
    for layer in layers[1]:
        nn.init.zeros_(layer.weight)
    with pytest.raises(SchedEngineError, match="and 2 more parameters\n  28 differences in all") as found:
        check_masks(dict(zip("ab", layers)))
    assert str(found.value).count("weights are 0") == 5


def test_only_conv_and_linear_weights_have_masks() -> None:
    one, other = network(0), network(1)
    nn.init.zeros_(other[2].bias)
    nn.init.ones_(one[2].bias)
    check_masks({"a": one, "b": other})
