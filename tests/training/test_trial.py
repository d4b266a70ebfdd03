"""What is told of a model that the images do not fit, before anything is written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from schedengine.errors import ModelError
from schedengine.training.compute import Compute
from schedengine.training.trial import check_fits
from schedengine.zoo.data import load_data


def check(model: nn.Module, classes: int | None = None) -> None:
    check_fits(model, "mine:net", load_data("digits"), "digits", classes, Compute(torch.device("cpu")))


def flat(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))


class Raises(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, images: Tensor) -> Tensor:
        raise self.error


class Counts(nn.Module):
    """Counts its calls in a buffer, and returns two things."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.calls = self.calls + 1
        return images, images


def test_more_outputs_than_classes_are_no_matter() -> None:
    check(flat(10))
    check(flat(12))


def test_images_of_other_channels_are_told_with_both_names_and_the_shape() -> None:
    with pytest.raises(
        ModelError, match=r"mine:net does not take the images of digits, 1x8x8: .*3 channels.*image-size"
    ):
        check(nn.Conv2d(3, 4, 3))


@pytest.mark.parametrize("error", [RuntimeError, ValueError, TypeError, IndexError, AssertionError])
def test_the_first_line_of_the_reason_is_told(error: type[Exception]) -> None:
    with pytest.raises(ModelError, match=r"1x8x8: too small; choose") as told:
        check(Raises(error("too small\nlong story")))
    assert "long story" not in str(told.value)


@pytest.mark.parametrize(
    ("model", "found"),
    [(nn.Linear(8, 10), r"a tensor \(2, 1, 8, 10\)"), (flat(9), r"a tensor \(2, 9\)"), (Counts(), "a tuple")],
)
def test_something_else_than_scores_is_told(model: nn.Module, found: str) -> None:
    with pytest.raises(
        ModelError, match=f"mine:net returns {found} for 2 images of digits, 1x8x8; .*10 classes or more"
    ):
        check(model)


def test_outputs_that_were_asked_for_are_wanted() -> None:
    with pytest.raises(ModelError, match="for 20 classes or more"):
        check(flat(12), classes=20)


def test_buffers_and_modes_stay_as_they_were() -> None:
    model = Counts()
    with pytest.raises(ModelError):
        check(model)
    assert model.training and model.calls == 0


def test_a_network_may_make_buffers_for_the_images_it_gets() -> None:
    model = flat(10)
    model.register_forward_hook(lambda module, images, scores: module.register_buffer("grid", torch.ones(8, 8)))
    check(model)


def test_no_running_mean_is_moved() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1, momentum=0.5), flat(10))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    check(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
