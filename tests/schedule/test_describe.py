"""Docstrings as data."""

from __future__ import annotations

from schedengine.schedule.describe import describe, parse
from schedengine.sparsity.ramps import Cubic

DOCSTRING = """What it is for.

    The idea in two
    lines.

    Args:
        weight: (out, in),
            of any dtype.
        low, high: a range.
        from_: a word that Python keeps.

    Returns:
        Nothing: really.

    Reference: Somebody, 2020,
        A title, arXiv:2000.00000.
    """


def test_a_docstring_has_a_summary_a_text_and_a_reference() -> None:
    found = parse(DOCSTRING)
    assert found.summary == "What it is for."
    assert found.text == "The idea in two\nlines."
    assert found.reference == "Somebody, 2020, A title, arXiv:2000.00000."


def test_arguments_are_joined_shared_and_named_as_in_a_file() -> None:
    assert parse(DOCSTRING).args == {
        "weight": "(out, in), of any dtype.",
        "low": "a range.",
        "high": "a range.",
        "from": "a word that Python keeps.",
    }


def test_inherited_keys_are_described() -> None:
    found = describe(Cubic)
    assert found.summary.startswith("Fast at first, slow at the end")
    assert found.args["from"].startswith("where the ramp starts")
    assert "arXiv:1710.01878" in found.reference


def test_a_class_without_a_docstring_says_nothing() -> None:
    class Bare(Cubic):
        pass

    assert describe(Bare).summary == ""
