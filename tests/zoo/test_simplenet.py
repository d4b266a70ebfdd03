"""The two LeNets."""

from __future__ import annotations

import torch

from schedengine.analysis.macs import multiply_accumulates
from schedengine.zoo.models import build_model


def test_the_one_for_mnist_has_distillers_names_and_shapes() -> None:
    shapes = {name: tuple(one.shape) for name, one in build_model("simplenet_mnist", meta=True).named_parameters()}
    assert shapes == {
        "conv1.weight": (20, 1, 5, 5),
        "conv1.bias": (20,),
        "conv2.weight": (50, 20, 5, 5),
        "conv2.bias": (50,),
        "fc1.weight": (500, 800),
        "fc1.bias": (500,),
        "fc2.weight": (10, 500),
        "fc2.bias": (10,),
    }
    assert sum(parameter.numel() for parameter in build_model("simplenet_mnist").parameters()) == 431_080


def test_the_one_for_cifar_costs_what_distillers_summary_says() -> None:
    counts = multiply_accumulates(build_model("simplenet_cifar", meta=True), [torch.zeros(1, 3, 32, 32)])
    layers = ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert counts == dict(zip((f"{one}.weight" for one in layers), [352_800, 240_000, 48_000, 10_080, 840]))
