"""Every value is checked against the class that its key belongs to; a wrong one says where, what, and what is right."""

from __future__ import annotations

from typing import Any

import pytest

from schedengine.criteria.magnitude import Magnitude
from schedengine.errors import ScheduleError
from schedengine.granularity import Block
from schedengine.pruners.pruner import Pruner
from schedengine.pruners.thresholds import Absolute, Std
from schedengine.schedule.reader import FAILED, Reader
from schedengine.schedule.source import read
from schedengine.sparsity.ramps import Constant, Cubic, Remaining


def pruner(text: str) -> Pruner:
    reader = Reader()
    found = reader.spec(Pruner, read(text + "\n").root)
    if found is FAILED:
        raise ScheduleError(reader.problems)
    assert isinstance(found, Pruner) and not reader.problems
    return found


def refusal(text: str) -> str:
    with pytest.raises(ScheduleError) as caught:
        pruner(text)
    return str(caught.value).replace("<text>:", "")


# --- the forms of a component ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "axis", "member"),
    [
        ("{sparsity: 0.9}", "sparsity", Constant(to=0.9)),
        ("{sparsity: 1e-4}", "sparsity", Constant(to=0.0001)),
        ("{sparsity: 0}", "sparsity", Constant(to=0.0)),
        ("{sparsity: {ramp: cubic, to: 0.9}}", "sparsity", Cubic(to=0.9)),
        ("{sparsity: {cubic: {to: 0.9}}}", "sparsity", Cubic(to=0.9)),
        ("{sparsity: {cubic: 0.9}}", "sparsity", Cubic(to=0.9)),
        ("{sparsity: {remaining: 0.2}}", "sparsity", Remaining(fraction=0.2)),
        ("{sparsity: 0.9, criterion: magnitude}", "criterion", Magnitude()),
        ("{sparsity: 0.9, criterion: {magnitude: {norm: l2}}}", "criterion", Magnitude(norm="l2")),
        ("{sparsity: 0.9, granularity: {block: [4, 1]}}", "granularity", Block(shape=(4, 1))),
        ("{sparsity: 0.9, granularity: {block: {shape: [4, 1]}}}", "granularity", Block(shape=(4, 1))),
        ("{threshold: 0.3}", "threshold", Absolute(by_name=0.3)),
        ("{threshold: {std: 0.5}}", "threshold", Std(by_name=0.5)),
        ("{threshold: {std: {'fc.*': 0.5}}}", "threshold", Std(by_name={"fc.*": 0.5})),
        ("{sparsity: constant, allocation: {'fc.*': 0.5}}", "allocation", {"fc.*": 0.5}),
    ],
)
def test_a_component_is_a_name_or_a_value_or_a_mapping(text: str, axis: str, member: Any) -> None:
    assert getattr(pruner(text), axis) == member


def test_null_is_the_same_as_leaving_an_optional_key_out() -> None:
    assert pruner("{sparsity: 0.5, threshold: null}") == pruner("{sparsity: 0.5}")


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{sparsty: 0.5}", "1:2: sparsty: unknown key; did you mean sparsity?"),
        (
            "{sparsity: 0.5, criterion: magnitud}",
            "1:28: criterion: unknown criterion 'magnitud'; did you mean magnitude?",
        ),
        ("{sparsity: {ramp: cubik}}", "1:19: sparsity.ramp: unknown ramp 'cubik'; did you mean cubic?"),
        (
            "{sparsity: 0.5, granularity: {blok: [4]}}",
            "1:30: granularity: unknown granularity 'blok'; did you mean block?",
        ),
        (
            "{sparsity: 0.5, criterion: {magnitude: {nrm: l2}}}",
            "1:41: criterion.magnitude.nrm: unknown key; did you mean norm?",
        ),
        ("{sparsity: {rmp: cubic, to: 0.5}}", "1:12: sparsity: needs 'ramp', the name of a ramp"),
        ("{sparsity: {ramp: remaining}}", "1:12: sparsity: needs 'fraction'"),
    ],
)
def test_a_wrong_name_gets_the_nearest_one(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{sparsity: 1.5}", "1:12: sparsity: must be less than 1 (got 1.5)"),
        ("{sparsity: -0.1}", "1:12: sparsity: must be at least 0 (got -0.1)"),
        ("{sparsity: .nan}", "1:12: sparsity: must be less than 1 (got nan)"),
        ("{sparsity: '0.5'}", "1:12: sparsity: must be a number (got '0.5'); remove the quotes"),
        ("{sparsity: {ramp: cubic, to: '1e-4'}}",
         "1:30: sparsity.to: must be a number (got '1e-4'); remove the quotes"),
        ("{sparsity: {ramp: cubic, to: true}}", "1:30: sparsity.to: must be a number (got true)"),
        ("{sparsity: 0.5, min_keep: 1.5}", "1:27: min_keep: must be a whole number (got 1.5)"),
        ("{sparsity: 0.5, optional: 1}", "1:27: optional: must be true or false (got 1)"),
        ("{sparsity: 0.5, rounding: flor}",
         "1:27: rounding: must be 'nearest' or 'floor' (got 'flor'); did you mean floor?"),
        ("{sparsity: 0.5, granularity: {block: 4}}", "1:38: granularity.block: must be a list (got 4)"),
        ("{sparsity: 0.5, granularity: {block: [4, 0]}}", "1:42: granularity.block[1]: must be at least 1 (got 0)"),
        ("{sparsity: 0.5, granularity: {block: []}}",
         "1:38: granularity.block: the list is empty; give at least one entry"),
        ("{sparsity: 0.5, granularity: {filter: 3}}", "1:39: granularity.filter: filter takes no value (got 3)"),
        ("{threshold: {std: x}}", "1:19: threshold.std: must be a number or a mapping (got 'x')"),
        ("{threshold: {std: {a: -1}}}", "1:23: threshold.std.a: must be at least 0 (got -1)"),
        ("{sparsity: constant, allocation: {'*': 1.0}}", "1:40: allocation.*: must be less than 1 (got 1.0)"),
        ("{sparsity: 0.5, parameters: []}",
         "1:29: parameters: names: the list is empty; leave the key out to select the default (got [])"),
        ("[0.5]", "1:1: must be a mapping of parameters, criterion, granularity"),
    ],
)  # fmt: skip
def test_a_wrong_value_says_what_was_found_and_what_would_be_right(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "1:1: needs one of 'sparsity' (a target) and 'threshold' (a limit); has neither"),
        (
            "{sparsity: 0.5, threshold: 1}",
            "1:1: needs one of 'sparsity' (a target) and 'threshold' (a limit); has both",
        ),
        ("{sparsity: cubic}", "1:1: 'sparsity' needs 'to', the sparsity to reach, in [0, 1)"),
        (
            "{sparsity: {ramp: linear, from: 0.9, to: 0.5}}",
            "1:12: sparsity: from 0.9 is above to 0.5; a ramp does not fall",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_said_once(text: str, message: str) -> None:
    assert refusal(text) == message


def test_all_that_is_wrong_is_reported() -> None:
    found = refusal("{sparsity: 2, criterion: x, min_keep: -1, nonsense: 1}").splitlines()
    assert [line.split(": ")[1] for line in found] == ["nonsense", "criterion", "sparsity", "min_keep"]
