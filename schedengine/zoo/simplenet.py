"""Two LeNets, with the parameter names that Distiller's schedules are written for.

After LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998, with maxima
in the poolings, rectifiers, and every map of the second convolution seeing all of the first. Images are of one size.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def simplenet_mnist(classes: int = 10, channels: int = 1) -> nn.Sequential:
    """For 28x28 images; 431,080 parameters for gray ones and 10 classes.

    Input (B, channels, 28, 28), output (B, classes): scores, where Distiller's network gives their log-softmax, which
    changes neither the loss nor the classes.
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 20, 5),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(20, 50, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(50 * 4 * 4, 500),
            relu3=nn.ReLU(),
            fc2=nn.Linear(500, classes),
        )
    )


def simplenet_cifar(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """For 32x32 images; 62,006 parameters and 651,720 multiply-accumulates for images in colour and 10 classes.

    Input (B, channels, 32, 32), output (B, classes).
    """
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5),
            relu_conv1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu_conv2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * 5 * 5, 120),
            relu_fc1=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu_fc2=nn.ReLU(),
            fc3=nn.Linear(84, classes),
        )
    )
