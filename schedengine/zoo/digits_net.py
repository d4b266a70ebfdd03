"""A network for the digits: small enough to train in seconds, wide enough to lose nine weights of ten."""

from __future__ import annotations

from torch import Tensor, nn


class DigitsCNN(nn.Module):
    """Four 3x3 convolutions, a pooling between them, and a classifier. Input (B, channels, H, W), output (B, classes).

    For 8x8 images of one channel and 10 classes it has 60,688 prunable weights: 144, 4,608, 18,432 and 36,864 in the
    convolutions, 640 in the classifier.

    Args:
        classes: outputs.
        channels: of the images.
    """

    def __init__(self, classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(64)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.bn4 = nn.BatchNorm2d(64)
        self.relu4 = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(images)))
        out = self.pool(self.relu2(self.bn2(self.conv2(out))))
        out = self.relu3(self.bn3(self.conv3(out)))
        out = self.relu4(self.bn4(self.conv4(out)))
        return self.fc(self.avgpool(out).flatten(1))  # type: ignore[no-any-return]


def digits_cnn(classes: int = 10, channels: int = 1) -> DigitsCNN:
    """The network for the digits that ship."""
    return DigitsCNN(classes, channels)
