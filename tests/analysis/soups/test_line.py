"""Barriers on the way from one network to another."""

from __future__ import annotations

import pytest
import torch
from analysis.soups.networks import line, network, scored
from torch import nn

from schedengine.analysis.soups.line import MOST, barriers, between, walk_lines
from schedengine.errors import SchedEngineError
from schedengine.training.evaluate import Evaluation


def well(model: nn.Module) -> Evaluation:
    """A loss with a hill of height 4 between its wells at -1 and 1, where it is 1: 1 + 4 (1 - w²) for |w| <= 1."""
    place = model.weight.item()  # type: ignore[operator,union-attr]
    return scored(1 + 4 * (1 - place**2), 90 - 10 * (1 - place**2))


def test_a_barrier_is_the_rise_over_the_line_of_the_ends() -> None:
    lines = walk_lines({"a": line(-1.0), "b": line(1.0)}, well)
    assert lines["share"].tolist() == pytest.approx([number / 10 for number in range(11)])
    (row,) = barriers(lines).to_dict("records")
    assert row["barrier_loss"] == pytest.approx(4.0) and row["barrier_top1"] == pytest.approx(10.0)


def test_a_slope_is_no_barrier() -> None:
    lines = walk_lines({"a": line(0.0), "b": line(1.0)}, lambda model: scored(3 * model.weight.item()))  # type: ignore[operator,union-attr]
    assert barriers(lines)["barrier_loss"].item() == pytest.approx(0.0, abs=1e-7)


def test_a_valley_is_no_barrier() -> None:
    lines = walk_lines({"a": line(-1.0), "b": line(1.0)}, lambda model: scored(model.weight.item() ** 2))  # type: ignore[operator,union-attr]
    assert barriers(lines)["barrier_loss"].item() == 0.0


def test_the_ends_of_a_line_are_the_networks_bit_for_bit() -> None:
    one, other = network(0), network(1)
    other[2].num_batches_tracked.fill_(7)
    for share, end in ((0.0, one), (1.0, other)):
        found = between(one, other, share).state_dict()
        assert all(torch.equal(value, found[name]) for name, value in end.state_dict().items())


def test_zeros_of_both_are_zero_all_along() -> None:
    assert int((between(network(0), network(1), 0.3)[1].weight == 0).sum()) == 2


def test_every_point_is_finished_and_no_end_twice() -> None:
    finished: list[nn.Module] = []
    networks = {"a": line(0.0), "b": line(1.0), "c": line(2.0)}
    walk_lines(networks, lambda model: scored(1.0), finish=finished.append, points=5)
    assert len(finished) == 3 + 3 * 3


def test_at_most_five_networks_are_joined() -> None:
    networks = {str(number): line(float(number)) for number in range(MOST + 2)}
    assert len(barriers(walk_lines(networks, lambda model: scored(1.0), points=3))) == 10


def test_a_line_has_three_points_or_more() -> None:
    with pytest.raises(SchedEngineError, match="3 or more"):
        walk_lines({"a": line(0.0), "b": line(1.0)}, well, points=2)


def test_a_loss_that_is_no_number_gives_no_barrier() -> None:
    lines = walk_lines({"a": line(0.0), "b": line(1.0)}, lambda model: scored(float("nan")))
    assert barriers(lines)["barrier_loss"].isna().all()
