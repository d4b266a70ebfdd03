"""Small networks that are easy or awkward to thin, and filters zeroed at random."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from schedengine.export.graph import Dimension, dimensions
from schedengine.export.thin import clear_


class UNet(nn.Module):
    """A concatenation across levels, and a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.bottom = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(12, 6, 2, 2)
        self.join, self.head = nn.Conv2d(14, 8, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        left = torch.relu(self.norm(self.down(images)))
        right = torch.relu(self.up(torch.relu(self.bottom(left))))
        return self.head(torch.relu(self.join(torch.cat([right, left], 1))))


class Gated(nn.Module):
    """Squeeze and excitation: channels multiplied by what was computed from them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.squeeze = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.excite, self.head = nn.Conv2d(4, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        out = torch.relu(self.conv(images))
        gate = self.excite(torch.relu(self.squeeze(out.mean((2, 3), keepdim=True))))
        return self.head(out * torch.sigmoid(gate))


class Preactivated(nn.Module):
    """A normalisation for one branch of a residual stream, and another for their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.conv = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.last, self.fc = nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        out = self.stem(images)
        out = out + self.conv(torch.relu(self.norm(out)))
        return self.fc(torch.relu(self.last(out)).mean((2, 3)))


class Attention(nn.Module):
    """Self-attention, then two linear layers of which the channels between them are free."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend = nn.Linear(5, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.wide, self.head = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, series: Tensor) -> Tensor:
        out = self.embed(series)
        out = out + self.attend(out, out, out)[0]
        return self.head(torch.relu(self.wide(out)))


class Tied(nn.Module):
    """An encoder and a decoder with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.middle, self.decoder = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9, bias=False)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(torch.relu(self.middle(self.encoder(tokens))))


class FixedView(nn.Module):
    """A size that stands in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(functional.adaptive_avg_pool2d(torch.relu(self.conv(images)), 1).view(-1, 8))


class Cumulated(nn.Module):
    """An operation that mixes channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(torch.cumsum(self.conv(images), 1).mean((2, 3)))


class CalledTwice(nn.Module):
    """One convolution in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(torch.relu(self.conv(self.stem(images))))))


class Recurrent(nn.Module):
    """A small language model."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.rnn, self.decoder = nn.Embedding(9, 6), nn.LSTM(6, 5), nn.Linear(5, 9)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.rnn(self.encoder(tokens))[0])


class Auxiliary(nn.Module):
    """A head that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head, self.side = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        out = torch.relu(self.conv(images))
        return (self.head(out), self.side(out)) if self.training else self.head(out)


def images(size: int = 8, count: int = 2, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def lively(model: nn.Module) -> nn.Module:
    """Normalisation as it is after some training: shifts, means and variances that matter."""
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor, scale, offset in (
                (module.bias, 0.2, 0),
                (module.running_mean, 0.2, 0),
                (module.running_var, 1, 0.5),
            ):
                tensor.data = torch.rand(tensor.shape, generator=generator) * scale + offset
    return model


def zero_filters(model: nn.Module, example: Tensor, share: float = 0.4) -> int:
    """Zero the filters of some coordinates of every dimension that is free; how many coordinates."""
    generator = torch.Generator().manual_seed(3)
    count = 0
    for dimension in free(model, example):
        chosen = torch.randperm(dimension.size, generator=generator)[: int(share * dimension.size)].tolist()
        weights_only = [member for member in dimension.members if member.kind == "out"]
        biases = {f"{one.layer}.bias": model.get_submodule(one.layer).bias for one in weights_only}
        before = {name: bias.clone() for name, bias in biases.items() if bias is not None}
        clear_(model, Dimension(dimension.size, tuple(weights_only), None), chosen, ("out",))
        for name, value in before.items():  # what filters say by their biases is for thinning to settle
            biases[name].data.copy_(value)
        count += len(chosen)
    return count


def free(model: nn.Module, example: Tensor) -> list[Dimension]:
    return [one for one in dimensions(model, example) if one.blocked is None and one.size > 1]
