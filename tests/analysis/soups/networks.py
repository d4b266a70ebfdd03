"""Small networks for the tests of soups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from schedengine.training.evaluate import Evaluation
from schedengine.zoo.loader import Images, Loader


def network(seed: int, *, zeros: tuple[int, ...] = (0, 5)) -> nn.Sequential:
    """Images of 2x2 pixels -> two classes, with batch normalisation and dropout; some weights of 1.weight are 0."""
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2))
    with torch.no_grad():
        layers[1].weight.view(-1)[list(zeros)] = 0.0
    return layers


def images(count: int = 12) -> Loader:
    """Black and white ones, in batches of four."""
    labels = torch.arange(count) % 2
    pixels = torch.arange(count * 4).view(count, 1, 2, 2).to(torch.uint8) * (labels.view(-1, 1, 1, 1) * 3 + 1)
    return Loader(Images(pixels.to(torch.uint8), labels), 4, (0.5,), (0.5,))


def line(*weights: float) -> nn.Linear:
    """One weight for each number, no bias."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def scored(loss: float, top1: float = 50.0) -> Evaluation:
    """What a measurement could say."""
    return Evaluation(loss, top1, 100.0, 10)


def state(model: nn.Module) -> dict[str, Tensor]:
    """A copy."""
    return {name: value.clone() for name, value in model.state_dict().items()}
