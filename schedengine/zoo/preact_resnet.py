"""Residual networks that normalise and rectify before each convolution, with Distiller's parameter names.

He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016, arXiv 1603.05027. The shortcuts carry the
input unchanged. Where a block changes the shape, those for small images pool and pad with zeros, without parameters
(option A of arXiv 1512.03385), those for ImageNet convolve 1x1. The pooling adapts to the image size.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from schedengine.zoo.initial import he_normal_


class PreactBlock(nn.Module):
    """A branch of convolutions beside a shortcut. Input (B, inputs, H, W), output (B, outputs, H/stride, W/stride).

    Args:
        inputs: channels; None for a block whose input is normalised and rectified already.
        branch: the layers of the branch, by name.
        downsample: the shortcut where the shape changes.
        downsample_raw: whether the shortcut takes the input as it comes, not normalised and rectified.
    """

    def __init__(
        self,
        inputs: int | None,
        branch: dict[str, nn.Module],
        downsample: nn.Module | None,
        *,
        downsample_raw: bool = False,
    ) -> None:
        super().__init__()
        self.pre_bn = None if inputs is None else nn.BatchNorm2d(inputs)
        self.pre_relu = None if inputs is None else nn.ReLU()
        for name, layer in branch.items():
            self.add_module(name, layer)
        self.downsample = downsample
        self._branch = tuple(branch)
        self._downsample_raw = downsample_raw

    def forward(self, images: Tensor) -> Tensor:
        ready = images
        if self.pre_bn is not None and self.pre_relu is not None:
            ready = self.pre_relu(self.pre_bn(images))
        out = ready
        for name in self._branch:
            out = getattr(self, name)(out)
        if self.downsample is None:
            return out + images
        return out + self.downsample(images if self._downsample_raw else ready)  # type: ignore[no-any-return]


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def _preact_cifar(blocks: int, classes: int, channels: int) -> nn.Sequential:
    model = nn.Sequential(
        OrderedDict(
            conv1=_convolution(channels, 16, 3),
            layer1=_cifar_stage(blocks, 16, 16, stride=1),
            layer2=_cifar_stage(blocks, 16, 32, stride=2),
            layer3=_cifar_stage(blocks, 32, 64, stride=2),
            **_head(64, classes),
        )
    )
    he_normal_(model)
    return model


def _head(width: int, classes: int) -> dict[str, nn.Module]:
    return {
        "final_bn": nn.BatchNorm2d(width),
        "final_relu": nn.ReLU(),
        "avgpool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(width, classes),
    }


def _cifar_stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        _cifar_block(inputs, outputs, stride), *(_cifar_block(outputs, outputs, 1) for _ in range(blocks - 1))
    )


def _cifar_block(inputs: int, outputs: int, stride: int) -> PreactBlock:
    branch = {
        "conv1": _convolution(inputs, outputs, 3, stride),
        "bn": nn.BatchNorm2d(outputs),
        "relu": nn.ReLU(),
        "conv2": _convolution(outputs, outputs, 3),
    }
    return PreactBlock(inputs, branch, _pool_and_pad(inputs, outputs, stride), downsample_raw=True)


def _pool_and_pad(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    more = (outputs - inputs) // 2  # channels of zeros, before and after
    # Rounded up, as the convolution beside it does with odd sizes.
    return nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True), nn.ConstantPad3d((0, 0, 0, 0, more, more), 0.0))


def _preact_imagenet(
    blocks: tuple[int, ...], classes: int, channels: int, *, bottleneck: bool = False
) -> nn.Sequential:
    factor = 4 if bottleneck else 1
    inputs = (64, *(factor * width for width in (64, 128, 256)))
    stages = {
        f"layer{number}": _stage(count, came, 64 * 2 ** (number - 1), 1 if number == 1 else 2, factor)
        for number, (count, came) in enumerate(zip(blocks, inputs), start=1)
    }
    stem = {
        "conv1": _convolution(channels, 64, 7, 2),
        "bn1": nn.BatchNorm2d(64),
        "relu1": nn.ReLU(),
        "maxpool": nn.MaxPool2d(3, 2, padding=1),
    }
    model = nn.Sequential(OrderedDict(**stem, **stages, **_head(512 * factor, classes)))
    he_normal_(model)
    return model


def _stage(blocks: int, inputs: int, width: int, stride: int, factor: int) -> nn.Sequential:
    outputs = factor * width
    first = stride == 1  # the first stage gets its input normalised and rectified, before the pooling
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(_convolution(inputs, outputs, 1, stride))
    return nn.Sequential(
        PreactBlock(None if first else inputs, _branch(inputs, width, stride, factor), shortcut),
        *(PreactBlock(outputs, _branch(outputs, width, 1, factor), None) for _ in range(blocks - 1)),
    )


def _branch(inputs: int, width: int, stride: int, factor: int) -> dict[str, nn.Module]:
    if factor == 1:
        return {
            "conv1": _convolution(inputs, width, 3, stride),
            "bn1_2": nn.BatchNorm2d(width),
            "relu1_2": nn.ReLU(),
            "conv2": _convolution(width, width, 3),
        }
    return {
        "conv1": _convolution(inputs, width, 1),
        "bn1_2": nn.BatchNorm2d(width),
        "relu1_2": nn.ReLU(),
        "conv2": _convolution(width, width, 3, stride),
        "bn2_3": nn.BatchNorm2d(width),
        "relu2_3": nn.ReLU(),
        "conv3": _convolution(width, factor * width, 1),
    }


def preact_resnet20_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Three blocks a stage; 269,722 parameters for 10 classes. Input (B, channels, H, W), output (B, classes)."""
    return _preact_cifar(3, classes, channels)


def preact_resnet32_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Five blocks a stage."""
    return _preact_cifar(5, classes, channels)


def preact_resnet44_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Seven blocks a stage."""
    return _preact_cifar(7, classes, channels)


def preact_resnet56_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Nine blocks a stage."""
    return _preact_cifar(9, classes, channels)


def preact_resnet110_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """Eighteen blocks a stage."""
    return _preact_cifar(18, classes, channels)


def preact_resnet18(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """For ImageNet, 18 layers; 11,687,720 parameters. Input (B, channels, H, W), output (B, classes)."""
    return _preact_imagenet((2, 2, 2, 2), classes, channels)


def preact_resnet34(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """For ImageNet, 34 layers."""
    return _preact_imagenet((3, 4, 6, 3), classes, channels)


def preact_resnet50(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """For ImageNet, 50 layers: bottlenecks, that is, a 3x3 convolution between two of 1x1."""
    return _preact_imagenet((3, 4, 6, 3), classes, channels, bottleneck=True)


def preact_resnet101(classes: int = 1000, channels: int = 3) -> nn.Sequential:
    """For ImageNet, 101 layers: bottlenecks."""
    return _preact_imagenet((3, 4, 23, 3), classes, channels, bottleneck=True)
