"""Zeros, counted in the weights."""

from __future__ import annotations

import torch
from torch import nn

from schedengine.selection import ParameterTable
from schedengine.training.sparsity import Count, count_zeros, prunable, share_of_zeros


def test_weights_of_convolutions_and_linear_layers_are_counted_and_what_pruners_selected() -> None:
    table = ParameterTable(nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.Linear(1, 1)))
    assert prunable(table) == ["0.weight", "2.weight"]
    assert prunable(table, ["1.weight"]) == ["0.weight", "1.weight", "2.weight"]


def test_zeros_are_counted_in_the_weights() -> None:
    model = nn.Linear(4, 2)
    model.weight.data.copy_(torch.tensor([[0.0, 1, 2, 3], [0, -0.0, 1, 2]]))
    assert count_zeros(ParameterTable(model), ["weight"]) == [Count("weight", 8, 3)]


def test_shares_weigh_parameters_by_their_size() -> None:
    counts = [Count("a", 10, 5), Count("b", 30, 0)]
    assert share_of_zeros(counts) == 0.125
    assert share_of_zeros(counts, ["a"]) == 0.5
    assert share_of_zeros([]) == 0.0
