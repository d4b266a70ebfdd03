"""ReduceLROnPlateau as a pure step from state to state."""

from __future__ import annotations

import dataclasses
import inspect
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim.lr_scheduler import ReduceLROnPlateau

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group
from schedengine.lr.plateau import Plateau

GROUPS = (Group(1.0), Group(0.5))


def rates(plateau: Plateau, losses: list[float], key: str = "loss") -> list[float]:
    state, seen = plateau.start(GROUPS), []
    for loss in losses:
        state = plateau.react(state, {key: loss})
        seen.append(plateau.values_of(state)[0]["lr"])
    return seen


def test_the_rate_falls_once_patience_is_exceeded() -> None:
    assert rates(Plateau(patience=1, factor=0.5), [3, 2, 2, 2, 2, 2]) == [1, 1, 1, 0.5, 0.5, 0.25]


def test_none_is_counted_while_it_cools_down() -> None:
    assert rates(Plateau(patience=0, cooldown=2, factor=0.5), [2, 2, 2, 2, 2]) == [1, 0.5, 0.5, 0.5, 0.25]


def test_in_mode_max_a_metric_should_rise() -> None:
    assert rates(Plateau(mode="max", patience=0, factor=0.5), [10, 20, 20], key="top1") == [1, 1, 0.5]


def test_every_group_is_reduced_down_to_its_floor() -> None:
    plateau = Plateau(patience=0, factor=0.1, min_lr=(0.2, 0.01))
    state = plateau.react(plateau.react(plateau.start(GROUPS), {"loss": 1.0}), {"loss": 1.0})
    assert plateau.values_of(state) == [{"lr": 0.2}, {"lr": pytest.approx(0.05)}]


@pytest.mark.parametrize(
    ("mode", "metrics"), [("min", {"min": 1.0, "max": 9.0}), ("max", {"loss": 9.0, "max": 1.0, "top1": 9.0})]
)
def test_distillers_keys_come_first(mode: Any, metrics: dict[str, float]) -> None:
    plateau = Plateau(mode=mode)
    assert plateau.react(plateau.start(GROUPS), metrics)["best"] == 1.0


def test_a_named_metric_is_the_one() -> None:
    plateau = Plateau(metric="top5", mode="max")
    assert plateau.react(plateau.start(GROUPS), {"top1": 1.0, "top5": 2.0})["best"] == 2.0


def test_a_missing_metric_is_an_error_that_lists_what_was_given() -> None:
    plateau = Plateau()
    with pytest.raises(SchedEngineError, match=r"needs the metric min or loss; on_epoch_end was given top1, los: did"):
        plateau.react(plateau.start(GROUPS), {"top1": 1.0, "los": 2.0})


def test_no_metrics_at_all_is_an_error() -> None:
    plateau = Plateau()
    with pytest.raises(SchedEngineError, match="given none"):
        plateau.react(plateau.start(GROUPS), {})


def test_reacting_leaves_the_given_state_alone() -> None:
    plateau = Plateau(patience=0)
    before = plateau.react(plateau.start(GROUPS), {"loss": 1.0})
    kept = json.loads(json.dumps(before))
    assert plateau.react(before, {"loss": 2.0}) == plateau.react(before, {"loss": 2.0}) != before == kept


def test_before_any_metric_the_rates_are_the_initial_ones() -> None:
    assert Plateau().values(Clock(50), GROUPS) == [{"lr": 1.0}, {"lr": 0.5}]


def test_a_list_of_floors_must_have_one_for_each_group() -> None:
    with pytest.raises(SchedEngineError, match="expected 2 min_lrs, got 3"):
        Plateau(min_lr=(0.0, 0.0, 0.0)).start(GROUPS)


@pytest.mark.parametrize(
    "fields", [{"factor": 1.0}, {"patience": 1.5}, {"mode": "least"}, {"min_lr": []}, {"patients": 3}]
)
def test_values_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Plateau(**fields)


def test_names_and_defaults_are_torchs() -> None:
    parameters = inspect.signature(ReduceLROnPlateau).parameters
    known = {name: each.default for name, each in parameters.items() if name not in ("optimizer", "verbose")}
    fields = {each.name: getattr(Plateau(), each.name) for each in dataclasses.fields(Plateau)}
    assert fields == {**known, "metric": None}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-2, 2), max_size=30), st.integers(0, 3), st.integers(0, 3), st.sampled_from(["rel", "abs"]))
def test_it_goes_where_torchs_goes(losses: list[float], patience: int, cooldown: int, threshold_mode: Any) -> None:
    fields: dict[str, Any] = {
        "patience": patience,
        "cooldown": cooldown,
        "threshold_mode": threshold_mode,
        "factor": 0.5,
    }
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler, expected = ReduceLROnPlateau(optimizer, **fields), []
    for loss in losses:
        scheduler.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    assert rates(Plateau(**fields), losses) == expected
