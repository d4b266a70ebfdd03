"""Tiny networks that are awkward to sweep, and the naive sweep that says what is right."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

Batches = list[tuple[Tensor, Tensor]]


class Residual(nn.Module):
    """Residual adds, in-place activations, a value overwritten after another branch has read it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.side = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 7)

    def forward(self, images: Tensor) -> Tensor:
        out = self.act(self.norm(self.stem(images)))
        branch = self.second(self.act(self.first(out)))
        branch += self.side(out)  # second's output is alive while side is pruned, and overwritten then
        out = torch.relu(branch + out)
        out.add_(0.1)  # nobody reads what this returns
        return self.fc(out.mean((2, 3)))


class Views(nn.Module):
    """A view of a value that is overwritten: both must see it. And a value that goes by two names."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 7)
        self.drop = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        out = self.fc1(images.flatten(1)[:, :6])
        half = out[:, :3]
        other = self.fc2(out)
        half.mul_(2.0).relu_()
        out = self.fc2(other + out)
        return self.fc3(torch.relu(self.drop(out)) + out)


class Tied(nn.Module):
    """One weight in a layer and as a function's argument; a layer that is called twice; the weight's transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.twin, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 7)
        self.twin.weight = self.fc.weight

    def forward(self, images: Tensor) -> Tensor:
        out = torch.relu(self.fc(images.flatten(1)[:, :8]))
        out = torch.relu(self.out.weight.sum() * 0.1 + self.twin(self.twin(out)))
        return self.out(functional.linear(out, self.fc.weight.t()))


class Attention(nn.Module):
    """Weights of a module that tracing does not look into, and a parameter of the network's own."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm, self.fc, self.drop = nn.LayerNorm(8), nn.Linear(8, 7), nn.Dropout(0.5)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = images.flatten(1)[:, :24].unflatten(1, (3, 8))
        tokens = torch.cat([self.token.expand(tokens.shape[0], -1, -1), tokens], 1)
        if mask is not None:
            tokens = tokens * mask
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return self.fc(self.drop(self.norm(tokens + mixed))[:, 0])


class Checks(nn.Module):
    """Branches on shapes, which ``torch.fx`` cannot trace and ``torch.export`` can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 7)

    def forward(self, images: Tensor) -> Tensor:
        if images.dim() != 4:
            raise ValueError
        return self.fc(torch.relu_(self.norm(self.conv(images))).mean((2, 3)))


class Branches(nn.Module):
    """Branches on values: nothing can trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 8), nn.Linear(8, 7)

    def forward(self, images: Tensor) -> Tensor:
        out = self.fc1(images.flatten(1)[:, :8])
        return self.fc2(out.abs() if float(out.sum()) > 0 else out)


class Hidden(nn.Module):
    """Reads a parameter a second time where tracing sees a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 8), nn.Linear(8, 7)

    def forward(self, images: Tensor) -> Tensor:
        scale = float(dict(self.named_parameters())["fc1.weight"].abs().mean())
        return self.fc2(self.fc1(images.flatten(1)[:, :8]) * scale)


class Together(nn.Module):
    """Normalises by the statistics of the batch at hand, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)
        self.fc = nn.Linear(4, 7)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.relu(self.norm(self.conv(images))).mean((2, 3)))


def seeded(network: type[nn.Module], seed: int = 0) -> nn.Module:
    """The network with random weights and statistics, in training mode."""
    torch.manual_seed(seed)
    model = network()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            for tensor, low in ((module.running_mean, -0.5), (module.running_var, 0.5)):
                assert tensor is not None
                tensor.uniform_(low, 1.5)
    return model


def batches(*sizes: int) -> Batches:
    """Images (size, 2, 6, 6) of 7 classes."""
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 2, 6, 6, generator=generator), torch.randint(0, 7, (size,), generator=generator))
        for size in sizes
    ]


def smallest_removed(weight: Tensor, level: float) -> Tensor:
    """Without the smallest magnitudes, ``level`` of them, halves rounded up."""
    flat = weight.detach().flatten().clone()
    flat[flat.abs().argsort(stable=True)[: int(level * flat.numel() + 0.5)]] = 0.0
    return flat.view_as(weight)


@torch.no_grad()
def naive(model: nn.Module, name: str, level: float, data: Batches) -> tuple[int, int, float]:
    """Right at first, right within five, summed loss: prune a copy, evaluate it."""
    pruned = copy.deepcopy(model).eval()
    weight = dict(pruned.named_parameters())[name]
    weight.copy_(smallest_removed(weight, level))
    return evaluated(pruned, data)


@torch.no_grad()
def evaluated(model: nn.Module, data: Batches) -> tuple[int, int, float]:
    """The same of a model as it is."""
    top1, top5, loss = 0, 0, 0.0
    for images, labels in data:
        scores = model(images)
        order = scores.argsort(1, descending=True)
        top1 += int((order[:, 0] == labels).sum())
        top5 += int((order[:, :5] == labels[:, None]).sum())
        loss += float(functional.cross_entropy(scores.double(), labels, reduction="sum"))
    return top1, top5, loss
