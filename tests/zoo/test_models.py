"""Names -> networks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from schedengine.errors import ModelError
from schedengine.zoo.cifar_resnet import CifarResNet
from schedengine.zoo.models import MODELS, build_model

OWN = """
from torch import nn
def plain(): return nn.Linear(4, 7)
def sized(num_classes, in_channels=3): return nn.Linear(in_channels, num_classes)
def needy(width): return nn.Linear(width, 2)
def number(): return 7
made = nn.Linear(1, 1)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module of the user's in the working folder."""
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    return "own_models"


SIZES = {"digits": 8, "mnist": 28, "cifar": 32}
IMAGE_MODELS = [name for name in MODELS if name != "word_lm"]


def size_of(name: str) -> int:
    return next((size for part, size in SIZES.items() if part in name), 224)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_every_model_of_ours_takes_its_classes_and_channels(name: str) -> None:
    model = build_model(name, classes=5, channels=2, meta=True)
    assert model(torch.zeros(2, 2, size_of(name), size_of(name), device="meta")).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet8_cifar", 8),
        ("plain20_cifar", 8),
        ("preact_resnet20_cifar", 8),
        ("vgg11_cifar", 32),
        ("vgg11_bn_cifar", 32),
        ("simplenet_cifar", 32),
        ("simplenet_mnist", 28),
        ("alexnet_bn", 64),
        ("mobilenet_025", 32),
        ("preact_resnet18", 32),
        ("preact_resnet50", 32),
        ("resnext101_32x4d", 32),
    ],
)
def test_a_loss_reaches_every_parameter_of_every_family(name: str, size: int) -> None:
    torch.manual_seed(0)
    model = build_model(name, classes=3, channels=2)
    torch.nn.functional.cross_entropy(model(torch.randn(4, 2, size, size)), torch.tensor([0, 1, 2, 0])).backward()  # type: ignore[no-untyped-call]
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.count_nonzero(), parameter_name


@pytest.mark.parametrize(("name", "count"), [("resnet20_cifar", 272_474), ("resnet56_cifar", 855_770)])
def test_parameter_counts_are_those_of_the_paper_plus_two_shortcuts(name: str, count: int) -> None:
    # 0.27 M and 0.85 M in the paper's table 6; the 1x1 shortcuts and their normalisations add 2,752.
    assert sum(parameter.numel() for parameter in build_model(name).parameters()) == count


def test_names_are_those_of_distillers_schedules() -> None:
    names = dict(build_model("resnet20_cifar").named_parameters())
    assert {"conv1.weight", "layer1.2.conv2.weight", "layer2.0.downsample.0.weight", "fc.bias"} <= names.keys()
    modules = dict(build_model("resnet56_cifar").named_modules())
    assert {"layer1.0.relu1", "layer3.8.relu2", "layer3.0.downsample.1"} <= modules.keys()
    assert "layer1.0.downsample" not in modules


def test_stages_are_16_32_64_wide_and_halve_the_image() -> None:
    model = CifarResNet(blocks=1)
    shapes: list[tuple[int, ...]] = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:])))
    model(torch.zeros(1, 3, 32, 32))
    assert shapes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_torchvision_models_go_by_name() -> None:
    model = build_model("squeezenet1_1", classes=6, channels=3)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 6)


def test_torchvision_models_refuse_gray_images() -> None:
    with pytest.raises(ModelError, match="resnet18 takes images of 3 channels, the data have 1"):
        build_model("resnet18", channels=1)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean resnet20_cifar"):
        build_model("resnet20-cifar")
    with pytest.raises(ModelError, match="did you mean .*mobilenet_v2"):
        build_model("mobilenetv2")


def test_a_factory_gets_only_what_its_signature_names(own: str) -> None:
    assert build_model(f"{own}:plain", classes=2).out_features == 7
    assert build_model(f"{own}:sized", classes=2).weight.shape == (2, 3)
    assert build_model(f"{own}:sized", classes=2, channels=1).weight.shape == (2, 1)


def test_a_factory_that_needs_more_says_what(own: str) -> None:
    with pytest.raises(ModelError, match="missing a required argument: 'width'.*offered classes, channels"):
        build_model(f"{own}:needy", classes=2)


def test_a_network_is_no_factory(own: str) -> None:
    with pytest.raises(ModelError, match="is a network, not a function that makes one"):
        build_model(f"{own}:made")


def test_a_factory_must_return_a_module(own: str) -> None:
    with pytest.raises(ModelError, match="returned a int"):
        build_model(f"{own}:number")


def test_a_misspelt_factory_gets_the_nearest(own: str) -> None:
    with pytest.raises(ModelError, match="no function plian; did you mean plain"):
        build_model(f"{own}:plian")
    with pytest.raises(ModelError, match="cannot import no_such_module: ModuleNotFoundError"):
        build_model("no_such_module:model")
    with pytest.raises(ModelError, match="names a file; write its module, models.net:model"):
        build_model("models/net.py:model")
    with pytest.raises(ModelError, match="write package.module:factory"):
        build_model("models/net:model")


def test_listing_models_imports_no_torch() -> None:
    code = "import sys; from schedengine.zoo.models import MODELS; sys.exit('torch' in sys.modules or not MODELS)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_meta_device_has_names_and_shapes_without_values() -> None:
    before = torch.get_rng_state()
    model = build_model("resnet50", meta=True, classes=7)
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.get_parameter("fc.weight").shape == (7, 2048)
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_that_computes_while_it_is_made_is_on_the_cpu_all_the_same() -> None:
    assert not any(parameter.is_meta for parameter in build_model("regnet_y_400mf", meta=True).parameters())


def test_a_mistake_is_the_same_mistake_on_the_meta_device(own: str) -> None:
    assert build_model(f"{own}:sized", classes=2, meta=True).weight.is_meta
    with pytest.raises(ModelError, match="returned a int"):
        build_model(f"{own}:number", meta=True)
    with pytest.raises(ModelError, match="missing a required argument: 'width'"):
        build_model(f"{own}:needy", meta=True)
