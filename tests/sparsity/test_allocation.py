from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedengine.errors import SchedEngineError
from schedengine.sparsity import ALLOCATIONS
from schedengine.sparsity.allocation import ERK, LAMP, Global, Uniform, UniformPlus

SHAPES: dict[str, tuple[int, ...]] = {"first": (16, 3, 3, 3), "inner": (32, 16, 3, 3), "last": (10, 32)}


def total(levels: dict[str, float], shapes: dict[str, tuple[int, ...]] = SHAPES) -> float:
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return sum(levels[name] * sizes[name] for name in sizes) / sum(sizes.values())


def test_uniform_is_the_same_for_all() -> None:
    assert Uniform().levels(SHAPES, 0.9) == {"first": 0.9, "inner": 0.9, "last": 0.9}


def test_erk_density_follows_sum_over_product_of_dimensions() -> None:
    assert list(ERK().levels(SHAPES, 0.9).values()) == pytest.approx([0.7436, 0.9481, 0.4186], abs=5e-5)


def test_erk_keeps_dense_what_would_exceed_a_density_of_one() -> None:
    levels = ERK().levels(SHAPES, 0.5)
    assert levels["first"] == levels["last"] == 0
    assert levels["inner"] == pytest.approx(0.5 * 5360 / 4608)


@given(st.lists(st.lists(st.integers(1, 40), min_size=0, max_size=4), min_size=1, max_size=6), st.floats(0, 0.99))
def test_erk_reaches_every_total(shapes: list[list[int]], sparsity: float) -> None:
    named = {str(number): tuple(shape) for number, shape in enumerate(shapes)}
    levels = ERK().levels(named, sparsity)
    assert all(0 <= level < 1 for level in levels.values())
    assert total(levels, named) == pytest.approx(sparsity, abs=1e-9)


def test_uniform_plus_caps_the_last_and_spares_the_first() -> None:
    assert list(UniformPlus().levels(SHAPES, 0.9).values()) == pytest.approx([0, 0.99132, 0.8], abs=5e-6)


def test_uniform_plus_is_uniform_but_for_the_first_below_the_cap() -> None:
    levels = UniformPlus().levels(SHAPES, 0.5)
    assert levels["inner"] == levels["last"] == pytest.approx(0.5 * 5360 / 4928)
    assert total(levels) == pytest.approx(0.5)


def test_uniform_plus_says_how_far_it_reaches() -> None:
    with pytest.raises(SchedEngineError, match=r"cannot remove 0.95 .* limit is 0.9075"):  # (4608 + 256) / 5360
        UniformPlus().levels(SHAPES, 0.95)


def test_uniform_plus_of_two_parameters_prunes_the_last_alone() -> None:
    two = {"first": (10, 10), "last": (10, 10)}
    assert UniformPlus().levels(two, 0.4) == {"first": 0.0, "last": 0.8}
    with pytest.raises(SchedEngineError, match="limit is 0.4"):
        UniformPlus().levels(two, 0.41)


def test_uniform_plus_of_one_parameter_reaches_nothing() -> None:
    assert UniformPlus().levels({"only": (4, 4)}, 0) == {"only": 0}
    with pytest.raises(SchedEngineError, match="limit is 0"):
        UniformPlus().levels({"only": (4, 4)}, 0.1)


def test_lamp_scores_relative_to_what_would_be_left() -> None:
    assert LAMP().normalise(torch.tensor([2.0, 1.0, 3.0])).tolist() == pytest.approx([4 / 13, 1 / 14, 1])


def test_lamp_breaks_ties_by_position() -> None:
    assert LAMP().normalise(torch.ones(3)).tolist() == pytest.approx([1 / 3, 1 / 2, 1])


def test_lamp_of_zeros_is_zero() -> None:
    assert LAMP().normalise(torch.tensor([0.0, 0.0])).tolist() == [0, 0]
    assert LAMP().normalise(torch.tensor([0.0, 2.0])).tolist() == [0, 1]


@given(st.lists(st.floats(0, 2.0**100, width=32), min_size=1, max_size=30))
def test_lamp_keeps_the_order_within_a_parameter(values: list[float]) -> None:
    scores = torch.tensor(values)
    assert torch.equal(LAMP().normalise(scores).argsort(stable=True), scores.argsort(stable=True))


def test_lamp_refuses_negative_scores() -> None:
    with pytest.raises(SchedEngineError, match="found a score of -1"):
        LAMP().normalise(torch.tensor([-1.0, 2.0]))


def test_global_leaves_scores_alone() -> None:
    scores = torch.tensor([1.0, 2.0])
    assert Global().normalise(scores) is scores


@pytest.mark.parametrize("name", ["uniform", "erk", "uniform_plus"])
def test_nothing_is_removed_at_zero(name: str) -> None:
    allocation: Any = ALLOCATIONS.get(name)()
    assert allocation.levels(SHAPES, 0.0) == pytest.approx(dict.fromkeys(SHAPES, 0.0), abs=1e-12)
