"""AlexNet with batch normalisation."""

from __future__ import annotations

import torch

from schedengine.zoo.models import build_model


def test_names_and_shapes_are_distillers() -> None:
    shapes = {name: tuple(one.shape) for name, one in build_model("alexnet_bn", meta=True).named_parameters()}
    weights = {name: shape for name, shape in shapes.items() if len(shape) > 1}
    assert weights == {
        "features.0.weight": (96, 3, 12, 12),
        "features.2.weight": (256, 48, 5, 5),
        "features.6.weight": (384, 256, 3, 3),
        "features.10.weight": (384, 192, 3, 3),
        "features.13.weight": (256, 192, 3, 3),
        "classifier.0.weight": (4096, 9216),
        "classifier.3.weight": (4096, 4096),
        "classifier.6.weight": (1000, 4096),
    }
    assert {"features.0.bias", "features.3.weight", "features.14.bias", "classifier.4.weight"} <= shapes.keys()
    assert "features.2.bias" not in shapes and "classifier.0.bias" not in shapes


def test_parameters_are_counted_by_hand() -> None:
    convolutions = 41_568 + 307_200 + 884_736 + 663_552 + 442_368
    normalisations = 2 * (256 + 384 + 384 + 256 + 4096 + 4096)
    linear = 9216 * 4096 + 4096 * 4096 + 4096 * 1000 + 1000
    found = sum(parameter.numel() for parameter in build_model("alexnet_bn", meta=True).parameters())
    assert found == convolutions + normalisations + linear == 60_981_320


def test_images_of_224_pixels_come_out_6_wide_before_the_pooling_adapts() -> None:
    features = build_model("alexnet_bn", meta=True).get_submodule("features")
    assert features(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 256, 6, 6)
