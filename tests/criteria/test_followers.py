from __future__ import annotations

import copy
import io
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import resnet18

from schedengine.criteria.followers import Watch, batch_norms, following_norms, layers_of, look
from schedengine.selection import ParameterTable


def chain(*modules: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*modules)


IMAGES = torch.randn(2, 2, 5, 5, generator=torch.Generator().manual_seed(0))


def test_every_convolution_of_a_resnet_has_its_own() -> None:
    model = resnet18(num_classes=2)
    found = following_norms(model, torch.randn(1, 3, 32, 32))
    modules = {module: name for name, module in model.named_modules()}
    assert len(found) == 20
    assert modules[found["conv1.weight"]] == "bn1"
    assert modules[found["layer2.0.downsample.0.weight"]] == "layer2.0.downsample.1"
    assert modules[found["layer4.1.conv2.weight"]] == "layer4.1.bn2"


@pytest.mark.parametrize("between", [nn.ReLU(), nn.ReLU(inplace=True), nn.Dropout(), nn.MaxPool2d(1)])
def test_what_takes_something_else_than_the_outputs_does_not_follow(between: nn.Module) -> None:
    model = chain(nn.Conv2d(2, 3, 3), between, nn.BatchNorm2d(3))
    found = following_norms(model.train(), IMAGES)
    assert not found or isinstance(between, nn.Dropout)  # which hands the tensor on, in evaluation mode


def test_a_layer_whose_outputs_two_take_has_none() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, images: Tensor) -> Tensor:
            made = self.conv(images)
            return functional.relu(self.one(made)) + functional.relu(self.two(made))

    assert following_norms(Twice(), IMAGES) == {}


def test_only_batch_normalisations_are_given() -> None:
    assert following_norms(chain(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4)), IMAGES) == {}


def test_names_are_those_of_the_parameters_of_a_wrapped_model() -> None:
    model = nn.DataParallel(chain(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)))
    assert list(following_norms(model, IMAGES)) == ["0.weight"]


def test_a_linear_layer_has_one_too() -> None:
    assert list(following_norms(chain(nn.Linear(2, 3), nn.BatchNorm1d(3)), torch.randn(4, 2))) == ["0.weight"]


def test_the_model_and_the_generators_are_as_they_were() -> None:
    model = chain(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout()).train()
    model[1].eval()
    before, generator = copy.deepcopy(model.state_dict()), torch.Generator().manual_seed(3)
    images: Any = list(IMAGES)
    loader = torch.utils.data.DataLoader(images, shuffle=True, generator=generator)
    states = torch.get_rng_state(), generator.get_state(), random.getstate()
    look(model, {}, (), {}, loader)
    assert [module.training for module in model] == [True, False, True]
    assert all(before[key].equal(value) for key, value in model.state_dict().items())
    assert torch.get_rng_state().equal(states[0]) and generator.get_state().equal(states[1])
    assert random.getstate() == states[2] and not model[0]._forward_hooks


def test_a_model_that_fails_is_left_as_it_was() -> None:
    model = chain(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).train()
    with pytest.raises(RuntimeError):
        following_norms(model, torch.randn(1, 7, 5, 5))
    assert model[1].training and not model[0]._forward_hooks and not model[1]._forward_hooks


def watch(model: nn.Module) -> tuple[Watch, dict[str, list[str]]]:
    table, followers = ParameterTable(model), dict[str, list[str]]()
    return Watch(model, layers_of(table, table.names), (), followers), followers


def test_a_run_is_watched_and_passes_on_the_side_are_not() -> None:
    model = chain(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    held, followers = watch(model)
    following_norms(model, IMAGES)
    assert held and followers == {}
    model(IMAGES)
    assert followers == {"0.weight": ["1"]} and batch_norms(model, followers) == {"0.weight": model[1]}


def test_an_in_place_activation_is_remembered_where_inference_mode_hides_it() -> None:
    model = chain(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(3))
    held, followers = watch(model)
    model(IMAGES)
    with torch.inference_mode():
        model.eval()(IMAGES)
    assert held and followers == {"0.weight": []}


def test_hooks_go_with_the_watch() -> None:
    model = chain(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    held, _ = watch(model)
    assert model[0]._forward_hooks
    del held
    assert not model[0]._forward_hooks and not model[1]._forward_hooks


def test_a_watched_model_can_be_copied_and_pickled_and_the_copy_tells_nobody() -> None:
    model = chain(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    held, followers = watch(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for copied in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        copied(IMAGES)
    assert held and followers == {}


def test_a_watch_leaves_the_layers_of_others_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
    first, second = dict[str, list[str]](), dict[str, list[str]]()
    one = Watch(model, {"0.weight": model[0]}, (), first)
    other = Watch(model, {"2.weight": model[2]}, (), second)
    model(torch.ones(2, 1, 2, 2))
    assert (first, second) == ({"0.weight": ["1"]}, {"2.weight": ["3"]})
    one.remove_()
    other.remove_()
