"""What a class says about its keys."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field as Constraint
from pydantic.dataclasses import dataclass

from schedengine.registry import SPEC, Component, Registry
from schedengine.schedule.fields import REQUIRED, component_of, fields_of, items_of, spec_of

COLOURS = Registry("colour", {})


@dataclass(frozen=True, config=SPEC)
class Brush:
    size: Annotated[int, Constraint(gt=0)]
    from_: float = 0.5
    hairs: tuple[int, ...] = Constraint(default_factory=tuple)
    kind: ClassVar[str] = "round"


def test_keys_are_fields_without_the_trailing_underscore() -> None:
    assert {key: field.name for key, field in fields_of(Brush).items()} == {
        "size": "size", "from": "from_", "hairs": "hairs",
    }  # fmt: skip


def test_a_field_has_its_default_or_is_required() -> None:
    defaults = {key: field.default for key, field in fields_of(Brush).items()}
    assert defaults == {"size": REQUIRED, "from": 0.5, "hairs": ()}


def test_a_component_is_found_through_optional() -> None:
    marker = Component(COLOURS)
    assert component_of(Annotated[int, marker]) is marker
    assert component_of(Annotated[int, marker] | None) is marker
    assert component_of(int | None) is None


def test_containers_of_specs_are_read_item_by_item() -> None:
    assert spec_of(Annotated[Brush, "a note"]) is Brush
    assert items_of(tuple[Brush, ...]) == (list, Brush)
    assert items_of(dict[str, Brush]) == (dict, Brush)
    assert items_of(dict[str, float]) is None
