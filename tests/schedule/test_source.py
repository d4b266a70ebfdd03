"""Text -> values with their places; what is no usable text is refused with its place."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schedengine.errors import ScheduleError
from schedengine.schedule.source import MAX_BYTES, read, to_text


def refusal(document: Any) -> str:
    with pytest.raises(ScheduleError) as caught:
        read(document)
    return str(caught.value)


# --- scalars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 0.0001), ("1.5E3", 1500.0), (".5", 0.5), ("-.INF", -math.inf),
        ("-3", -3), ("0x1F", 31), ("0o17", 15), ("010", 10),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("off", "off"), ("yes", "yes"), ("2:4", "2:4"), ("1_000", "1_000"), ("2020-01-01", "2020-01-01"),
        ("10%", "10%"), ("a.Inf.b", "a.Inf.b"), ('"1e-4"', "1e-4"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(written: str, value: Any) -> None:
    found = read(f"x: {written}\n").root.plain()["x"]
    assert found == value and type(found) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(read("x: .NaN\n").root.plain()["x"])


def test_values_and_keys_know_their_line_and_column() -> None:
    root = read("a:\n  b: [1, {c: 2}]\n").root
    value = root.value["a"].value["b"].value[1].value["c"]
    assert (value.path, str(value.mark)) == ("a.b[1].c", "<text>:2:14")
    assert str(root.value["a"].keys["b"]) == "<text>:2:3"


def test_aliases_and_merges_are_expanded() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n"
    assert read(text).root.plain() == {"a": {"x": 1, "y": 2}, "b": {"y": 3, "x": 1}, "c": {"x": 1, "y": 2}}


def test_duplicate_keys_are_recorded_and_the_last_one_stands() -> None:
    source = read("a:\n  x: 1\n  x: 2\n")
    assert source.root.plain() == {"a": {"x": 2}}
    assert [str(one) for one in source.duplicates] == [
        "<text>:3:3: a.x: the key stands twice, first at line 2; the last one would win: remove or rename one"
    ]


def test_a_dict_is_read_without_places() -> None:
    source = read({"a": (1, 2)})
    assert source.root.plain() == {"a": [1, 2]} and source.root.mark is None


# --- syntax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start", "advice"),
    [
        ("a: {w: *.weight}\n", "<text>:1:9: YAML syntax: ", 'quote the glob, "*.weight"'),
        ("a:\n\tb: 1\n", "<text>:2:1: YAML syntax: ", "indent with spaces, not tabs"),
        ("a: 1\nb: c: 2\n", "<text>:2:5: YAML syntax: ", "check the indentation of this line and the colons before it"),
        ("a: {b: 1\nc: 2\n", "<text>:2:2: YAML syntax: ", "that begins at line 1"),
        ("a: 1\n---\nb: 2\n", "<text>:2:1: YAML syntax: ", "one schedule a file, without '---' between"),
        ("a: !!python/name:os.system\n", "<text>:1:4: a: ", "a tag can name code"),
        ("a: !!set {x, y}\n", "<text>:1:4: a: ", "write a plain value"),
        ("a: !!int ''\n", "<text>:1:4: a: ", "cannot be read as int (got '')"),
        ("a: !!bool maybe\n", "<text>:1:4: a: ", "cannot be read as bool (got 'maybe')"),
        ("a: b\x00c\n", "<text>:1:5: ", "has a control character, which YAML does not allow; remove it"),
        ("? [a, b]\n: 1\n", "<text>:1:3: ", "a key must be a word"),
        ("a: {<<: 3}\n", "<text>:1:9: a: ", "only a mapping can be merged"),
    ],
)
def test_a_syntax_error_has_its_place_and_an_advice(text: str, start: str, advice: str) -> None:
    message = refusal(text)
    assert message.startswith(start) and advice in message


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_text_says_what_a_schedule_needs(text: str) -> None:
    assert refusal(text) == "<text>:1:1: is empty; a schedule has at least 'policies:'"


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9))]
    assert "expands to more than 100,000 values; too many aliases" in refusal("\n".join(lines))


def test_an_alias_that_contains_itself_is_refused() -> None:
    assert refusal("a: &a [*a]\n") == "<text>:1:4: a[0]: an alias contains itself; write the value out"


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_absurd_nesting_is_refused(opening: str) -> None:
    assert "is nested more than 50 deep; no schedule is" in refusal(f"a: {opening * 10_000}")


def test_a_cyclic_dict_is_refused() -> None:
    cyclic: dict[str, Any] = {}
    cyclic["a"] = cyclic
    assert "is nested more than 50 deep" in refusal(cyclic)


def test_numbers_that_nothing_counts_up_to_are_refused() -> None:
    assert "cannot be read as int" in refusal(f"a: {'9' * 5000}\n")
    assert "cannot stand in a schedule" in refusal({"a": 10**400})


def test_a_huge_text_is_refused() -> None:
    assert "no schedule is" in refusal("a: 1\n" + "#" * MAX_BYTES)


def test_an_object_in_a_dict_is_refused() -> None:
    assert refusal({"a": {1}}) == "a: a set cannot stand in a schedule; use plain values"


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_is_named_in_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "bimp.yaml"
    path.write_text("\ufeffa: 1\n", encoding="utf-8")
    assert str(read(path).root.value["a"].mark) == f"{path}:1:4"
    assert read(str(path)).root.plain() == {"a": 1}


def test_a_missing_file_shows_what_is_beside_it(tmp_path: Path) -> None:
    (tmp_path / "bimp.yaml").touch()
    assert refusal(tmp_path / "bump.yaml").endswith("bump.yaml:1:1: there is no such file; beside it: bimp.yaml")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "is a directory; name the schedule file in it" in refusal(tmp_path)


def test_a_name_that_no_file_can_have_is_refused() -> None:
    assert "cannot be read" in refusal("a\0b")


def test_bytes_that_are_not_utf_8_have_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"version: 2\n# caf\xe9\n")
    assert refusal(path) == f"{path}:2:6: byte 0xe9 is not UTF-8; save the file as UTF-8"


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    assert "is larger than 1,000,000 bytes" in refusal(path)


# --- properties ------------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(), plain, min_size=1, max_size=4))
def test_what_is_written_reads_back(document: dict[str, Any]) -> None:
    assert read(to_text(document)).root.plain() == document


@settings(deadline=None)
@given(st.text(st.sampled_from("ab:-{}[],&*!|>'\"#%@? \n\t<~.1e+")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(f"{text}\n")
    except ScheduleError as error:
        assert all(problem.mark for problem in error.problems)


@pytest.mark.parametrize("number", [1e-05, 1e22, 5e-324, 0.1])
def test_a_number_reads_alike_in_yaml_1_1(number: float) -> None:
    assert yaml.safe_load(to_text({"x": number}))["x"] == number
