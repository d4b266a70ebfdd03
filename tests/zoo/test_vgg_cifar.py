"""VGG for small images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from schedengine.zoo.models import build_model


@pytest.mark.parametrize(
    ("name", "convolutions", "parameters"),
    [
        ("vgg11_cifar", 8, 9_225_610),
        ("vgg13_cifar", 10, 9_410_122),
        ("vgg16_cifar", 13, 14_719_818),
        ("vgg19_cifar", 16, 20_029_514),
    ],
)
def test_it_has_as_many_layers_as_its_name_says_less_two_linear_ones(
    name: str, convolutions: int, parameters: int
) -> None:
    # Counts of the papers' features, as in torchvision's vgg11 to vgg19, and 512 x 10 + 10.
    model = build_model(name, meta=True)
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == convolutions
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_names_and_shapes_are_those_of_distillers_schedules() -> None:
    shapes = {name: tuple(one.shape) for name, one in build_model("vgg16_cifar", meta=True).named_parameters()}
    weights = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert [name for name in shapes if name.endswith("weight")] == [
        *(f"features.{number}.weight" for number in weights),
        "classifier.weight",
    ]
    assert shapes["features.0.weight"] == (64, 3, 3, 3) and shapes["features.28.weight"] == (512, 512, 3, 3)
    assert shapes["classifier.weight"] == (10, 512)


def test_a_normalisation_follows_each_convolution() -> None:
    model = build_model("vgg16_bn_cifar", meta=True)
    layers = list(model.get_submodule("features").children())
    after = [layers[number + 1] for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert len(after) == 13 and all(isinstance(layer, nn.BatchNorm2d) for layer in after)
    # 2 x (2 x 64 + 2 x 128 + 3 x 256 + 6 x 512) more than without
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_719_818 + 8_448


def test_signals_last_to_the_end_of_a_network_without_normalisation() -> None:
    torch.manual_seed(0)
    features = build_model("vgg16_cifar").get_submodule("features")(torch.randn(4, 3, 32, 32))
    assert 0.3 < features.std() < 10
