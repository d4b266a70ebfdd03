from __future__ import annotations

import torch
from export.networks import Gated, images
from torch import nn

from schedengine.export.probe import received
from schedengine.zoo.models import build_model


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_every_channel_of_a_dense_network_is_alive_however_deep() -> None:
    found = received(build_model("resnet56_cifar"), images(32), {})
    assert all(bool(alive.all()) for alive in found.values())


def test_a_zero_filter_without_bias_is_dead() -> None:
    model = normalised()
    model[0].weight.data[2] = model[0].bias.data[2] = 0
    assert received(model, images(), {})["3"].tolist() == [True, True, False, True]


def test_a_bias_is_alive_unless_it_is_settled() -> None:
    model = normalised()
    model[0].weight.data[2] = 0
    assert received(model, images(), {})["1"].tolist() == [True] * 4
    assert received(model, images(), {"0": [2]})["1"].tolist() == [True, True, False, True]


def test_the_shift_and_the_mean_of_a_norm_are_alive_unless_settled() -> None:
    model = normalised()
    model[1].weight.data[[1, 2]] = 0
    model[1].bias.data[1], model[1].running_mean[2] = 0.5, 0.5
    assert received(model, images(), {})["3"].tolist() == [True, True, True, True]
    assert received(model, images(), {"1": [1, 2]})["3"].tolist() == [True, False, False, True]


def test_a_negative_bias_is_no_reason_to_be_dead() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))
    model[0].bias.data.fill_(-1000.0)
    assert received(model, torch.rand(2, 3), {})["2"].tolist() == [True, True]


def test_weights_that_cancel_are_alive() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 1))
    model[0].weight.data = torch.tensor([[1.0, -1.0]])
    assert received(model, torch.ones(1, 2), {})["1"].tolist() == [True]


def test_a_gate_of_one_half_revives_nothing() -> None:
    model = Gated()
    model.conv.weight.data[0] = 0
    found = received(model, images(), {"conv": [0]})
    assert not found["head"][0] and not found["squeeze"][0] and bool(found["head"][1:].all())


def test_a_column_of_an_embedding_is_dead_only_for_all_tokens() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2))
    model[0].weight.data[:, 1] = 0
    model[0].weight.data[:4, 2] = 0  # token 4 is not in the example
    assert received(model, torch.tensor([[0, 1]]), {})["1"].tolist() == [True, False, True]
