from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from schedengine.criteria.followers import look
from schedengine.criteria.samples import Samples, check_sampled
from schedengine.errors import SchedEngineError


def sampled(layer: nn.Module, *batches: Tensor) -> Tensor:
    samples = Samples()
    look(nn.Sequential(layer), {"0.weight": layer}, [samples], {}, batches)
    return samples.read()["0.weight"]


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"stride": 2},
        {"padding": (1, 2)},
        {"dilation": 2, "padding": 1},
        {"padding": "same"},
        {"padding": 1, "padding_mode": "reflect", "stride": (1, 2)},
    ],
    ids=str,
)
def test_every_sample_gives_an_output_of_the_layer(how: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(2, 3, (5, 3), bias=False, **how), torch.randn(2, 2, 7, 7)
    made = layer(images).movedim(1, -1).reshape(2, -1, 3)
    computed = (sampled(layer, images) @ layer.weight.flatten(1).T).view(2, 10, 3)
    for image in range(2):
        distances = torch.cdist(computed[image], made[image])
        assert float(distances.detach().min(dim=1).values.max()) < 1e-3


@pytest.mark.parametrize(("shape", "rows"), [((4, 3), 4), ((2, 5, 3), 10), ((40, 3), 15)])
def test_a_linear_layer_gives_what_it_gets_until_there_are_enough(shape: tuple[int, ...], rows: int) -> None:
    images = torch.randn(shape)
    found = sampled(nn.Linear(3, 2), images)
    assert found.equal(images.flatten(0, -2)[:rows])


def test_sampling_is_the_same_every_time_and_goes_on_with_the_next_batch() -> None:
    layer, images = nn.Conv2d(2, 3, 3), torch.randn(2, 2, 7, 7)
    found = sampled(layer, images, images)
    assert found.equal(sampled(layer, images, images)) and found.shape == (40, 18)
    assert not found[:20].equal(found[20:])


def test_samples_go_on_where_they_were_saved() -> None:
    layer, images, again, whole = nn.Linear(3, 2), torch.randn(4, 3), Samples(), Samples()
    for samples in (whole, again):
        samples.layer_ran("w", layer, images, images)
    resumed = Samples()
    resumed.load_state_dict(again.state_dict())
    for samples in (whole, resumed):
        samples.layer_ran("w", layer, images + 1, images)
    assert whole.read()["w"].equal(resumed.read()["w"])


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), r"convolution with groups \(2\)"),
        (nn.Conv1d(4, 4, 3), "needs a plain Conv2d or Linear"),
        (weight_norm(nn.Linear(4, 4)), "needs a plain Conv2d or Linear"),
        (nn.Linear(20000, 1), "has 20,000 weights"),
    ],
    ids=str,
)
def test_layers_that_cannot_be_kept_are_refused(layer: nn.Module, said: str) -> None:
    with pytest.raises(SchedEngineError, match=said):
        check_sampled(layer)
