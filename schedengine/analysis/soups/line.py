"""What lies between two networks: accuracy and loss along the straight line that joins them.

Networks between which the loss does not rise are said to lie in one basin; their average is a point of it.

Reference: Frankle, Dziugaite, Roy and Carbin, 2020, Linear Mode Connectivity and the Lottery Ticket Hypothesis, arXiv
    1912.05671 (error along the line). Entezari, Sedghi, Saukh and Neyshabur, 2022, arXiv 2110.06296 (the barrier: over
    the line between the losses of the ends, not over their mean).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping

import pandas
import torch
from torch import nn

from schedengine.analysis.soups.alike import tensors
from schedengine.analysis.soups.pot import Change
from schedengine.errors import SchedEngineError
from schedengine.training.evaluate import Evaluation

POINTS = 11
MOST = 5
"""Networks that are joined each with each, at most."""


@torch.no_grad()
def between(one: nn.Module, other: nn.Module, share: float) -> nn.Module:
    """The network at ``(1 - share) * one + share * other``, buffers too; whole numbers and flags are of the nearer one.

    Args:
        share: [0, 1].
    """
    network = copy.deepcopy(one)
    ends = tensors(other)
    for name, value in tensors(network).items():
        if value.is_floating_point() or value.is_complex():
            value.copy_(torch.where(value == ends[name], value, torch.lerp(value, ends[name], share)))  # also -inf
        elif share > 0.5:
            value.copy_(ends[name])
    return network


def walk_lines(
    networks: Mapping[str, nn.Module],
    measure: Callable[[nn.Module], Evaluation],
    *,
    finish: Change = lambda network: None,
    points: int = POINTS,
) -> pandas.DataFrame:
    """Measure on the lines between all pairs of the first five networks.

    Args:
        networks: two or more, by name, of one architecture.
        measure: on whatever images.
        finish: done to the network of every point before it is measured, the ends among them: new batch-norm
            statistics.
        points: on each line, the ends among them; 3 or more.

    Returns:
        Columns: first, second, share (of the second network, 0 to 1), top1, top5 (per cent), loss, samples.

    Raises:
        SchedEngineError: fewer than three points.
    """
    if points < 3:
        raise SchedEngineError(f"{points} points on a line: there are 3 or more, the two ends among them")
    chosen = dict(itertools.islice(networks.items(), MOST))
    ends = {name: _at(network, network, 0.0, measure, finish) for name, network in chosen.items()}
    rows = []
    for first, second in itertools.combinations(chosen, 2):
        for number in range(points):
            share = number / (points - 1)
            known = {0: ends[first], points - 1: ends[second]}
            found = known.get(number) or _at(chosen[first], chosen[second], share, measure, finish)
            rows.append({"first": first, "second": second, "share": share, **found.plain()})
    return pandas.DataFrame(rows)


def _at(
    one: nn.Module, other: nn.Module, share: float, measure: Callable[[nn.Module], Evaluation], finish: Change
) -> Evaluation:
    network = between(one, other, share)
    finish(network)
    return measure(network)


def barriers(lines: pandas.DataFrame) -> pandas.DataFrame:
    """How much the line of each pair rises over the straight connection of its ends, at most.

    Args:
        lines: of ``walk_lines``.

    Returns:
        A row for each pair. Columns: first, second; barrier_loss, the largest of loss(share) - ((1 - share) loss(0) +
        share loss(1)), 0 or more since it is 0 at the ends; barrier_top1, the same of the top-1 error, in points.
    """
    rows = []
    for (first, second), line in lines.groupby(["first", "second"], sort=False):
        loss, error = (_rise(line["share"], values) for values in (line["loss"], 100 - line["top1"]))
        rows.append({"first": first, "second": second, "barrier_loss": loss, "barrier_top1": error})
    return pandas.DataFrame(rows)


def _rise(share: pandas.Series, values: pandas.Series) -> float:
    start, stop = values.iloc[0], values.iloc[-1]
    rise = values - ((1 - share) * start + share * stop)
    rise.iloc[[0, -1]] = 0.0  # whatever the rounding
    return float(rise.max(skipna=False))
