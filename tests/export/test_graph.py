from __future__ import annotations

import copy

import pytest
import torch
from export.networks import Attention, CalledTwice, Cumulated, Gated, Recurrent, Tied, UNet, images
from torch import Tensor, nn
from torch.nn import functional

from schedengine.errors import ModelError
from schedengine.export.graph import Dimension, dimensions
from schedengine.zoo.models import build_model


def of(found: list[Dimension], layer: str, kind: str = "out") -> Dimension:
    return next(one for one in found if any(m.layer == layer and m.kind == kind for m in one.members))


def members(dimension: Dimension) -> list[tuple[str, str]]:
    return [(one.layer, one.kind) for one in dimension.members]


def test_a_residual_stage_is_one_dimension() -> None:
    found = dimensions(build_model("resnet20_cifar"), images(32))
    stage = of(found, "conv1")
    assert stage.size == 16
    writers = [layer for layer, kind in members(stage) if kind == "out"]
    assert writers == ["conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"]
    assert ("layer2.0.downsample.0", "in") in members(stage)


def test_resnet20_has_a_free_dimension_a_block_and_a_stage() -> None:
    found = dimensions(build_model("resnet20_cifar"), images(32))
    assert [one.size for one in found if one.blocked is None] == [16] * 4 + [32] * 4 + [64] * 4


def test_inputs_and_outputs_are_blocked() -> None:
    found = dimensions(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.rand(5, 3))
    assert [(one.size, one.blocked) for one in found] == [
        (4, None),
        (3, "they are the network's inputs"),
        (2, "they are the network's outputs"),
    ]


def test_a_channel_before_flatten_is_a_run_of_inputs() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(45, 2))
    reader = of(dimensions(model, images(8)), "0").members[1]
    assert (reader.layer, reader.kind) == ("3", "in")
    assert reader.positions[1] == tuple(range(9, 18))


def test_channels_are_followed_through_a_permutation() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 5, 3), nn.Linear(5, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(self.conv(images).permute(0, 2, 3, 1))

    assert members(of(dimensions(Net(), images()), "conv")) == [("conv", "out"), ("fc", "in")]


def test_a_concatenation_shifts_positions() -> None:
    found = dimensions(UNet(), images())
    join = next(one for one in of(found, "down").members if one.layer == "join")
    assert join.positions == tuple((6 + one,) for one in range(8))
    assert of(found, "up").size == 6


def test_a_value_concatenated_with_itself_has_two_positions() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(8, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            out = self.conv(images)
            return self.head(torch.cat([out, torch.relu(out)], 1))

    assert of(dimensions(Net(), images()), "conv").members[1].positions == ((0, 4), (1, 5), (2, 6), (3, 7))


def test_a_gate_goes_with_what_it_gates() -> None:
    found = dimensions(Gated(), images())
    assert members(of(found, "conv")) == [("conv", "out"), ("squeeze", "in"), ("excite", "out"), ("head", "in")]


def test_a_depthwise_convolution_hands_channels_on() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.Conv2d(6, 2, 1))
    assert members(of(dimensions(model, images()), "0")) == [
        ("0", "out"),
        ("1", "through"),
        ("2", "through"),
        ("3", "in"),
    ]


def test_a_grouped_convolution_blocks_both_sides() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=2), nn.Conv2d(6, 2, 1))
    found = dimensions(model, images())
    reason = "they go through 1, a convolution of 2 groups that is not depthwise"
    assert of(found, "0").blocked == reason
    assert of(found, "2", "in").blocked == reason


def test_attention_blocks_but_not_the_layers_behind_it() -> None:
    found = dimensions(Attention(), torch.rand(2, 4, 5))
    assert "attend.in_proj_weight of a MultiheadAttention" in str(of(found, "embed").blocked)
    assert of(found, "wide").blocked is None
    assert of(found, "embed", "in").blocked == "they are the network's inputs"


@pytest.mark.parametrize(
    ("model", "example", "layer", "reason"),
    [
        (Tied(), torch.tensor([[1, 2]]), "encoder", "the weight is tied: encoder.weight and decoder.weight are one"),
        (Cumulated(), images(), "conv", "they go through Cumsum, an operation that is not known"),
        (CalledTwice(), images(), "conv", "conv.weight is used 2 times in one pass"),
        (Recurrent(), torch.tensor([[1, 2]]), "encoder", "rnn.weight_ih_l0 of a LSTM"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1)), images(), "0", "1, a GroupNorm"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 2, 1)), images(), "0", "PixelShuffle"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 1), nn.Softmax(1), nn.Conv2d(8, 2, 1)),
            images(),
            "0",
            "Softmax along the channels",
        ),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(0, 1)), images(), "0", "a view that splits the channels"),
    ],
)
def test_what_is_not_understood_blocks_and_says_why(model: nn.Module, example: Tensor, layer: str, reason: str) -> None:
    assert reason in str(of(dimensions(model, example), layer).blocked)


def test_a_computed_weight_blocks() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1))
    torch.nn.utils.parametrizations.weight_norm(model[0])
    assert of(dimensions(model, images()), "0").blocked == "0.weight is computed from other tensors"


def test_a_sum_over_channels_blocks_and_over_positions_does_not() -> None:
    class Net(nn.Module):
        def __init__(self, dims: tuple[int, ...]) -> None:
            super().__init__()
            self.dims, self.conv, self.fc = dims, nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.fc(self.conv(images).sum(self.dims))

    assert of(dimensions(Net((2, 3)), images()), "conv").blocked is None
    assert of(dimensions(Net((1, -1)), images()), "conv").blocked == "they go through Sum over the channels"


def test_a_shuffled_network_is_followed_where_it_is_not_shuffled() -> None:
    found = dimensions(build_model("shufflenet_v2_x0_5"), images(32))
    assert of(found, "stage2.0.branch2.0").blocked is None
    assert "a view that splits the channels" in str(of(found, "stage2.0.branch2.5").blocked)


def test_the_order_is_the_models_and_the_same_again() -> None:
    model = UNet()
    found = dimensions(model, images())
    assert found == dimensions(model, images())
    assert [one.members[0].layer for one in found] == ["down", "down", "bottom", "up", "join", "head"]


def test_the_model_and_random_numbers_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 2, 1)).train()
    model[0].weight.requires_grad_(False)
    seen: list[int] = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    dimensions(model, images())
    assert model.training and not model[0].weight.requires_grad and not seen
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator) and model[3].weight.grad is None


def test_it_works_without_gradients_around_it() -> None:
    with torch.inference_mode():
        assert len(dimensions(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.rand(2, 3))) == 3


def test_inputs_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ModelError, match="cannot be traced on the example inputs: .*shapes cannot be multiplied"):
        dimensions(nn.Linear(3, 4), torch.rand(2, 5))


def test_keyword_inputs() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, *, values: Tensor) -> dict[str, Tensor]:
            return {"out": self.second(functional.gelu(self.first(values)))}

    assert len(dimensions(Net(), {"values": torch.rand(2, 3)})) == 3
