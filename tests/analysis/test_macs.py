"""Multiply-accumulates, against numbers worked by hand and published ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from schedengine.analysis.macs import multiply_accumulates
from schedengine.errors import ModelError
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import build_model


def macs(model: nn.Module, *shape: int) -> dict[str, int]:
    return multiply_accumulates(model, [torch.zeros(1, *shape)])


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (nn.Conv2d(3, 16, 3, padding=1), (3, 8, 8), 16 * 3 * 9 * 64),
        (nn.Conv2d(3, 16, 3, stride=2), (3, 9, 9), 16 * 3 * 9 * 16),  # 4x4 positions, no padding
        (nn.Conv2d(8, 8, 3, padding=1, groups=8), (8, 4, 4), 8 * 9 * 16),
        (nn.Conv1d(2, 5, 3), (2, 10), 5 * 2 * 3 * 8),
        (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), 2 * 8 * 8),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 4 * 6 * 4 * 25),
        (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 5, 5), 4 * 3 * 4 * 25),
        (nn.Linear(7, 3), (7,), 21),
        (nn.Linear(7, 3), (5, 7), 105),
    ],
)
def test_a_layer_costs_its_weights_times_its_positions(layer: nn.Module, shape: tuple[int, ...], count: int) -> None:
    assert macs(layer, *shape) == {"weight": count}


def test_resnet20_costs_what_its_shapes_say() -> None:
    counts = multiply_accumulates(build_model("resnet20_cifar", meta=True), example_inputs("resnet20_cifar") or ())
    first, stage1 = 27 * 16 * 1024, 6 * 2_304 * 1_024
    stage2 = (4_608 + 5 * 9_216 + 512) * 256
    stage3 = (18_432 + 5 * 36_864 + 2_048) * 64
    assert sum(counts.values()) == first + stage1 + stage2 + stage3 + 640 == 40_813_184


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet50", 4_089), ("mobilenet_v2", 301), ("resnext50_32x4d", 4_230), ("densenet121", 2_834)],
)
def test_whole_networks_cost_what_torchvision_states_with_their_weights(name: str, millions: float) -> None:
    counts = multiply_accumulates(build_model(name, meta=True), example_inputs(name) or ())
    assert sum(counts.values()) / 1e6 == pytest.approx(millions, abs=0.5)


def test_a_vision_transformer_costs_what_is_published_less_its_attention_scores() -> None:
    # torchvision states 17.564 G with them: 12 layers, twice 197 x 197 x 768.
    counts = multiply_accumulates(build_model("vit_b_16", meta=True), example_inputs("vit_b_16") or ())
    assert sum(counts.values()) + 12 * 2 * 197 * 197 * 768 == pytest.approx(17.564e9, abs=1e6)


class Shared(nn.Module):
    """A convolution that is called twice, and one that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = nn.Conv2d(2, 2, 1)
        self.never = nn.Conv2d(2, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.twice(self.twice(images))  # type: ignore[no-any-return]


def test_a_layer_that_is_called_twice_counts_twice_and_one_that_is_not_is_unknown() -> None:
    assert macs(Shared(), 2, 3, 3) == {"twice.weight": 2 * 4 * 9}


class Functional(nn.Module):
    """Weights without modules: a linear one, half of another, and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Parameter(torch.zeros(4, 4)) for _ in range(3))

    def forward(self, rows: Tensor) -> Tensor:
        return (functional.linear(rows, self.a) @ self.c) @ self.b[:2].t()


def test_functions_views_and_products_are_seen_without_modules() -> None:
    assert macs(Functional(), 3, 4) == {"a": 48, "b": 24, "c": 48}


def test_tied_weights_add_up_under_their_first_name() -> None:
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert macs(nn.Sequential(first, second), 4) == {"0.weight": 32}


def test_parametrized_weights_are_those_of_the_running_layer() -> None:
    model = nn.Sequential(
        parametrizations.weight_norm(nn.Linear(6, 4)), parametrizations.spectral_norm(nn.Linear(4, 4))
    )
    assert macs(model, 6) == {"0.parametrizations.weight.original1": 24, "1.weight": 16}


def test_recurrent_layers_cost_their_matrices_at_every_step() -> None:
    counts = macs(nn.LSTM(3, 5, batch_first=True), 7, 3)
    assert counts == {"weight_ih_l0": 4 * 5 * 3 * 7, "weight_hh_l0": 4 * 5 * 5 * 7}
    assert macs(nn.GRUCell(3, 5), 3) == {"weight_ih": 45, "weight_hh": 75}


@pytest.mark.parametrize("keys", [None, 6])
def test_attention_costs_its_four_projections(keys: int | None) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, kdim=keys, vdim=keys, batch_first=True)

        def forward(self, queries: Tensor, others: Tensor) -> Tensor:
            return self.inner(queries, others, others)[0]  # type: ignore[no-any-return]

    counts = multiply_accumulates(Attention(), [torch.zeros(1, 3, 8), torch.zeros(1, 5, keys or 8)])
    assert sum(counts.values()) == 3 * 64 + 2 * 5 * 8 * (keys or 8) + 3 * 64


def test_a_network_that_looks_at_values_is_counted_from_the_meta_device() -> None:
    class Looks(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) if float(input.sum()) < 1 else input

    with torch.device("meta"):
        model = Looks(4, 2)
    assert macs(model, 4) == {"weight": 8} and model.weight.is_meta


def test_modes_buffers_and_random_numbers_are_left_as_they_were() -> None:
    class Counts(nn.Dropout):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, input: Tensor) -> Tensor:
            self.calls += torch.rand(()) + 1
            return super().forward(input)

    model, before = Counts(), torch.get_rng_state()
    assert macs(model, 4) == {}
    assert model.training and model.calls == 0 and torch.equal(before, torch.get_rng_state())


def test_wrapped_models_count_under_normalised_names() -> None:
    assert macs(nn.DataParallel(nn.Sequential(nn.Linear(4, 2))), 4) == {"0.weight": 8}


def test_an_input_that_does_not_fit_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match=r"does not take an input of 3x8x8: .*channels.*; give the shape"):
        macs(build_model("digits_cnn"), 3, 8, 8)


def test_examples_are_taken_in_the_precision_of_the_model() -> None:
    assert multiply_accumulates(nn.Linear(4, 2).to(torch.bfloat16), [torch.zeros(1, 4)]) == {"weight": 8}


@pytest.mark.parametrize("inputs", [torch.zeros(1, 3, 8, 8), [(1, 3, 8, 8)]])
def test_inputs_are_tensors_in_a_sequence(inputs: Any) -> None:
    with pytest.raises(ModelError, match="a sequence of tensors"):
        multiply_accumulates(nn.Conv2d(3, 4, 3), inputs)
