from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from export.networks import UNet, images, lively, zero_filters
from safetensors import safe_open
from torch import nn

from schedengine.errors import ModelError
from schedengine.export.apply import apply_
from schedengine.export.forward import run
from schedengine.export.pruned import HEADER, load_pruned, manifest, reshape_, save_pruned
from schedengine.export.thin import plan
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights


def small_unet() -> nn.Module:
    torch.manual_seed(0)
    model = lively(UNet()).eval()
    zero_filters(model, images())
    apply_(model, plan(model, images(), what="filters"), images())
    return model


def test_a_thinned_network_comes_back(tmp_path: Path) -> None:
    model = small_unet()
    save_pruned(model, tmp_path / "small.safetensors", metadata={"note": "mine"})
    loaded = load_pruned(UNet, tmp_path / "small.safetensors").eval()
    assert torch.equal(run(loaded, images())[0], run(model, images())[0])
    assert loaded.up.out_channels == loaded.up.weight.shape[1] == model.up.out_channels < 6


def test_the_file_is_safetensors_with_json_in_its_header(tmp_path: Path) -> None:
    save_pruned(small_unet(), tmp_path / "small.safetensors")
    with safe_open(tmp_path / "small.safetensors", framework="pt") as opened:
        sizes = json.loads(opened.metadata()[HEADER])
    assert sizes["modules"]["down"] == {"groups": 1, "out_channels": 5, "in_channels": 3}
    assert sizes["shapes"]["down.weight"] == [5, 3, 3, 3]


def test_a_model_of_the_zoo_comes_back_by_name(tmp_path: Path) -> None:
    model = build_model("resnet20_cifar", classes=3)
    model.get_submodule("layer1.0.conv1").weight.data[:7] = 0
    apply_(model, plan(model, images(32)), images(32))
    save_pruned(model, tmp_path / "small.safetensors")
    loaded = load_pruned("resnet20_cifar", tmp_path / "small.safetensors")
    assert run(loaded.eval(), images(32))[0].shape == (2, 3)
    assert manifest(loaded) == manifest(model)


def test_a_loaded_network_can_be_thinned_again_and_trained(tmp_path: Path) -> None:
    save_pruned(small_unet(), tmp_path / "small.safetensors")
    model = load_pruned(UNet, tmp_path / "small.safetensors")
    run(model.train(), images())[0].sum().backward()
    model.down.weight.data[0] = 0
    apply_(model, plan(model, images()), images())
    save_pruned(model, tmp_path / "smaller.safetensors")
    assert load_pruned(UNet, tmp_path / "smaller.safetensors").down.out_channels == 4


def test_a_dense_network_has_a_manifest_that_changes_nothing() -> None:
    model = UNet()
    before = model.down.weight
    reshape_(model, manifest(model))
    assert model.down.weight is before and manifest(model) == manifest(UNet())


def test_another_architecture_is_an_error_and_leaves_the_model_alone() -> None:
    model = build_model("digits_cnn")
    before = manifest(model)
    with pytest.raises(ModelError, match="the sizes are of another architecture: down, "):
        reshape_(model, manifest(UNet()))
    assert manifest(model) == before


@pytest.mark.parametrize(
    "sizes", [{}, {"modules": {}, "shapes": {"a": "b"}}, {"modules": {"down": {"in_channels": 0}}, "shapes": {}}]
)
def test_damaged_sizes_are_an_error(sizes: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="the sizes are damaged"):
        reshape_(UNet(), sizes)


def test_a_file_without_sizes_says_what_reads_it(tmp_path: Path) -> None:
    save_weights(UNet(), tmp_path / "dense.safetensors", {})
    with pytest.raises(ModelError, match=r"dense.safetensors: no sizes .* read it with load_weights"):
        load_pruned(UNet, tmp_path / "dense.safetensors")
    with pytest.raises(ModelError, match="no such file"):
        load_pruned(UNet, tmp_path / "none.safetensors")


def test_a_depthwise_convolution_with_one_channel_left_loads_with_one_group(tmp_path: Path) -> None:
    """It looks like any other convolution then."""

    def factory() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4 * 36, 2))

    model, batch = factory(), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        for layer in (model[0], model[1]):
            layer.weight[1:], layer.bias[1:] = 0, 0
    apply_(model, plan(model, batch), batch)
    save_pruned(model, tmp_path / "one.safetensors")
    assert torch.equal(load_pruned(factory, tmp_path / "one.safetensors")(batch), model(batch))


def test_a_network_gets_its_sizes_in_its_own_memory_layout() -> None:
    model = UNet().to(memory_format=torch.channels_last)
    reshape_(model, manifest(small_unet()))
    assert model.up.weight.is_contiguous(memory_format=torch.channels_last)
