"""torchvision's detection models: for their names and shapes, and for loops of the user's own.

They take a list of images of any sizes and, in training, boxes: not what our loop feeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_FROZEN: dict[str, float] = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "fcos_resnet50_fpn": 1e-5,
    "keypointrcnn_resnet50_fpn": 0.0,
    "maskrcnn_resnet50_fpn": 0.0,
    "retinanet_resnet50_fpn": 0.0,
}
"""Whose published weights have fixed batch normalisations, and the epsilon in these."""


def detectors() -> list[str]:
    """The names of torchvision's detection models."""
    from torchvision import models  # type: ignore[import-untyped]

    return models.list_models(module=models.detection)  # type: ignore[no-any-return]


def build_detector(name: str, classes: int | None = None) -> nn.Module:
    """A detection model of torchvision with fresh weights, built like the published one of that name.

    Args:
        name: one of ``detectors()``.
        classes: kinds of objects, the background included; None for torchvision's number (91, those of COCO).
    """
    from torchvision import models

    size = {} if classes is None else {"num_classes": classes}
    model: nn.Module = models.get_model(name, weights=None, weights_backbone=None, **size)
    if name in _FROZEN:
        _freeze_normalisations_(model, _FROZEN[name])
    return model


def _freeze_normalisations_(model: nn.Module, epsilon: float) -> None:
    """torchvision does so itself, but only where it also fetches weights."""
    from torch import nn
    from torchvision.ops import FrozenBatchNorm2d  # type: ignore[import-untyped]

    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, FrozenBatchNorm2d(module.num_features, epsilon))
