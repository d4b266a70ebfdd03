"""Distiller's two schedules, against the numbers of its own test."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group
from schedengine.lr.distiller_schedules import DistillerPolynomialLR, MultiStepMultiGammaLR

GROUPS = (Group(0.1), Group(1.0))


@pytest.mark.parametrize(
    ("epoch", "rate"), [(15, 0.1), (30, 0.01), (33, 0.01), (60, 0.001), (79, 0.001), (80, 0.0002), (100, 0.0002)]
)
def test_each_milestone_has_its_gamma(epoch: int, rate: float) -> None:
    schedule = MultiStepMultiGammaLR(milestones=(30, 60, 80), gammas=(0.1, 0.1, 0.2))
    assert schedule.values(Clock(epoch), GROUPS) == [{"lr": pytest.approx(rate)}, {"lr": pytest.approx(10 * rate)}]


@pytest.mark.parametrize(
    ("milestones", "gammas", "message"),
    [((60, 30), (0.1, 0.1), "not in increasing order"), ((30, 60), (0.1,), "2 milestones and 1 gammas")],
)
def test_milestones_are_sorted_and_have_a_gamma_each(milestones: Any, gammas: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MultiStepMultiGammaLR(milestones=milestones, gammas=gammas)


def test_polynomial_reaches_zero_at_its_end() -> None:
    schedule = DistillerPolynomialLR(T_max=4, power=2.0)
    rates = [schedule.values(Clock(epoch), GROUPS)[1]["lr"] for epoch in range(5)]
    assert rates == [1, 0.5625, 0.25, 0.0625, 0]


@pytest.mark.parametrize("power", [0.9, 1.0, 3.0])
def test_polynomial_has_no_negative_or_complex_rate(power: float) -> None:
    with pytest.raises(SchedEngineError, match="at epoch 5, after T_max 4"):
        DistillerPolynomialLR(T_max=4, power=power).values(Clock(5), GROUPS)


def test_polynomial_of_even_power_rises_again_as_distillers_does() -> None:
    assert DistillerPolynomialLR(T_max=4, power=2.0).values(Clock(6), GROUPS)[1] == {"lr": 0.25}
