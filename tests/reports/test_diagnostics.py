"""Problems with their source line and a caret, character by character."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedengine.errors import Mark, Problem
from schedengine.reports.diagnostics import caret, render

TEXT = "version: 2\npruners:\n  fine: {sparsity: 2}\n"


def test_a_problem_shows_its_line_and_a_caret_under_its_place() -> None:
    problem = Problem("must be less than 1 (got 2)", "pruners.fine.sparsity", Mark("s.yaml", 3, 20))
    assert render(problem, text=TEXT).splitlines() == [
        "s.yaml:3:20: error: pruners.fine.sparsity: must be less than 1 (got 2)",
        "  3 |   fine: {sparsity: 2}",
        "    |                    ^",
    ]


def test_the_line_is_read_from_the_file_of_the_mark(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(TEXT)
    shown = render(Problem("is empty", "", Mark(str(file), 2, 1)), "warning")
    assert shown == f"{file}:2:1: warning: is empty\n  2 | pruners:\n    | ^"


@pytest.mark.parametrize("file", ["<text>", "<dict>", "gone.yaml", ".", "a\0b"])
def test_without_a_file_to_read_the_message_stands_alone(file: str) -> None:
    assert render(Problem("wrong", "", Mark(file, 3, 5))) == f"{file}:3:5: error: wrong"


def test_a_problem_without_a_place_is_one_line() -> None:
    assert render(Problem("give --epochs"), "note") == "note: give --epochs"


@pytest.mark.parametrize("line", [4, 9])
def test_a_place_on_no_line_or_on_an_empty_one_has_no_excerpt(line: int) -> None:
    assert "\n" not in render(Problem("wrong", "", Mark("s.yaml", line, 1)), text=TEXT)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028"])
def test_lines_are_counted_as_yaml_counts_them(end: str) -> None:
    text = f"a: '\x0b\x1c'{end}b: 1{end}"
    assert render(Problem("wrong", "", Mark("s", 2, 4)), text=text).splitlines()[1:] == ["  2 | b: 1", "    |    ^"]


def test_a_tab_before_the_caret_is_as_wide_in_both_lines() -> None:
    assert caret("b:\t{x}", 4) == ("b:    {x}", "      ^")


def test_a_wide_character_takes_two_columns() -> None:
    assert caret("魚: {x}", 4) == ("魚: {x}", "    ^")


def test_a_combining_mark_takes_none_and_is_pointed_at_under_its_letter() -> None:
    assert caret("e\u0301: {x}", 5) == ("e\u0301: {x}", "   ^")
    assert caret("e\u0301: {x}", 2) == ("e\u0301: {x}", "^")


def test_what_a_terminal_would_obey_is_not_sent_to_it() -> None:
    assert caret("a\x1b[2J\u202e: 1", 9) == ("a\ufffd[2J\ufffd: 1", "        ^")


def test_a_caret_beyond_the_end_stands_just_behind_it() -> None:
    assert caret("ab", 9) == ("ab", "  ^")


def test_a_long_line_is_cut_on_both_sides_of_the_caret() -> None:
    line = "abcdefghij" * 4
    assert caret(line, 20, width=16) == ("...efghijabcd...", "        ^")


def test_a_long_line_is_cut_on_one_side_where_the_caret_is_near_an_end() -> None:
    line = "abcdefghij" * 4
    assert caret(line, 2, width=16) == ("abcdefghij...", " ^")
    assert caret(line, 39, width=16) == ("...abcdefghij", "           ^")


@pytest.mark.parametrize("column", range(1, 62, 4))
def test_the_caret_of_a_cut_line_stands_under_its_character(column: int) -> None:
    line = "".join(chr(0x41 + number) for number in range(60))
    shown, below = caret(line, column, width=20)
    assert (shown + " ")[below.index("^")] == (line + " ")[column - 1]
    assert len(shown) <= 20
