"""Distances and angles, by hand."""

from __future__ import annotations

import math

import pytest
from analysis.soups.networks import line, network

from schedengine.analysis.soups.distances import measure_distances


def test_distance_relative_distance_and_angle_by_hand() -> None:
    (row,) = measure_distances({"a": line(3.0, 0.0), "b": line(0.0, 4.0)}).to_dict("records")
    assert (row["first"], row["second"], row["distance"]) == ("a", "b", 5.0)
    assert row["relative"] == pytest.approx(5 / 2.5)  # their mean is (1.5, 2)
    assert row["angle"] == pytest.approx(90.0)


def test_from_a_parent_the_angle_is_between_the_ways() -> None:
    found = measure_distances({"a": line(2.0, 1.0), "b": line(1.0, 0.5)}, line(1.0, 1.0))
    assert found["angle"].item() == pytest.approx(90.0)  # (1, 0) and (0, -0.5)


def test_what_is_pruned_in_all_is_no_direction() -> None:
    found = measure_distances({"a": line(2.0, 1.0, 0.0), "b": line(1.0, 0.5, 0.0)}, line(1.0, 1.0, 100.0))
    assert found["angle"].item() == pytest.approx(90.0)


def test_identical_networks_are_nowhere_apart() -> None:
    found = measure_distances({"a": network(0), "b": network(0), "c": network(0)}, network(0))
    assert found["distance"].tolist() == [0.0, 0.0, 0.0] and math.isnan(found["angle"][0])


def test_every_pair_has_a_row() -> None:
    found = measure_distances({name: network(seed) for seed, name in enumerate("abcd")})
    assert [first + second for first, second in zip(found["first"], found["second"])] == [
        "ab", "ac", "ad", "bc", "bd", "cd",
    ]  # fmt: skip
