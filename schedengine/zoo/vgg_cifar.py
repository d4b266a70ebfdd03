"""VGG networks for small images, with the parameter names that Distiller's schedules are written for.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014, arXiv 1409.1556,
table 1, configurations A, B, D and E. As in Distiller and unlike the paper, one linear layer takes the place of the
three at the end, and there is no dropout. The ``_bn`` networks normalise after each convolution. The pooling at the
end adapts to the image size, which must be 32 pixels or more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torch import nn

from schedengine.zoo.initial import he_normal_

_WIDTHS = (64, 128, 256, 512, 512)
"""Of the five stages; each ends with a pooling that halves the image."""


def _vgg(depths: tuple[int, ...], classes: int, channels: int, *, normalised: bool = False) -> nn.Sequential:
    model = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*_features(depths, channels, normalised)),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            classifier=nn.Linear(_WIDTHS[-1], classes),
        )
    )
    he_normal_(model)
    return model


def _features(depths: tuple[int, ...], channels: int, normalised: bool) -> Iterator[nn.Module]:
    inputs = channels
    for depth, width in zip(depths, _WIDTHS):
        for _ in range(depth):
            yield nn.Conv2d(inputs, width, 3, padding=1)
            if normalised:
                yield nn.BatchNorm2d(width)
            yield nn.ReLU()
            inputs = width
        yield nn.MaxPool2d(2)


def vgg11_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-11: 8 convolutions; 9,225,610 parameters for 10 classes. Input (B, channels, H, W), output (B, classes)."""
    return _vgg((1, 1, 2, 2, 2), classes, channels)


def vgg13_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-13: 10 convolutions; 9,410,122 parameters for 10 classes."""
    return _vgg((2, 2, 2, 2, 2), classes, channels)


def vgg16_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-16: 13 convolutions; 14,719,818 parameters for 10 classes."""
    return _vgg((2, 2, 3, 3, 3), classes, channels)


def vgg19_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-19: 16 convolutions; 20,029,514 parameters for 10 classes."""
    return _vgg((2, 2, 4, 4, 4), classes, channels)


def vgg11_bn_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-11 with batch normalisation."""
    return _vgg((1, 1, 2, 2, 2), classes, channels, normalised=True)


def vgg13_bn_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-13 with batch normalisation."""
    return _vgg((2, 2, 2, 2, 2), classes, channels, normalised=True)


def vgg16_bn_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-16 with batch normalisation."""
    return _vgg((2, 2, 3, 3, 3), classes, channels, normalised=True)


def vgg19_bn_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-19 with batch normalisation."""
    return _vgg((2, 2, 4, 4, 4), classes, channels, normalised=True)
