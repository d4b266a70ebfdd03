"""The plain network."""

from __future__ import annotations

from schedengine.zoo.models import build_model


def test_it_is_a_resnet20_without_its_shortcuts() -> None:
    residual = build_model("resnet20_cifar", meta=True).state_dict()
    plain = build_model("plain20_cifar", meta=True).state_dict()
    assert plain.keys() == {name for name in residual if "downsample" not in name}
    assert all(plain[name].shape == residual[name].shape for name in plain)


def test_each_convolution_has_its_own_rectifier() -> None:
    names = dict(build_model("plain20_cifar", meta=True).named_modules())
    assert {"relu", "layer1.0.relu1", "layer1.0.relu2", "layer3.2.relu2"} <= names.keys()
