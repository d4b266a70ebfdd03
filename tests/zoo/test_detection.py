"""torchvision's detection models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from schedengine.errors import ModelError
from schedengine.zoo.detection import detectors
from schedengine.zoo.models import build_model


def test_mask_rcnn_has_the_parameters_that_distillers_schedule_was_written_for() -> None:
    model = build_model("maskrcnn_resnet50_fpn", meta=True)
    parameters = dict(model.named_parameters())
    assert sum(one.numel() for one in parameters.values()) == 44_401_393
    weights = [one.numel() for one in parameters.values() if one.dim() > 1]
    assert (len(weights), sum(weights)) == (74, 44_395_200)  # rows and total of its table
    assert tuple(parameters["roi_heads.mask_predictor.conv5_mask.weight"].shape) == (256, 256, 2, 2)


@pytest.mark.parametrize("name", detectors())
def test_every_detection_model_builds_without_memory(name: str) -> None:
    assert all(parameter.is_meta for parameter in build_model(name, meta=True).parameters())


def test_normalisations_are_fixed_where_those_of_the_published_weights_are() -> None:
    def are_fixed(name: str) -> bool:
        return not any(isinstance(module, nn.BatchNorm2d) for module in build_model(name, meta=True).modules())

    assert are_fixed("fasterrcnn_resnet50_fpn") and not are_fixed("fasterrcnn_resnet50_fpn_v2")


def test_it_detects() -> None:
    model = build_model("fasterrcnn_mobilenet_v3_large_320_fpn", classes=3).eval()
    with torch.no_grad():
        (found,) = model([torch.rand(3, 32, 32)])
    assert found["boxes"].shape[1] == 4 and set(found["labels"].tolist()) <= {1, 2}


def test_images_to_be_classified_are_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match="maskrcnn_resnet50_fpn takes images with boxes.*a loop of your own can train"):
        build_model("maskrcnn_resnet50_fpn", classes=10, channels=3)


def test_a_misspelt_detection_model_gets_the_nearest() -> None:
    with pytest.raises(ModelError, match="did you mean maskrcnn_resnet50_fpn"):
        build_model("maskrcnn_resnet50")
