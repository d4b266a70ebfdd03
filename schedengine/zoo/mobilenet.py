"""MobileNet, the first version, with the parameter names that Distiller's schedules are written for.

Howard and others, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017, arXiv
1704.04861, table 1: a convolution, then 13 pairs of a depthwise 3x3 and a pointwise 1x1 convolution, each normalised
and rectified. The pooling adapts to the image size. torchvision has the second and third version only.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from schedengine.zoo.initial import he_normal_

_PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""(outputs, stride) of each pair."""


def _mobilenet(share: float, classes: int, channels: int) -> nn.Sequential:
    inputs = int(32 * share)
    layers = [_normalised(nn.Conv2d(channels, inputs, 3, 2, padding=1, bias=False))]
    for width, stride in _PAIRS:
        outputs = int(width * share)
        depthwise = nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        layers.append(_normalised(depthwise, nn.Conv2d(inputs, outputs, 1, bias=False)))
        inputs = outputs
    model = nn.Sequential(
        OrderedDict(
            model=nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1)), flatten=nn.Flatten(), fc=nn.Linear(inputs, classes)
        )
    )
    he_normal_(model)
    return model


def _normalised(*convolutions: nn.Conv2d) -> nn.Sequential:
    each = [(one, nn.BatchNorm2d(one.out_channels), nn.ReLU()) for one in convolutions]
    return nn.Sequential(*(layer for layers in each for layer in layers))


def mobilenet(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """MobileNet 1.0; 4,231,976 parameters for 1000 classes. Input (B, channels, H, W), output (B, classes)."""
    return _mobilenet(1.0, classes, channels)


def mobilenet_075(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """MobileNet 0.75: three quarters of the width everywhere."""
    return _mobilenet(0.75, classes, channels)


def mobilenet_050(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """MobileNet 0.5: half of the width everywhere."""
    return _mobilenet(0.5, classes, channels)


def mobilenet_025(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """MobileNet 0.25: a quarter of the width everywhere."""
    return _mobilenet(0.25, classes, channels)
