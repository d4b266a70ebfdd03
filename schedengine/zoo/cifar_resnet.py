"""Residual networks for small images, with the parameter names that Distiller's schedules are written for.

The networks of He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015, arXiv 1512.03385, section
4.2: three stages of n basic blocks, 16, 32 and 64 channels wide, 6n+2 layers deep. As in Distiller and unlike the
paper, a block that changes the shape has a 1x1 convolution as its shortcut. The pooling adapts to the image size.
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. Input (B, inputs, H, W), output (B, outputs, H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        shortcut = images if self.downsample is None else self.downsample(images)
        out = self.relu1(self.bn1(self.conv1(images)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out + shortcut)  # type: ignore[no-any-return]


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class CifarResNet(nn.Module):
    """Three stages of basic blocks. Input (B, channels, H, W), output (B, classes).

    Args:
        blocks: per stage; the depth is 6 * blocks + 2.
        classes: outputs.
        channels: of the images.
    """

    def __init__(self, blocks: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(blocks, 16, 16, stride=1)
        self.layer2 = _stage(blocks, 16, 32, stride=2)
        self.layer3 = _stage(blocks, 32, 64, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(images)))
        out = self.layer3(self.layer2(self.layer1(out)))
        return self.fc(self.avgpool(out).flatten(1))  # type: ignore[no-any-return]


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


def resnet8_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-8: one block a stage."""
    return CifarResNet(1, classes, channels)


def resnet14_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-14: two blocks a stage."""
    return CifarResNet(2, classes, channels)


def resnet20_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-20: three blocks a stage; 272,474 parameters for 10 classes."""
    return CifarResNet(3, classes, channels)


def resnet32_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-32: five blocks a stage."""
    return CifarResNet(5, classes, channels)


def resnet44_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-44: seven blocks a stage."""
    return CifarResNet(7, classes, channels)


def resnet56_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-56: nine blocks a stage."""
    return CifarResNet(9, classes, channels)


def resnet110_cifar(classes: int = 10, channels: int = 3) -> CifarResNet:
    """ResNet-110: eighteen blocks a stage."""
    return CifarResNet(18, classes, channels)
