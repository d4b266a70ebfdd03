from __future__ import annotations

import pytest
import torch
from torch import nn

from schedengine.criteria.activations import ActivationMean, Apoz
from schedengine.criteria.base import Activations, Facts
from schedengine.errors import SchedEngineError
from schedengine.granularity import Block, Channel, Column, Element, Filter, Granularity, Kernel, Row, Whole

WEIGHT = torch.zeros(2, 3, 1, 1)
SEEN = Facts(activations=Activations(18, torch.tensor([12, 9]), torch.tensor([21.0, 45.0])))
"""18 values a channel, of which 12 and 9 are 0; the others are 1 to 6 and 1 to 9."""


def test_a_filter_scores_the_share_of_outputs_that_are_not_0() -> None:
    assert Apoz().scores(WEIGHT, Filter(), key="", facts=SEEN).tolist() == pytest.approx([1 - 12 / 18, 1 - 9 / 18])


def test_a_filter_scores_its_mean_output() -> None:
    assert ActivationMean().scores(WEIGHT, Filter(), key="", facts=SEEN).tolist() == pytest.approx([21 / 18, 45 / 18])


@pytest.mark.parametrize("criterion", [Apoz(), ActivationMean()])
def test_without_statistics_there_is_no_score(criterion: Apoz | ActivationMean) -> None:
    with pytest.raises(SchedEngineError, match="conv.weight/1: needs statistics"):
        criterion.scores(WEIGHT, Filter(), key="conv.weight/1")


@pytest.mark.parametrize("criterion", [Apoz(), ActivationMean()])
def test_outputs_that_are_not_finite_are_an_error(criterion: Apoz | ActivationMean) -> None:
    facts = Facts(activations=Activations(18, torch.tensor([12, 9]), torch.tensor([21.0, torch.nan])))
    with pytest.raises(SchedEngineError, match="conv.weight/1, outputs: 1 of 2"):
        criterion.scores(WEIGHT, Filter(), key="conv.weight/1", facts=facts)


def test_the_statistics_must_be_of_these_groups() -> None:
    with pytest.raises(SchedEngineError, match="3 groups, and a layer of 2 outputs"):
        Apoz().scores(WEIGHT, Channel(), key="", facts=SEEN)


@pytest.mark.parametrize(
    ("layer", "granularity"),
    [
        (nn.Conv2d(3, 4, 2), Filter()),
        (nn.Conv1d(3, 4, 2), Row()),
        (nn.Linear(3, 4), Row()),
        (nn.Conv2d(3, 4, 2), Block((1, 3, 2, 2))),
        (nn.ConvTranspose2d(3, 4, 2), Channel()),
    ],
)
def test_groups_that_are_outputs_of_the_layer_are_fine(layer: nn.Module, granularity: Granularity) -> None:
    Apoz().check(granularity, layer, tuple(layer.weight.shape))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "granularity"),
    [
        (nn.Conv2d(3, 4, 2), Channel()),
        (nn.Conv2d(3, 4, 2), Kernel()),
        (nn.Conv2d(3, 4, 2), Element()),
        (nn.Conv2d(3, 4, 2), Whole()),
        (nn.Linear(3, 4), Column()),
        (nn.ConvTranspose2d(3, 4, 2), Filter()),
        (nn.Embedding(3, 4), Row()),
    ],
)
def test_other_groups_are_refused(layer: nn.Module, granularity: Granularity) -> None:
    with pytest.raises(SchedEngineError, match="use granularity filter"):
        ActivationMean().check(granularity, layer, tuple(layer.weight.shape))  # type: ignore[arg-type]
