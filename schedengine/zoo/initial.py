"""The weights that a network of ours begins with."""

from __future__ import annotations

from torch import nn


def he_normal_(model: nn.Module) -> None:
    """Draw the weights of all convolutions so that variances last through rectifiers; their biases become 0.

    Without it, networks without normalisation (``vgg16_cifar``) do not begin to learn.

    Reference:
        He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", 2015, arXiv 1502.01852: a variance of 2 / fan in.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
