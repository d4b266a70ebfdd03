"""A plain network for small images: a CIFAR ResNet without its shortcuts, with Distiller's parameter names.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385, section 4.2: what the
residual networks are compared with. Every layer is one module, so it can be thinned without regard to sums.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from schedengine.zoo.initial import he_normal_


def plain20_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Plain-20: three blocks a stage; 269,722 parameters for 10 classes.

    Input (B, channels, H, W), output (B, classes).
    """
    return _plain(3, classes, channels)


def _plain(blocks: int, classes: int, channels: int) -> nn.Sequential:
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(16),
            relu=nn.ReLU(),
            layer1=_stage(blocks, 16, 16, stride=1),
            layer2=_stage(blocks, 16, 32, stride=2),
            layer3=_stage(blocks, 32, 64, stride=2),
            avgpool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(64, classes),
        )
    )
    he_normal_(model)
    return model


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = [_block(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(_block(inputs, outputs, stride), *rest)


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            bn1=nn.BatchNorm2d(outputs),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(outputs),
            relu2=nn.ReLU(),
        )
    )
