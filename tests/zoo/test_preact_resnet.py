"""Residual networks that normalise first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from schedengine.zoo.models import build_model
from schedengine.zoo.preact_resnet import PreactBlock


@pytest.mark.parametrize(("name", "parameters"), [("preact_resnet20_cifar", 269_722), ("preact_resnet18", 11_687_720)])
def test_parameter_counts_are_distillers(name: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in build_model(name, meta=True).parameters()) == parameters


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_it_has_the_convolutions_of_torchvisions_network_of_that_depth(depth: int) -> None:
    def shapes(name: str) -> list[tuple[int, ...]]:
        modules = build_model(name, meta=True).modules()
        return sorted(tuple(one.weight.shape) for one in modules if isinstance(one, nn.Conv2d))

    assert shapes(f"preact_resnet{depth}") == shapes(f"resnet{depth}")


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110])
def test_for_small_images_it_has_as_many_layers_as_its_name_says(depth: int) -> None:
    modules = build_model(f"preact_resnet{depth}_cifar", meta=True).modules()
    assert sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in modules) == depth


def test_names_for_small_images_are_distillers() -> None:
    names = build_model("preact_resnet20_cifar", meta=True).state_dict().keys()
    assert {"conv1.weight", "layer1.0.pre_bn.weight", "layer2.0.conv1.weight", "layer2.0.bn.bias"} <= names
    assert {"layer3.2.conv2.weight", "final_bn.weight", "fc.bias"} <= names
    assert not any("downsample" in name or name.startswith("bn1") for name in names)


def test_names_for_imagenet_are_distillers() -> None:
    basic = build_model("preact_resnet18", meta=True).state_dict().keys()
    assert {"bn1.weight", "layer1.0.bn1_2.weight", "layer2.0.pre_bn.weight", "layer2.0.downsample.0.weight"} <= basic
    assert "layer1.0.pre_bn.weight" not in basic and "layer2.0.downsample.1.weight" not in basic
    deep = build_model("preact_resnet50", meta=True).state_dict().keys()
    assert {"layer1.0.downsample.0.weight", "layer1.0.bn2_3.weight", "layer4.2.conv3.weight"} <= deep


def test_a_block_whose_branch_is_zero_hands_its_input_on() -> None:
    convolution = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    nn.init.zeros_(convolution.weight)
    images = torch.randn(1, 2, 3, 3)
    assert torch.equal(PreactBlock(2, {"conv1": convolution}, None)(images), images)


@pytest.mark.parametrize("size", [32, 9])
def test_a_shortcut_without_parameters_pools_and_puts_zeros_around(size: int) -> None:
    block = build_model("preact_resnet20_cifar").get_submodule("layer2.0")
    assert isinstance(block, PreactBlock) and block.downsample is not None
    shortcut = block.downsample(torch.ones(1, 16, size, size))
    half = (size + 1) // 2
    assert shortcut.shape == (1, 32, half, half)
    assert shortcut[0, :, 0, 0].tolist() == [0.0] * 8 + [1.0] * 16 + [0.0] * 8
