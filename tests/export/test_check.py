from __future__ import annotations

import copy

import pytest
import torch
from export.networks import Attention, Auxiliary, Cumulated, FixedView, Recurrent, Tied, UNet, images
from torch import Tensor, nn

from schedengine.errors import SchedEngineError
from schedengine.export.check import check
from schedengine.zoo.models import build_model

TOKENS = torch.tensor([[1, 2, 3]])


def test_a_residual_network_passes() -> None:
    model = build_model("resnet20_cifar")
    names = [name for name, value in model.named_parameters() if value.dim() == 4]
    check(model, images(32), names)
    check(model, images(32), names[1:], what="channels")
    check(model, images(32), [*names, "fc.weight"], what="all")


@pytest.mark.parametrize(
    ("model", "example", "name", "reason"),
    [
        (Attention(), torch.rand(2, 4, 5), "embed.weight", "attend.in_proj_weight of a MultiheadAttention"),
        (Attention(), torch.rand(2, 4, 5), "attend.in_proj_weight", "no layer's weight"),
        (Tied(), TOKENS, "encoder.weight", "encoder.weight and decoder.weight are one"),
        (Cumulated(), images(), "conv.weight", "Cumsum, an operation that is not known to keep channels apart"),
        (FixedView(), images(), "conv.weight", "in a trial the thinned network does not run in evaluation mode"),
        (Auxiliary(), images(), "conv.weight", "in a trial the thinned network does not run in training mode"),
        (Auxiliary(), images(), "side.weight", "of a Conv2d; the forward pass does not reach it"),
        (Recurrent(), TOKENS, "encoder.weight", "rnn.weight_ih_l0 of a LSTM"),
        (UNet(), images(), "head.weight", "they are the network's outputs"),
    ],
)
def test_what_cannot_be_thinned_is_refused_with_operation_and_layer(
    model: nn.Module, example: Tensor, name: str, reason: str
) -> None:
    with pytest.raises(SchedEngineError, match=f"(?s)cannot be thinned:.*{name}.*{reason}"):
        check(model, example, [name])


def test_a_convolution_before_a_grouped_one_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=2), nn.Conv2d(6, 4, 1), nn.Conv2d(4, 2, 1))
    with pytest.raises(SchedEngineError, match="0.weight: .* 1, a convolution of 2 groups that is not depthwise"):
        check(model, images(), ["0.weight"])
    with pytest.raises(SchedEngineError, match="1.weight: of a Conv2d; of 2 groups, and not depthwise"):
        check(model, images(), ["1.weight"])
    check(model, images(), ["2.weight"])


def test_all_problems_come_at_once() -> None:
    with pytest.raises(SchedEngineError, match=r"(?s)embed\.weight.*head\.weight"):
        check(Attention(), torch.rand(2, 4, 5), ["embed.weight", "wide.weight", "head.weight"])


def test_inputs_of_the_network_are_refused_as_channels_only() -> None:
    check(UNet(), images(), ["down.weight"], what="filters")
    check(UNet(), images(), ["down.weight"], what="all")
    with pytest.raises(SchedEngineError, match="down.weight: its channels cannot go: they are the network's inputs"):
        check(UNet(), images(), ["down.weight"], what="channels")


def test_values_do_not_matter() -> None:
    model = FixedView()
    model.fc.weight.data.zero_()  # whatever is removed changes no output
    with pytest.raises(SchedEngineError, match="conv.weight .*in a trial"):
        check(model, images(), ["conv.weight"])


def test_checking_changes_nothing() -> None:
    model = UNet().train()
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    check(model, images(), ["module.down.weight", "up.weight"])
    assert model.training and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
