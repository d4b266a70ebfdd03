"""ResNeXt-101 (32x4d) with the parameter names of the port from Torch that Distiller's schedule is written for.

Xie, Girshick, Dollár, Tu and He, "Aggregated Residual Transformations for Deep Neural Networks", 2016, arXiv
1611.05431, table 1: bottlenecks with 32 groups of 4 channels. torchvision has the network with names of its own
(``resnext101_32x8d``, ``resnext101_64x4d``), but not in this width; it is the same network layer by layer.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from schedengine.zoo.initial import he_normal_

_GROUPS = 32


class Sum(nn.Sequential):
    """The sum of what its members make of one input. Input (B, inputs, H, W), output (B, outputs, H', W')."""

    def forward(self, images: Tensor) -> Tensor:
        branch, shortcut = self
        return branch(images) + shortcut(images)  # type: ignore[no-any-return]


def resnext101_32x4d(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """ResNeXt-101 (32x4d); 44,177,704 parameters for 1000 classes. Input (B, channels, H, W), output (B, classes)."""
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(
                nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(),
                nn.MaxPool2d(3, 2, padding=1),
                _stage(3, 64, 128, stride=1),
                _stage(4, 256, 256, stride=2),
                _stage(23, 512, 512, stride=2),
                _stage(3, 1024, 1024, stride=2),
            ),
            avg_pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            last_linear=nn.Linear(2048, classes),
        )
    )
    he_normal_(model)
    return model


def _stage(blocks: int, inputs: int, inner: int, stride: int) -> nn.Sequential:
    rest = [_block(2 * inner, inner, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_block(inputs, inner, stride), *rest)


def _block(inputs: int, inner: int, stride: int) -> nn.Sequential:
    outputs = 2 * inner
    transform = nn.Sequential(
        nn.Conv2d(inputs, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
        nn.Conv2d(inner, inner, 3, stride, padding=1, groups=_GROUPS, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(),
    )
    branch = nn.Sequential(transform, nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(Sum(branch, _shortcut(inputs, outputs, stride)), nn.ReLU())


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
