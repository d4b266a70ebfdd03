"""What a model's parameters are, and what a schedule does with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from schedengine.analysis.parameters import Listing, list_parameters
from schedengine.schedule.load import load_schedule
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import build_model


def listed(pruners: str, regularizers: str = "{}") -> Listing:
    names = [line.split(":")[0].strip() for line in pruners.strip().splitlines()]
    acting = "".join(f"  - {{pruner: {name}, at: start}}\n" for name in names)
    if regularizers != "{}":
        acting += "  - {regularizer: r, during: run}\n"
    body = "\n".join(f"  {line.strip()}" for line in pruners.strip().splitlines())
    text = f"version: 2\npruners:\n{body}\nregularizers: {regularizers}\npolicies:\n{acting}"
    return list_parameters(build_model("digits_cnn", meta=True), schedule=load_schedule(text))


def row(found: Listing, parameter: str) -> dict[str, object]:
    rows = found.selections[found.selections["parameter"] == parameter].to_dict("records")
    assert len(rows) == 1
    return rows[0]  # type: ignore[return-value]


def test_shares_are_of_all_parameters_and_of_all_multiply_accumulates() -> None:
    found = list_parameters(build_model("digits_cnn"), inputs=example_inputs("digits_cnn")).parameters
    conv4 = found.set_index("parameter").loc["conv4.weight"]
    assert (conv4["shape"], conv4["weights"], conv4["macs"]) == ("64x64x3x3", 36_864, 589_824)
    assert conv4["share"] == 36_864 / 61_050 and conv4["macs_share"] == 589_824 / 1_189_504
    assert found["share"].sum() == pytest.approx(1) and found["macs_share"].sum() == pytest.approx(1)


def test_what_is_not_known_is_nan_not_zero() -> None:
    model = build_model("digits_cnn", meta=True)
    assert list_parameters(model).parameters["macs"].isna().all()
    known = list_parameters(model, inputs=example_inputs("digits_cnn")).parameters
    assert known[known["macs"].notna()]["parameter"].tolist() == [
        *(f"conv{n}.weight" for n in range(1, 5)),
        "fc.weight",
    ]


def test_it_says_which_words_pick_a_parameter() -> None:
    model = nn.ModuleDict({"e": nn.Embedding(3, 2), "n": nn.LayerNorm(2), "l": nn.LSTM(2, 2), "f": nn.Linear(2, 2)})
    found = list_parameters(model).parameters.set_index("parameter")
    said = found["prunable"] + ": " + found["reason"]
    assert said["e.weight"] == "by name: Embedding" and said["l.weight_hh_l0"] == "by name: LSTM"
    assert said["n.weight"] == "by full name: normalisation" and said["f.bias"] == "by full name: bias"
    assert said["f.weight"] == "yes: weight of a Linear"


def test_a_tied_weight_shows_its_other_names_and_modules() -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(5, 3), "out": nn.Linear(3, 5)})
    model["out"].weight = model["embed"].weight
    first = list_parameters(model).parameters.iloc[0]
    assert (first["parameter"], first["other_names"], first["module"]) == (
        "embed.weight",
        "out.weight",
        "Embedding, Linear",
    )
    assert first["prunable"] == "yes"


def test_a_uniform_target_is_known_by_shapes() -> None:
    found = row(listed("a: {allocation: uniform, sparsity: 0.5}"), "conv2.weight")
    assert (found["name"], found["selector"], found["target"]) == ("a", "Conv and Linear", 0.5)
    assert (found["criterion"], found["granularity"], found["decided"]) == ("magnitude", "element", "by shapes")


def test_a_global_target_is_decided_by_the_weights() -> None:
    found = row(listed("a: {sparsity: {ramp: cubic, to: 0.9}}"), "conv2.weight")
    assert math.isnan(found["target"]) and (found["total"], found["decided"]) == (0.9, "by the weights")  # type: ignore[arg-type]


def test_uniform_plus_leaves_the_first_dense_as_published() -> None:
    found = listed("a: {allocation: uniform_plus, sparsity: 0.5}")
    assert row(found, "conv1.weight")["target"] == 0
    assert row(found, "conv2.weight")["target"] == pytest.approx(0.5 * 60_688 / (60_688 - 144))


def test_targets_by_name_thresholds_and_counted_ramps_say_what_decides() -> None:
    found = listed(
        """
        named: {allocation: {conv1.weight: 0.2, "conv[23].*": 0.7}, sparsity: {ramp: cubic}}
        limit: {parameters: fc.weight, threshold: {std: 0.5}}
        counted: {parameters: conv4.weight, sparsity: {ramp: remaining, fraction: 0.2}}
        """
    )
    assert (row(found, "conv1.weight")["target"], row(found, "conv3.weight")["target"]) == (0.2, 0.7)
    assert row(found, "fc.weight")["decided"] == "by the weights: threshold {std: 0.5}"
    assert row(found, "conv4.weight")["decided"] == "by the number of cuts: {ramp: remaining, fraction: 0.2}"
    assert math.isnan(row(found, "conv4.weight")["target"])  # type: ignore[arg-type]


def test_the_words_that_match_are_named_and_exceptions_hold() -> None:
    found = listed('a: {parameters: {names: ["conv*", conv4.weight], except: [first]}, sparsity: 0.5}')
    assert row(found, "conv4.weight")["selector"] == "conv*, conv4.weight"
    assert found.selections["parameter"].tolist() == ["conv2.weight", "conv3.weight", "conv4.weight"]


def test_a_word_that_matches_nothing_is_told_with_the_nearest_name_and_the_rest_is_shown() -> None:
    found = listed("a: {parameters: [conv1.weigth, conv2.weight], sparsity: 0.5, allocation: erk}")
    (problem,) = found.problems
    assert "did you mean conv1.weight" in str(problem) and problem.mark is not None and problem.mark.line == 3
    only = row(found, "conv2.weight")
    assert math.isnan(only["target"]) and only["decided"] == "open, for the errors below"  # type: ignore[arg-type]


def test_everything_excepted_and_groups_that_do_not_fit_are_told() -> None:
    found = listed(
        """
        a: {parameters: {names: [fc.weight], except: [last]}, sparsity: 0.5}
        b: {parameters: fc.bias, granularity: filter, sparsity: 0.5}
        c: {allocation: {"conv*": 0.5, "fx*": 0.1}, sparsity: {ramp: cubic}}
        """
    )
    messages = " | ".join(str(problem) for problem in found.problems)
    assert "everything it matches is also excepted" in messages
    assert "needs a weight of 2 or more dimensions" in messages and "'fx*' matches no parameter" in messages


def test_regularizers_are_shown_with_their_strength() -> None:
    found = listed(
        "a: {sparsity: 0.5}", "{r: {penalty: l1, parameters: fc.weight, strength: {ramp: linear, to: 0.001}}}"
    )
    penalties = found.selections[found.selections["kind"] == "regularizer"]
    assert penalties[["parameter", "criterion", "decided"]].values.tolist() == [
        ["fc.weight", "l1", "strength 0 to 0.001"]
    ]


def test_a_wrapped_model_lists_normalised_names() -> None:
    found = list_parameters(nn.DataParallel(nn.Sequential(nn.Linear(2, 2))), inputs=[torch.zeros(1, 2)])
    assert found.parameters["parameter"].tolist() == ["0.weight", "0.bias"] and found.parameters["macs"][0] == 4


def test_one_parameter_alone_has_its_target_by_shapes() -> None:
    found = row(listed("a: {parameters: fc.weight, sparsity: 0.5}"), "fc.weight")
    assert (found["target"], found["decided"]) == (0.5, "by shapes")


def test_a_pattern_says_itself_how_much_goes() -> None:
    found = row(listed("a: {parameters: fc.weight, granularity: {keep: [2, 4]}}"), "fc.weight")
    assert (found["target"], found["decided"]) == (0.5, "by shapes")


def test_a_target_that_is_drawn_at_every_cut_is_not_shown_as_one_number() -> None:
    drawn = "a: {parameters: fc.weight, sparsity: {ramp: random, from: 0.1, to: 0.9}, allocation: uniform}"
    found = row(listed(drawn), "fc.weight")
    assert math.isnan(found["target"]) and str(found["decided"]).startswith("drawn")  # type: ignore[arg-type]
