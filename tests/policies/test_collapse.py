"""Layers that pruning leaves nothing of, and networks that it cuts through: told, with layer and compression."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from loops import sgd, small_model, train
from torch import nn

from schedengine import EffectError, PruningScheduler, ScheduleError, dump, load_schedule
from schedengine.analysis import plan_schedule
from schedengine.analysis.diagnosis import check_schedule
from schedengine.errors import EffectWarning
from schedengine.policies.collapse import is_cut_through
from schedengine.zoo.models import build_model

INPUTS = torch.zeros(2, 2, 6, 6)
ALL_OF_CONV = {"parameters": "0.weight", "threshold": {"absolute": 1e6}, "min_keep": 0}


def written(*policies: dict[str, Any], **axes: Any) -> dict[str, Any]:
    """All of the convolution goes; the linear layer of 240 weights is selected by another pruner and left alone."""
    pruners = {"all": {**ALL_OF_CONV, **axes}, "few": {"parameters": "5.weight", "sparsity": 0.5}}
    return {"version": 2, "pruners": pruners, "policies": [{"pruner": "few", "at": "start"}, *policies]}


def run(*policies: dict[str, Any], **axes: Any) -> PruningScheduler:
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(written(*policies, **axes)).bind(model, optimizer, epochs=4, example_inputs=INPUTS)
    train(scheduler, model, optimizer)
    return scheduler


CUT = {"pruner": "all", "at": 2}


def test_an_error_names_the_layer_the_cut_and_the_compression() -> None:
    with pytest.raises(EffectError) as caught:
        run(CUT, {"check_collapse": "error", "during": "run"})
    message = str(caught.value)
    assert (
        "after cut 1 of 1 of pruner 'all', at compression 2.45 (294 weights that pruners selected / 120 left)"
        in message
    )
    assert "nothing is left of 0.weight; no path of weights leads from the inputs to the outputs any more" in message


def test_a_warning_comes_once_a_stretch_and_with_the_same_words() -> None:
    with pytest.warns(
        EffectWarning, match=r"epoch 2, after cut 1 of 1 .* nothing is left of 0.weight; no path"
    ) as told:
        run(CUT, {"check_collapse": "warn", "during": "run"})
    assert len([one for one in told if "check_collapse" in str(one.message)]) == 1


@pytest.mark.parametrize("when", [{"at": [0, 1]}, {"during": "run", "until": 2}])
def test_nothing_is_said_before_the_layer_is_gone(when: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(CUT, {"check_collapse": "error", **when})


@pytest.mark.parametrize("at", [2, "10st", {"end": "run"}])
def test_it_looks_at_its_instants(at: Any) -> None:
    with pytest.raises(EffectError, match="nothing is left of 0.weight"):
        run(CUT, {"check_collapse": "error", "at": at})


@pytest.mark.parametrize("axes", [{"apply": "step"}, {"pruned": "hidden"}, {"pruned": "dense"}, {"pruned": "forward"}])
def test_what_masks_hold_counts_whatever_becomes_of_the_values(axes: dict[str, Any]) -> None:
    with pytest.raises(EffectError, match="epoch 2.* nothing is left of 0.weight"):
        run(CUT, {"check_collapse": "error", "during": "run"}, **axes)


def test_a_run_that_goes_on_warns_no_second_time() -> None:
    made = load_schedule(written(CUT, {"check_collapse": "warn", "during": "run"}))
    models = [small_model(), small_model()]
    first, second = (made.bind(model, sgd(model), epochs=4) for model in models)
    with pytest.warns(EffectWarning):
        train(first, models[0], sgd(models[0]), epochs=range(3))
    models[1].load_state_dict(models[0].state_dict())
    second.load_state_dict(first.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(second, models[1], sgd(models[1]))


# --- paths -----------------------------------------------------------------------------------------------------------


def zeroed(model: nn.Module, *names: str) -> nn.Module:
    """With parameters at 0; what is not named is as it was."""
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for name in names:
            copied.get_parameter(name).zero_()
    return copied.eval()


def test_a_plain_network_is_cut_through_with_one_layer() -> None:
    assert is_cut_through(zeroed(small_model(), "0.weight"), INPUTS)
    assert not is_cut_through(small_model().eval(), INPUTS)


def test_a_residual_network_has_another_way() -> None:
    images = torch.zeros(2, 3, 32, 32)
    assert not is_cut_through(zeroed(build_model("resnet20_cifar"), "layer1.0.conv1.weight"), images)
    assert is_cut_through(zeroed(build_model("resnet20_cifar"), "fc.weight"), images)


def test_layers_whose_weights_do_not_meet_are_no_path() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        model.get_parameter("0.weight").copy_(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
        model.get_parameter("2.weight").copy_(torch.tensor([[0.0, 1.0]]))
    assert is_cut_through(model, torch.zeros(2, 2))


def test_a_negative_weight_is_a_path_through_a_relu() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).eval()
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(-1.0)
    assert not is_cut_through(model, torch.zeros(2, 1))


def test_of_a_network_that_gives_0_when_dense_nothing_is_said() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.LayerNorm(1))  # of one value, its mean is all there is
    assert not is_cut_through(zeroed(model, "0.weight"), torch.zeros(2, 1))


@pytest.mark.parametrize("token", [0, 3])
def test_a_padding_token_is_no_missing_path(token: int) -> None:
    model = nn.Sequential(nn.Embedding(4, 2, padding_idx=0), nn.Linear(2, 1)).eval()
    assert not is_cut_through(model, torch.full((2, 5), token))


def test_a_network_of_a_hundred_layers_neither_overflows_nor_vanishes() -> None:
    deep = nn.Sequential(*(nn.Linear(64, 64) for _ in range(100))).eval()
    assert not is_cut_through(deep, torch.zeros(2, 64))
    assert is_cut_through(zeroed(deep, "50.weight"), torch.zeros(2, 64))


def test_looking_leaves_the_model_and_the_generators_alone() -> None:
    model = small_model()
    before = copy.deepcopy(model.state_dict())
    optimizer = sgd(model)
    document = written(CUT, {"check_collapse": "error", "at": 0})
    scheduler = load_schedule(document).bind(model, optimizer, epochs=3, example_inputs=INPUTS)
    state = torch.get_rng_state()
    scheduler.on_epoch_begin(0)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert torch.equal(before["0.weight"], model.get_parameter("0.weight"))


# --- the language ----------------------------------------------------------------------------------------------------


def test_it_is_written_and_read_back() -> None:
    made = load_schedule(written(CUT, {"check_collapse": "warn", "during": "run", "until": 3}))
    assert load_schedule(dump(made)) == made and "check_collapse: warn" in dump(made)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"check_collapse": "maybe", "at": 0}, "must be 'error' or 'warn'"),
        ({"check_collapse": "warn", "during": "run", "every": 2}, "looks after every cut of a stretch; remove 'every'"),
    ],
)
def test_mistakes_are_told(policy: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        load_schedule(written(policy))


def test_without_a_pruner_there_is_nothing_to_look_at() -> None:
    model = small_model()
    made = load_schedule({"version": 2, "policies": [{"check_collapse": "warn", "at": 0}]})
    with pytest.raises(
        ScheduleError, match=r"policies\[0\].check_collapse: no pruner acts, whose layers could collapse"
    ):
        made.bind(model, epochs=1)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"check_collapse": "warn", "at": 2}, "looks before 'all' cuts at the same moment"),
        ({"recalibrate": "all", "at": 2}, "comes before 'all' cuts at the same moment"),
    ],
)
def test_what_comes_before_the_cut_that_it_is_about_is_doubted(policy: dict[str, Any], message: str) -> None:
    document = written(policy, CUT)
    assert message in str(check_schedule(dump(load_schedule(document)), small_model(), epochs=4))


def test_the_plan_says_when_it_looks() -> None:
    document = written(CUT, {"check_collapse": "warn", "during": "run"}, {"check_collapse": "error", "at": "end"})
    events = plan_schedule(load_schedule(document), small_model(), epochs=4).events
    found = events[events["kind"] == "check_collapse"]
    assert list(found["epoch"]) == [0, 4]
    assert found["what"].iloc[0].startswith("after every cut and epoch until epoch 4: a warning if a layer")
