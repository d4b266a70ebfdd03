"""What several parameters cost together, by hand."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedengine.analysis.sensitivity.prediction import Prediction, isotonic
from schedengine.reports.sensitivity_table import filled

LEVELS = (0.0, 0.5, 0.9)


def prediction(losses: dict[str, tuple[float, ...]], drops: dict[str, tuple[float, ...]], **more: object) -> Prediction:
    rows = [
        {"parameter": name, "sparsity": level, "top1": 90 - drop, "loss": loss}
        for name in losses
        for level, loss, drop in zip(LEVELS, losses[name], drops[name])
    ]
    return Prediction.of(filled(pd.DataFrame(rows).assign(**more)))


LOSSES = {"a": (0.2, 0.3, 1.2), "b": (0.2, 0.4, 2.2)}
DROPS = {"a": (0.0, 1.0, 20.0), "b": (0.0, 3.0, 60.0)}


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_isotonic_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    found = isotonic(values).tolist()
    assert all(one <= other + 1e-9 for one, other in itertools.pairwise(found))
    assert math.isclose(sum(found), sum(values), abs_tol=1e-9)


def test_a_fall_is_pooled_with_what_it_falls_below() -> None:
    assert isotonic([0.0, 6.0, 3.0, 0.0, 5.0]).tolist() == [0.0, 3.0, 3.0, 3.0, 5.0]


def test_a_gain_costs_nothing() -> None:
    found = prediction({"a": (0.2, 0.1, 0.5)}, {"a": (0.0, -1.0, 2.0)})
    assert found.curves[0].costs.tolist() == pytest.approx([0.0, 0.0, 0.3])


def test_rises_of_the_loss_add_up_or_compound() -> None:
    found = prediction(LOSSES, DROPS)
    alone = found.curves[0].costs[[1]].tolist() + found.curves[1].costs[[1]].tolist()
    together = [one.cost(sum(map(float, one.weight(found.curves[0].costs[1:2] * 0 + alone)))) for one in found.joints]
    # 0.1 + 0.2; and 0.2 * 1.5 * 2.0 - 0.2
    assert alone == pytest.approx([0.1, 0.2]) and together == pytest.approx([0.3, 0.4])


def test_points_are_read_between_the_cells_of_the_sweep() -> None:
    low, high = prediction(LOSSES, DROPS).points([1, 1])
    # cells: a rise of 0.2 lost 3 points, of 1.0 lost 20
    assert (low, high) == pytest.approx((3 + 17 * 0.1 / 0.8, 3 + 17 * 0.2 / 0.8))


def test_beyond_the_worst_cell_no_number_is_made_up() -> None:
    low, high = prediction(LOSSES, DROPS).points([2, 2])
    assert math.isinf(low) and math.isinf(high)


def test_nothing_pruned_loses_nothing() -> None:
    assert prediction(LOSSES, DROPS).points([0, 0]) == (0.0, 0.0)


def test_without_losses_points_add_up() -> None:
    none = dict.fromkeys(DROPS, (math.nan,) * 3)
    found = prediction(none, DROPS)
    assert (found.kind, found.points([1, 1])) == ("drop", (4.0, 4.0))


def test_a_dense_loss_of_nothing_is_no_measure() -> None:
    found = prediction({"a": (0.0, 0.1, 0.2)}, {"a": (0.0, 1.0, 2.0)})
    assert found.joints[1].scale == 0.1


def test_levels_with_a_note_or_without_a_number_are_not_offered() -> None:
    found = prediction({"a": (0.2, math.nan, 1.2)}, {"a": (0.0, math.nan, 2.0)})
    assert found.curves[0].levels.tolist() == [0.0, 0.9]
    noted = prediction({"a": (0.2, 0.3, 1.2)}, {"a": (0.0, 1.0, 2.0)}, note=["", "", "min_keep"])
    assert noted.curves[0].levels.tolist() == [0.0, 0.5]


def test_costs_between_levels_are_on_the_line() -> None:
    (curve,) = prediction({"a": (0.2, 0.7, 1.1)}, {"a": (0.0, 5.0, 9.0)}, granularity="element").curves
    assert len(curve.levels) == 91 and curve.levels[37] == curve.realised[37] == 0.37
    assert curve.costs[[25, 50, 70]].tolist() == pytest.approx([0.25, 0.5, 0.7])


def test_losses_of_different_images_are_not_compared() -> None:
    found = prediction(LOSSES, DROPS, samples=[1000, 1000, 200] * 2)
    assert found.kind == "drop" and prediction(LOSSES, DROPS, samples=1000).kind == "loss"
