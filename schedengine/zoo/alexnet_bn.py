"""AlexNet with batch normalisation, with Distiller's parameter names.

Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", 2012, as Zhou and
others changed it for DoReFa-Net, 2016, arXiv 1606.06160: a first filter of 12x12, no local response normalisation and
no dropout, batch normalisation instead, the poolings before the rectifiers. Distiller's momentum of the statistics,
0.9, is TensorFlow's way to write what torch calls 0.1, which is ours.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from schedengine.zoo.initial import he_normal_


def alexnet_bn(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """AlexNet with batch normalisation; 60,981,320 parameters for 1000 classes.

    Input (B, channels, 224, 224), output (B, classes); the pooling adapts to other sizes.
    """
    model = nn.Sequential(
        OrderedDict(
            features=_features(channels),
            avgpool=nn.AdaptiveAvgPool2d(6),
            flatten=nn.Flatten(),
            classifier=_head(classes),
        )
    )
    he_normal_(model)
    return model


def _features(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 96, 12, 4),
        nn.ReLU(),
        nn.Conv2d(96, 256, 5, padding=2, groups=2, bias=False),
        nn.BatchNorm2d(256, eps=1e-4),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.ReLU(),
        nn.Conv2d(256, 384, 3, padding=1, bias=False),
        nn.BatchNorm2d(384, eps=1e-4),
        nn.MaxPool2d(3, 2, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(384, eps=1e-4),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(256, eps=1e-4),
        nn.MaxPool2d(3, 2),
        nn.ReLU(),
    )


def _head(classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(256 * 6 * 6, 4096, bias=False),
        nn.BatchNorm1d(4096, eps=1e-4),
        nn.ReLU(),
        nn.Linear(4096, 4096, bias=False),
        nn.BatchNorm1d(4096, eps=1e-4),
        nn.ReLU(),
        nn.Linear(4096, classes),
    )
