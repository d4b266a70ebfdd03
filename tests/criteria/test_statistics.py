from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import resnet18

from schedengine.criteria.base import Activations
from schedengine.criteria.followers import Watch, layers_of
from schedengine.criteria.statistics import Statistics
from schedengine.selection import ParameterTable

SYNCHRONISING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "_to_copy", "unique")
CPU = torch.device("cpu")


class Observed:
    """A model whose outputs are added up."""

    def __init__(self, model: nn.Module, statistics: Statistics | None = None) -> None:
        table = ParameterTable(model)
        self.statistics = statistics or Statistics()
        self.watch = Watch(model, layers_of(table, table.names), [self.statistics], {})

    def of(self, name: str, channels: int) -> Activations:
        return self.statistics.read({name: (channels, CPU)})[name]


def identity(*after: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(2, 2, 1, bias=False)
    conv.weight.data = torch.eye(2).view(2, 2, 1, 1)
    return nn.Sequential(conv, *after)


def images() -> Tensor:
    """2 x 2 x 3 x 3: of the 18 values of each channel 12 and 9 are at most 0; the others are 1 to 6 and 1 to 9."""
    first = torch.tensor([*range(1, 7), *[0] * 6, *[-1] * 6])
    second = torch.tensor([*range(1, 10), *[0] * 9])
    return torch.stack([first, second]).float().view(2, 2, 3, 3).transpose(0, 1)


@pytest.mark.parametrize("after", [[], [nn.ReLU()], [nn.ReLU(inplace=True)], [nn.Identity(), nn.ReLU(inplace=True)]])
def test_outputs_are_counted_as_a_relu_leaves_them(after: list[nn.Module]) -> None:
    model = identity(*after)
    observed = Observed(model)
    model(images())
    seen = observed.of("0.weight", 2)
    assert (seen.count, seen.zeros.tolist(), seen.total.tolist()) == (18, [12, 9], [21, 45])


def test_outputs_are_counted_after_the_normalisation_that_takes_them() -> None:
    norm = nn.BatchNorm2d(2, eps=0.0)
    norm.bias.data = torch.tensor([-5.0, 0.0])  # 1 to 5 become 0
    model = identity(norm, nn.ReLU(inplace=True)).eval()
    observed = Observed(model)
    for _ in range(2):
        model(images())
    seen = observed.of("0.weight", 2)
    assert (seen.count, seen.zeros.tolist(), seen.total.tolist()) == (36, [34, 18], [2, 90])


def test_a_shared_relu_does_not_matter() -> None:
    torch.manual_seed(0)
    model, batch = resnet18(num_classes=2).eval(), torch.randn(2, 3, 32, 32)
    observed, block = Observed(model), model.layer1[0]
    model(batch)
    seen = observed.of("layer1.0.conv1.weight", 64)
    with torch.no_grad():
        made = block.bn1(block.conv1(model.maxpool(model.relu(model.bn1(model.conv1(batch))))))
    assert seen.zeros.tolist() == (made <= 0).sum((0, 2, 3)).tolist() and seen.count == made[:, 0].numel()
    assert seen.total.tolist() == pytest.approx(made.relu().double().sum((0, 2, 3)).tolist())


def test_alexnet_needs_no_normalisation() -> None:
    torch.manual_seed(0)
    relu = nn.ReLU(inplace=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), relu, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5), relu)
    batch = torch.randn(2, 3, 8, 8)
    observed = Observed(model)
    made = model[0](batch)
    zeros = (made <= 0).sum((0, 2, 3)).tolist()
    model(batch)
    assert observed.of("0.weight", 4).zeros.tolist() == [2 * one for one in zeros]
    assert observed.of("4.weight", 5).count == 2


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (nn.Linear(3, 4), (3,), 1),
        (nn.Linear(3, 4), (5, 3), 5),
        (nn.Linear(3, 4), (5, 6, 3), 30),
        (nn.Conv1d(3, 4, 1), (5, 3, 6), 30),
        (nn.Conv2d(3, 4, 1), (3, 2, 2), 4),
        (nn.Conv3d(3, 4, 1), (5, 3, 2, 2, 2), 40),
        (nn.ConvTranspose2d(3, 4, 2), (5, 3, 1, 1), 20),
    ],
    ids=str,
)
def test_every_layer_has_its_channels(layer: nn.Module, shape: tuple[int, ...], count: int) -> None:
    model = nn.Sequential(layer)
    observed = Observed(model)
    made = model(torch.ones(shape)).detach()
    seen = observed.of("0.weight", 4)
    assert seen.count == count and made.numel() == 4 * count
    assert float(seen.total.sum()) == pytest.approx(float(made.relu().sum()))


def test_the_last_evaluation_counts_before_training_passes() -> None:
    model = identity(nn.BatchNorm2d(2))
    observed = Observed(model)
    model.eval()(3 * images())
    model.train()(images())
    assert observed.of("0.weight", 2).count == 18  # of the training pass: that evaluation was of other weights
    model.eval()(images())
    model(images())
    assert observed.of("0.weight", 2).count == 36
    assert observed.of("0.weight", 2).zeros.tolist() == [24, 18]


def test_a_layer_that_did_not_run_has_no_statistics() -> None:
    assert Statistics().read({"0.weight": (2, CPU)}) == {}


def test_a_layer_that_was_thinned_is_counted_anew() -> None:
    model = identity()
    observed = Observed(model)
    model(images())
    model[0].weight = nn.Parameter(torch.ones(1, 2, 1, 1))
    model(images())
    seen = observed.of("0.weight", 1)
    assert seen.count == 18 and observed.statistics.read({"0.weight": (2, CPU)}) == {}


def test_half_precision_outputs_are_added_up_in_double() -> None:
    model = identity().to(torch.bfloat16)
    observed = Observed(model)
    for _ in range(300):
        model(images().to(torch.bfloat16))
    assert observed.of("0.weight", 2).total.tolist() == [6300, 13500]


def test_sums_go_on_where_they_were_saved() -> None:
    model, file = identity(nn.BatchNorm2d(2)), io.BytesIO()
    observed = Observed(model)
    model(images())
    torch.save(observed.statistics.state_dict(), file)
    file.seek(0)
    again = Statistics()
    again.load_state_dict(torch.load(file, weights_only=True))
    resumed = Observed(model, again)
    model(images())
    whole, other = observed.of("0.weight", 2), resumed.of("0.weight", 2)
    assert whole.count == other.count == 36
    assert whole.zeros.equal(other.zeros) and whole.total.equal(other.total)


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_counting_never_waits_for_the_device() -> None:
    model = identity(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 3))
    observed, batch = Observed(model), images()
    with Operations() as operations:
        model(batch)
    assert observed.of("3.weight", 3).count == 2 and "aten::clamp_min" in operations.names
    assert not [name for name in operations.names if any(word in name for word in SYNCHRONISING)]


def test_sums_that_were_loaded_to_another_device_follow_the_outputs() -> None:
    statistics = Statistics()
    state = [["0.weight", False, True, "meta", 3, torch.zeros(2, dtype=torch.int64), torch.zeros(2).double()]]
    statistics.load_state_dict(state)
    statistics.layer_ran("0.weight", nn.Linear(2, 2), torch.ones(1), torch.ones(4, 2, device="meta"))
    assert statistics.state_dict()[0][4:5] == [7]
