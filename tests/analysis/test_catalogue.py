"""Everything that can be named."""

from __future__ import annotations

import pytest
from pydantic.dataclasses import dataclass

from schedengine.analysis.catalogue import KINDS, list_names
from schedengine.criteria import CRITERIA
from schedengine.errors import SchedEngineError
from schedengine.lr import LR_SCHEDULES
from schedengine.registry import SPEC


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_and_argument_of_every_kind_says_what_it_means(kind: str) -> None:
    found = list_names(kind)
    assert len(found) and found["meaning"].str.len().gt(0).all() and not found.isna().any(axis=None)
    assert not found["meaning"].str.contains("``").any()


def test_arguments_come_with_their_defaults() -> None:
    found = list_names("ramps").set_index(["name", "argument"])
    assert found.loc[("polynomial", "power"), "default"] == "3.0"
    assert found.loc[("remaining", "fraction"), "default"] == "needed"
    assert "arXiv:1710.01878" in found.loc[("cubic", ""), "source"]


def test_the_keys_of_a_pruner_are_names() -> None:
    found = list_names("pruners").set_index("name")
    assert found.loc["granularity", "default"] == "element" and found.loc["min_keep", "default"] == "1"


def test_registries_are_listed_whole_and_in_their_order() -> None:
    assert list(dict.fromkeys(list_names("lr")["name"])) == LR_SCHEDULES.names()


def test_a_class_of_a_plugins_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, config=SPEC)
    class Own:
        """Mine alone."""

    monkeypatch.setattr(CRITERIA, "_entries", dict(CRITERIA._entries))
    CRITERIA.register("own", Own)
    assert list_names("criteria").set_index("name").loc["own", "meaning"] == "Mine alone."


def test_models_say_what_they_take() -> None:
    found = list_names("models").set_index("name")["meaning"]
    assert found["digits_cnn"] == "ships; takes 1x8x8" and found["inception_v3"] == "torchvision's; takes 3x299x299"
    assert found["word_lm"] == "ships; takes words" and "takes images with boxes" in found["maskrcnn_resnet50_fpn"]


def test_an_unknown_kind_gets_all_kinds() -> None:
    with pytest.raises(SchedEngineError, match="unknown kind 'criterion'; kinds: pruners, criteria, granularities"):
        list_names("criterion")


def test_what_a_rewind_and_a_trace_say_can_be_listed() -> None:
    assert list(list_names("rewind")["name"]) == ["weights", "clock", "optimizer", "shuffle", "seed"]
    assert list_names("trace").set_index("name")["default"].to_dict() == {"epochs": "needed", "lr": "needed"}
    assert {"FT", "LRW", "SLR", "CLR", "LLR", "ALLR"} <= set(list_names("lr")["name"])
