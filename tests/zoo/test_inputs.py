"""One example of what a model takes."""

from __future__ import annotations

import pytest
import torch

from schedengine.errors import ModelError
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import MODELS, build_model


def shapes(*arguments: object, **more: object) -> list[tuple[int, ...]]:
    return [tuple(one.shape) for one in example_inputs(*arguments, **more) or ()]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "word_lm"])
def test_every_model_of_ours_takes_its_example(name: str) -> None:
    (images,) = example_inputs(name, device="meta") or ()
    assert build_model(name, meta=True).eval()(images).shape in {(1, 10), (1, 1000)}


def test_a_language_model_takes_a_text_of_whole_numbers() -> None:
    (words,) = example_inputs("word_lm") or ()
    assert build_model("word_lm")(words)[0].shape == (35, 1, 200)


def test_the_input_of_a_detection_model_is_no_tensor() -> None:
    assert example_inputs("maskrcnn_resnet50_fpn") is None


@pytest.mark.parametrize(("name", "size"), [("resnet50", 224), ("inception_v3", 299), ("vit_h_14", 224)])
def test_torchvisions_models_take_the_size_they_were_made_for(name: str, size: int) -> None:
    assert shapes(name) == [(1, 3, size, size)]


def test_written_shapes_come_first_one_for_each_input() -> None:
    assert shapes("resnet20_cifar", ["3x64x48", "10"]) == [(1, 3, 64, 48), (1, 10)]


def test_whole_numbers_are_asked_for_by_name() -> None:
    (tokens,) = example_inputs("mine:net", ["128:int"], device="meta") or ()
    assert tokens.dtype == torch.int64 and tokens.is_meta


def test_channels_replace_those_of_the_name() -> None:
    assert shapes("resnet20_cifar", channels=1) == [(1, 1, 32, 32)]


def test_the_input_of_a_factory_of_the_users_is_not_known() -> None:
    assert example_inputs("mine:net") is None


@pytest.mark.parametrize("text", ["3x", "axb", "3x0", "", "3x4:float", "-1x3"])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="not a shape; write CxHxW, as in 3x32x32"):
        example_inputs("digits_cnn", [text])


def test_an_unknown_model_gets_the_nearest_name() -> None:
    with pytest.raises(ModelError, match="unknown model 'resnet5'.*did you mean"):
        example_inputs("resnet5")
