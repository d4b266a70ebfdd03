"""A number in a schedule's text: found by its path, another put in its place, all else as it was."""

from __future__ import annotations

import pytest

from schedengine.errors import SchedEngineError, ScheduleError
from schedengine.schedule.knobs import Dial, Knob
from schedengine.schedule.source import read

TEXT = """\
version: 2   # ours
pruners:
  str: {threshold: {std: 0.5}, update: reselect, min_keep: 3}  # {std: 9}
  "a.b": {sparsity: 0.5, threshold: {std: 1}}
regularizers:
  l1: {penalty: l1, strength: 1e-5}
  two: {strength: {"*.weight": 1, "fc.weight": 2}}
policies:
  - {pruner: str, at: [1, 2]}
"""


def dial(path: str, text: str = TEXT) -> Dial:
    return Dial.find(read(text), path)


@pytest.mark.parametrize(
    ("path", "whole"),
    [
        ("pruners.str.threshold.std", "pruners.str.threshold.std"),
        ("pruners.str.std", "pruners.str.threshold.std"),
        ("pruners.a.b.std", "pruners.a.b.threshold.std"),
        ("regularizers.two.fc.weight", "regularizers.two.strength.fc.weight"),
        ("policies[0].at[1]", "policies[0].at[1]"),
    ],
)
def test_a_number_is_found_by_its_path_or_its_last_key(path: str, whole: str) -> None:
    assert dial(path).node.path == whole


def test_only_the_number_changes_and_comments_stay() -> None:
    assert dial("pruners.str.std").turned(0.25) == TEXT.replace("{std: 0.5}", "{std: 0.25}")
    assert dial("regularizers.l1.strength").turned(3e-7) == TEXT.replace("1e-5", "3.0e-07")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_stay(end: str) -> None:
    text = TEXT.replace("\n", end)
    assert dial("regularizers.l1.strength", text).turned(0.5) == text.replace("1e-5", "0.5")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("pruners.str.sdt", "there is no number 'pruners.str.sdt' .* numbers there: pruners.str.threshold.std"),
        ("pruners.str.update", "there is no number"),
        ("version", "there is no number"),
        ("regularizers.two.weight", r"may be each of .*two.strength.\*.weight, .*fc.weight; write the whole path"),
    ],
)
def test_what_is_no_number_is_told_with_those_that_there_are(path: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        dial(path)


@pytest.mark.parametrize(
    "text", ["a: &x 0.5\npolicies: [*x]\n", "policies: [!!float 5]\n", "b: &m {std: 1}\npolicies: {<<: *m}\n"]
)
def test_a_number_that_stands_for_others_too_is_refused(text: str) -> None:
    numbers = [path for path in ("policies[0]", "policies.std") if "<<" in text or path == "policies[0]"]
    with pytest.raises(ScheduleError, match="anchor or a tag"):
        dial(numbers[-1], text).turned(0.25)


def test_a_range_is_logarithmic_above_0_unless_it_says_linear() -> None:
    assert Knob.parse("a.b=1e-5:1e-3") == Knob("a.b", 1e-5, 1e-3, is_log=True)
    assert Knob.parse("a.b=1:2:linear") == Knob("a.b", 1, 2, is_log=False)
    assert Knob.parse("a.b=-3200:-1") == Knob("a.b", -3200, -1, is_log=False)
    assert Knob.parse("a.b=0:1").is_log is False


@pytest.mark.parametrize("text", ["a.b", "a.b=1", "=1:2", "a.b=1:2:3", "a.b=2:1", "a.b=x:1", "a.b=1:nan", "a=1:2:log"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(SchedEngineError, match="path=low:high"):
        Knob.parse(text)
