"""Names -> classes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest

from schedengine.errors import SchedEngineError
from schedengine.registry import Registry, main_field


@dataclass(frozen=True)
class Red:
    shade: int = 1
    name: str = ""


@dataclass(frozen=True)
class Blue:
    shorthand: ClassVar[str] = "depth"
    shade: int = 1
    depth: int = 2


def colours() -> Registry:
    return Registry("colour", {"red": f"{__name__}:Red", "gone": "no.such.module:Gone"}, {"paint": "mix it yourself"})


def test_listing_imports_nothing() -> None:
    assert colours().names() == ["red", "gone"]
    assert "gone" in colours() and "paint" not in colours()


def test_a_listing_of_criteria_imports_no_torch() -> None:
    code = "import sys; from schedengine.criteria import CRITERIA; CRITERIA.names(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_name_is_imported_when_used() -> None:
    registry = Registry("number", {"fraction": "fractions:Fraction"})
    assert registry.get("fraction")(1, 2) == 0.5


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(SchedEngineError, match="unknown colour 'rad'; did you mean red?"):
        colours().get("rad")


def test_a_refused_name_says_what_to_write_instead() -> None:
    with pytest.raises(SchedEngineError, match="mix it yourself"):
        colours().get("paint")


def test_a_registered_class_can_be_named() -> None:
    registry = Registry("colour", {})
    registry.register("blue", Blue)
    assert registry.get("blue") is Blue
    assert registry.name_of(Blue()) == "blue"


def test_a_name_cannot_be_taken_twice() -> None:
    with pytest.raises(SchedEngineError, match="'red' is registered already"):
        colours().register("red", Blue)


def test_only_dataclasses_can_be_registered() -> None:
    with pytest.raises(SchedEngineError, match="int is not a dataclass"):
        colours().register("number", int)


def test_a_class_that_is_not_registered_has_no_name() -> None:
    with pytest.raises(SchedEngineError, match="int is not a registered colour"):
        Registry("colour", {}).name_of(3)


def test_a_value_alone_is_the_first_field_or_the_named_one() -> None:
    assert main_field(Red) == "shade"
    assert main_field(Blue) == "depth"
