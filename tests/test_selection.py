"""Which parameters a selector picks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from schedengine.errors import ScheduleError
from schedengine.selection import ParameterTable, Selector, lookup, normalise


def net() -> Any:
    """features.0 (conv), features.1 (norm), embed, fc."""
    model: Any = nn.Module()
    model.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model.embed = nn.Embedding(5, 4)
    model.fc = nn.Linear(4, 5)
    return model


def pick(written: object, model: Any = None) -> list[str]:
    return Selector.parse(written).pick(ParameterTable(net() if model is None else model), "parameters")


def refusal(written: object, model: Any = None) -> str:
    with pytest.raises(ScheduleError) as caught:
        pick(written, model)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "picked"),
    [
        ({}, ["features.0.weight", "fc.weight"]),
        ("*", ["features.0.weight", "embed.weight", "fc.weight"]),
        ("features.*", ["features.0.weight"]),
        ("f*[!s].weight", ["features.0.weight", "fc.weight"]),
        ({"regex": r"f.*\.weight"}, ["features.0.weight", "fc.weight"]),
        ({"types": ["Embedding", "Linear"]}, ["embed.weight", "fc.weight"]),
        ({"types": "Module"}, ["features.0.weight", "embed.weight", "fc.weight"]),
        ({"types": "BatchNorm2d"}, ["features.1.weight"]),
        ({"types": ["Conv3d", "Conv2d"]}, ["features.0.weight"]),
        ({"except": "first"}, ["fc.weight"]),
        ({"names": "*", "except": ["fc.*"]}, ["features.0.weight", "embed.weight"]),
        ({"types": "Linear", "names": "fc.bias"}, ["fc.weight", "fc.bias"]),
    ],
)
def test_globs_patterns_and_types_leave_biases_and_normalisation_alone(written: object, picked: list[str]) -> None:
    assert pick(written) == picked


@pytest.mark.parametrize("name", ["fc.bias", "features.1.weight", "features.1.bias"])
def test_a_full_name_reaches_anything(name: str) -> None:
    assert pick(name) == [name]


def test_first_and_last_are_weights_of_convolutions_and_linear_layers() -> None:
    assert pick(["last", "first"]) == ["fc.weight", "features.0.weight"]


def test_a_parameter_that_is_called_first_comes_before_the_word() -> None:
    model = net()
    model.register_parameter("first", nn.Parameter(torch.ones(2, 2)))
    assert pick("first", model) == ["first"]


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("full", "short"),
    [("module.fc.weight", "fc.weight"), ("features.module.0.weight", "features.0.weight"),
     ("_orig_mod.module.fc.weight", "fc.weight"), ("fc.parametrizations.weight.original", "fc.weight"),
     ("submodule.weight", "submodule.weight")],
)  # fmt: skip
def test_what_wrappers_add_is_dropped(full: str, short: str) -> None:
    assert normalise(full) == short


@pytest.mark.parametrize(
    "written", ["features.0.weight", "module.features.module.0.weight", "features.module.0.weight"]
)
def test_wrappers_do_not_matter_on_either_side(written: str) -> None:
    wrapped = net()
    wrapped.features = nn.DataParallel(wrapped.features)
    for model in (net(), wrapped, nn.DataParallel(wrapped)):
        assert pick(written, model) == ["features.0.weight"]


def test_a_compiled_model_has_the_same_names() -> None:
    compiled = nn.ModuleDict({"_orig_mod": net()})  # what torch.compile makes of its names, without its seconds
    assert pick("fc.weight", compiled) == pick("_orig_mod.fc.weight", net()) == ["fc.weight"]


def test_a_parametrized_weight_keeps_its_name_and_its_layer() -> None:
    model = net()
    parametrizations.orthogonal(model.fc)
    for written in ("fc.weight", {"types": "Linear"}, "last", "fc.parametrizations.weight.original"):
        assert pick(written, model) == ["fc.weight"]


def test_a_tied_weight_answers_to_all_its_names_and_appears_once() -> None:
    model = net()
    model.fc.weight = model.embed.weight
    for written in ("fc.weight", "embed.weight", "fc.*", {"types": "Linear"}, {"types": "Embedding"}, "last"):
        assert pick(written, model) == ["embed.weight"]
    assert pick("*.weight", model) == ["features.0.weight", "embed.weight"]


def test_an_ambiguous_name_is_an_error_that_lists_what_it_fits() -> None:
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "_orig_mod": nn.Linear(2, 2)})
    assert refusal("weight", model).endswith("fits module.weight and _orig_mod.weight; write one of these in full")
    assert pick("module.weight", model) == ["module.weight"]


def test_an_exact_name_wins_over_a_normalised_one() -> None:
    model: Any = nn.Module()
    model.module = nn.Linear(2, 2)
    model.weight = nn.Parameter(torch.ones(2, 2))
    assert pick("weight", model) == ["weight"]


def test_parameters_are_found_anew_at_each_use() -> None:
    model = net()
    table = ParameterTable(model)
    model.fc.weight = nn.Parameter(torch.zeros(5, 4))
    assert table["fc.weight"] is model.fc.weight


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("fc.wieght", "parameters: 'fc.wieght' is no parameter of the model; did you mean fc.weight"),
        ("module.fc.wieght", "did you mean fc.weight"),
        ("head.*", "parameters: 'head.*' matches no parameter of the model; "),
        (
            "features.1.*",
            "matches only biases, normalisation or other parameters that patterns leave alone (features.1.weight",
        ),
        ({"regex": "head"}, "parameters.regex: 'head' matches no parameter"),
        ({"types": "Linea"}, "parameters.types: there is no module type 'Linea'; did you mean Linear"),
        ({"types": "Conv3d"}, "no weight in a module of type Conv3d; it has BatchNorm2d, Conv2d, Embedding, Linear"),
        ({"except": "fc.wieght"}, "parameters.except: 'fc.wieght' is no parameter"),
        ({"except": "*"}, "picks no parameter: everything it matches is also excepted"),
    ],
)
def test_a_word_that_matches_nothing_is_an_error_with_the_nearest_names(written: object, message: str) -> None:
    assert message in refusal(written)


def test_every_word_that_matches_nothing_is_reported() -> None:
    assert len(refusal(["a", "fc.weight", "b.*"]).splitlines()) == 2


def test_a_model_without_weights_has_nothing_to_prune() -> None:
    assert refusal({}, nn.Sequential(nn.ReLU())) == "parameters: picks no parameter: the model has no Conv or Linear"


@pytest.mark.parametrize(
    ("written", "message"),
    [({"type": ["Linear"]}, "unknown key 'type'; did you mean types?"), ({"regex": "("}, "not a regular expression"),
     ([], "the list is empty"), (3, "write a name, a glob"), (["a", 3], "write a name, a glob"), ("", "write a name")],
)  # fmt: skip
def test_what_is_no_selector_is_refused(written: object, message: str) -> None:
    with pytest.raises(ValueError, match="(?s).*" + message.replace("?", r"\?")):
        Selector.parse(written)


# --- values by name --------------------------------------------------------------------------------------------------


def values(by_name: dict[str, float], *names: str) -> dict[str, float]:
    return lookup(by_name, ParameterTable(net()), names, "allocation")


def test_a_name_comes_before_a_glob_and_the_first_glob_before_the_next() -> None:
    found = values({"*": 0.1, "f*": 0.2, "module.fc.weight": 0.3}, "features.0.weight", "fc.weight")
    assert found == {"features.0.weight": 0.1, "fc.weight": 0.3}


def test_a_parameter_without_a_value_is_an_error() -> None:
    with pytest.raises(ScheduleError, match="allocation: has no value for the selected parameter fc.weight"):
        values({"features.*": 0.1}, "features.0.weight", "fc.weight")


def test_a_key_that_fits_no_selected_parameter_is_an_error() -> None:
    with pytest.raises(
        ScheduleError, match="allocation.fc.wieght: fits none of the selected parameters; did you mean fc.w"
    ):
        values({"fc.*": 0.1, "fc.wieght": 0.2}, "fc.weight")


def test_of_a_weight_norm_the_direction_is_picked() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    assert pick({}, model) == ["0.parametrizations.weight.original1", "1.weight"]


def test_a_scale_of_a_layer_is_no_weight() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3))
    model[0].alpha = nn.Parameter(torch.ones(1))
    assert pick({}, model) == ["0.weight"]


def test_a_misspelled_glob_is_answered_with_the_nearest_one() -> None:
    model = nn.ModuleDict({"layer1": nn.Conv2d(1, 1, 1), "layer2": nn.Conv2d(1, 1, 1), "fc": nn.Linear(1, 1)})
    with pytest.raises(ScheduleError, match=r"did you mean layer2\.\* or layer1\.\*\?"):
        Selector.parse("layr2.*").pick(ParameterTable(model))
