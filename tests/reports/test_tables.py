"""Tables on terminals of all kinds."""

from __future__ import annotations

import io
import sys

import pytest

from schedengine.reports.tables import show_table, writable


def ascii_terminal(monkeypatch: pytest.MonkeyPatch) -> io.TextIOWrapper:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def test_a_terminal_that_knows_ascii_only_gets_a_likeness(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_terminal(monkeypatch)
    assert writable("90.1 \u00b1 0.2") == "90.1 +- 0.2"
    assert writable("layer.\u00e9") == "layer.\\xe9"


def test_text_that_can_be_written_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert writable("90.1 \u00b1 0.2") == "90.1 \u00b1 0.2"


def test_a_table_is_shown_where_only_ascii_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ascii_terminal(monkeypatch)
    show_table("\u00e9", ["a \u00b1"], [["\u00fc"]], "note \u00b1")
    stream.seek(0)
    printed = stream.read()
    assert "a +-" in printed and "\\xfc" in printed and "note +-" in printed


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("[bold]t[/]", ["name"], [["[red]x[/red]"]])
    printed = capsys.readouterr().out
    assert "[bold]t[/]" in printed and "[red]x[/red]" in printed
