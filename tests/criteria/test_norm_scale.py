from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from schedengine.criteria.base import Facts
from schedengine.criteria.magnitude import Magnitude
from schedengine.criteria.norm_scale import NormScale
from schedengine.errors import SchedEngineError
from schedengine.granularity import Channel, Filter

WEIGHT = torch.ones(3, 2, 1, 1)


def norm(*scales: float, variance: float = 1.0) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(len(scales), eps=0.0)
    made.weight.data = torch.tensor(scales)
    assert isinstance(made.running_var, Tensor)
    made.running_var.fill_(variance)
    return made


def test_a_filter_scores_the_size_of_its_scale() -> None:
    found = NormScale().scores(WEIGHT, Filter(), key="", facts=Facts(norm=norm(0.5, -2.0, 0.0)))
    assert found.tolist() == [0.5, 2, 0] and not found.requires_grad


def test_a_normalisation_without_scales_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="conv/1: no batch normalisation with a scale"):
        NormScale().scores(WEIGHT, Filter(), key="conv/1", facts=Facts(norm=nn.BatchNorm2d(3, affine=False)))


def test_scales_must_be_as_many_as_filters() -> None:
    with pytest.raises(SchedEngineError, match="3 groups, and 2 scales"):
        NormScale().scores(WEIGHT, Filter(), key="", facts=Facts(norm=norm(1.0, 1.0)))


def test_a_folded_filter_is_ranked_as_the_network_uses_it() -> None:
    facts = Facts(norm=norm(0.5, -2.0, 1.0, variance=4.0))
    found = Magnitude(reduce="sum", folded=True).scores(WEIGHT, Filter(), key="", facts=facts)
    assert found.tolist() == [0.5, 2, 1]


def test_a_transposed_convolution_folds_along_its_outputs() -> None:
    facts = Facts(norm=norm(3.0, 1.0), outputs=1)
    found = Magnitude(reduce="sum", folded=True).scores(WEIGHT, Channel(), key="", facts=facts)
    assert found.tolist() == [9, 3]


def test_what_no_normalisation_follows_ranks_as_it_is() -> None:
    assert Magnitude(reduce="sum", folded=True).scores(WEIGHT, Filter(), key="").tolist() == [2, 2, 2]


def test_without_scales_only_the_variance_folds() -> None:
    plain = nn.BatchNorm2d(3, eps=0.0, affine=False)
    assert isinstance(plain.running_var, Tensor)
    plain.running_var.copy_(torch.tensor([1.0, 4.0, 16.0]))
    found = Magnitude(reduce="sum", folded=True).scores(WEIGHT, Filter(), key="", facts=Facts(norm=plain))
    assert found.tolist() == [2, 1, 0.5]


def test_without_a_running_variance_nothing_can_be_folded() -> None:
    facts = Facts(norm=nn.BatchNorm2d(3, track_running_stats=False))
    with pytest.raises(SchedEngineError, match="keeps no running variance"):
        Magnitude(folded=True).scores(WEIGHT, Filter(), key="conv/1", facts=facts)


def test_only_a_folded_magnitude_needs_to_know_more_than_weights() -> None:
    assert not Magnitude().needs and Magnitude().elementwise
    assert Magnitude(folded=True).needs == {"norm"} and not Magnitude(folded=True).elementwise
