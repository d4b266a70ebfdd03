"""What it costs to prune several parameters at once, predicted from pruning each alone.

**Rises of the loss add up, or compound.** For small and unrelated changes the second-order terms of the loss add and
the mixed ones cancel, so the joint rise of the loss is about the sum of the rises. Where much is lost, losses make
each other worse; if every change multiplies the loss, the logarithms add. The truth was near the sum where levels
were well chosen, between the two where they were all the same, and below both where the network was ruined anyway; so
both are said. Points of accuracy do not add: they are rounded to images where little is lost, and bounded where much
is. A joint rise is turned into points by what the sweep itself saw: how many points were lost where the loss rose so
much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from schedengine.reports.sensitivity_table import dense, parameters

Numbers = NDArray[np.float64]

_LEAST_SCALE = 0.1
"""Nats. Where the dense network's loss is next to nothing, it is no measure of what multiplies it."""


def isotonic(values: Sequence[float] | Numbers) -> Numbers:
    """The nearest sequence that never falls, by least squares: neighbours that fall are pooled.

    Args:
        values: (n,), finite.

    Example:
        >>> isotonic([1.0, 3.0, 2.0, 4.0]).tolist()
        [1.0, 2.5, 2.5, 4.0]

    Reference:
        Ayer, Brunk, Ewing, Reid, Silverman (1955), An Empirical Distribution Function for Sampling with Incomplete
        Information, Annals of Mathematical Statistics 26 (pool adjacent violators).
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = float(value), 1
        while pools and pools[-1][0] * count >= total * pools[-1][1]:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    return np.repeat([total / count for total, count in pools], [count for _, count in pools])


@dataclass(frozen=True, eq=False)
class Curve:
    """What a parameter's levels cost, free of noise.

    Args:
        name: as the table has it.
        levels: (n,) ascending, the first 0; without those that have a note, or a cost that is no number.
        realised: (n,) fraction of the parameter that is 0.
        costs: (n,) from 0, never falling.
    """

    name: str
    levels: Numbers
    realised: Numbers
    costs: Numbers

    def refined(self, step: float = 0.01) -> Curve:
        """With levels between those that were measured, on the lines between their costs.

        For single weights, which any level can be asked of. Costs rise ever faster, so a line is on the safe side.
        """
        between = np.arange(1, round(self.levels[-1] / step)) * step
        levels = np.unique(np.r_[self.levels, between].round(6))
        realised, costs = (np.interp(levels, self.levels, ends) for ends in (self.realised, self.costs))
        return Curve(self.name, levels, realised, costs)


@dataclass(frozen=True)
class Joint:
    """How costs of parameters alone make the cost of all together: the sum of ``weight(cost)``, read back.

    Args:
        name: in words.
        scale: None: costs add. Else a cost multiplies by ``1 + cost / scale``.
    """

    name: str
    scale: float | None = None

    def weight(self, costs: Numbers) -> Numbers:
        """What is summed."""
        return costs if self.scale is None else np.log1p(costs / self.scale)

    def cost(self, total: float) -> float:
        """The joint cost that a sum stands for."""
        return total if self.scale is None else self.scale * math.expm1(min(total, 700.0))


@dataclass(frozen=True, eq=False)
class Prediction:
    """Costs of parameters alone, and what the cost of all together means in points.

    Args:
        kind: what a cost is: ``loss`` (its rise, in nats) or ``drop`` (points of top-1; where losses are not
            known, or of different images).
        curves: of each parameter.
        joints: ways in which costs come together, the mildest first.
        seen: (m,) 0, and the costs of all cells of the sweep that have one, ascending.
        lost: (m,) points that they lost, never falling.
    """

    kind: str
    curves: tuple[Curve, ...]
    joints: tuple[Joint, ...]
    seen: Numbers
    lost: Numbers

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Prediction:
        """From a sweep.

        Args:
            rows: of ``filled``.
        """
        before, kind = float(dense(rows)["loss"]), "loss" if _has_paired_losses(rows) else "drop"
        rows = rows.assign(cost=_costs(rows, kind))
        rows = rows[np.isfinite(rows["cost"]) & np.isfinite(rows["drop"])]
        curves = tuple(_curve(name, rows[rows["parameter"] == name]) for name in parameters(rows))
        compounds = Joint("losses compound", max(before, _LEAST_SCALE))
        joints = (Joint("losses add up"), compounds) if kind == "loss" else (Joint("points add up"),)
        harmed = rows[rows["cost"] > 0].sort_values("cost")
        lost = np.maximum(isotonic(harmed["drop"].to_numpy(dtype=float)), 0.0)
        return cls(kind, curves, joints, np.r_[0.0, harmed["cost"].to_numpy(dtype=float)], np.r_[0.0, lost])

    def points(self, chosen: Sequence[int]) -> tuple[float, float]:
        """Points of top-1 that are lost together: the least and the most of ``joints``.

        Args:
            chosen: place of each curve's level.

        Returns:
            Infinite where the loss rises beyond all that the sweep saw: more points than any cell lost.
        """
        alone = np.array([curve.costs[place] for curve, place in zip(self.curves, chosen, strict=True)])
        costs = [joint.cost(float(joint.weight(alone).sum())) for joint in self.joints]
        found = np.interp(costs, self.seen, self.lost, right=math.inf)
        # A sum of points needs no reading.
        points = costs if self.kind == "drop" else found.tolist()
        return min(points), max(points)


def _has_paired_losses(rows: pd.DataFrame) -> bool:
    """Whether every cell's loss is of the dense network's images. A sweep that stops early pairs points only, and the
    losses of other images differ by more than most levels cost."""
    counted = rows[np.isfinite(rows["drop"])]
    return bool(np.isfinite(counted["loss"]).all() and counted["samples"].nunique() <= 1)


def _costs(rows: pd.DataFrame, kind: str) -> pd.Series:
    """Above the dense network's; each parameter's own row at level 0 is its dense network."""
    if kind == "drop":
        return rows["drop"]
    own = rows[rows["sparsity"] == 0].drop_duplicates("parameter").set_index("parameter")["loss"]
    return rows["loss"] - rows["parameter"].map(own).fillna(float(dense(rows)["loss"]))


def _curve(name: str, part: pd.DataFrame) -> Curve:
    """Levels with a note are left out: what they ask is not what was measured, nor what a schedule could do."""
    part = part.sort_values("sparsity")
    at_zero = part.loc[part["sparsity"] == 0, "realised"]
    pruned = part[(part["sparsity"] > 0) & (part["note"] == "")]
    costs = np.maximum(isotonic(pruned["cost"].to_numpy(dtype=float)), 0.0)
    levels, realised = (pruned[column].to_numpy(dtype=float) for column in ("sparsity", "realised"))
    before = float(at_zero.iloc[0]) if len(at_zero) else 0.0
    curve = Curve(name, np.r_[0.0, levels], np.r_[before, realised], np.r_[0.0, costs])
    return curve.refined() if (part["granularity"] == "element").all() else curve
