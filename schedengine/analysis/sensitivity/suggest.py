"""Levels for all parameters together, from a sweep of each alone: the most that can go for a budget, or at least cost.

Curves are made monotone, costs are joined as ``prediction`` says, and ``knapsack`` finds the best choice for every
amount at once. With a function that measures levels on the network itself, the budget is met for real: the amounts
are bisected, and of the two ways in which costs may come together the better one is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from schedengine.analysis.sensitivity.knapsack import Choices, Frontier
from schedengine.analysis.sensitivity.prediction import Curve, Joint, Prediction
from schedengine.errors import SchedEngineError
from schedengine.reports.sensitivity_table import dense, filled

By = Literal["weights", "macs"]
Measure = Callable[[Mapping[str, float]], float]
_STEPS = 256
"""The amount that fits a budget is found to one part in so many of what can be removed."""
_WORDS = {"weights": "weights", "macs": "multiply-accumulates"}


@dataclass(frozen=True)
class Suggestion:
    """Levels for the parameters of a network, and what they are thought to cost.

    Args:
        levels: parameter, as the table has it -> fraction of its groups to remove; those that keep all are missing.
        asked: in words.
        weights: of all parameters that were swept; nan if not known.
        removed: of them; nan if not known.
        macs: multiply-accumulates of one example in these parameters; nan if not known.
        macs_left: those with weights that stay; nan if not known.
        predicted: points of top-1 lost, the least and the most that the ways of joining costs give; infinite beyond
            what the sweep saw.
        measured: points lost when all levels were tried together, by the function given; None if there was none.
        how: in words, how it was found and predicted.
        sizes: parameter -> its weights; nan if not known.
        sweep: what the sweep was: granularity, criterion, images; empty or nan if not known.
    """

    levels: dict[str, float]
    asked: str
    weights: float
    removed: float
    macs: float
    macs_left: float
    predicted: tuple[float, float]
    measured: float | None
    how: str
    sizes: dict[str, float] = field(repr=False)
    sweep: dict[str, str] = field(repr=False)

    @property
    def sparsity(self) -> float:
        """Fraction of the swept weights that is removed; nan if not known."""
        return self.removed / self.weights

    @property
    def said(self) -> list[str]:
        """Itself in sentences, for a page and for the head of a schedule."""
        lines = [f"Asked: {self.asked}."]
        if math.isfinite(self.weights):
            lines.append(f"Removes {self.removed:,.0f} of {self.weights:,.0f} swept weights ({self.sparsity:.4f}).")
        if math.isfinite(self.macs):
            left = f"{self.macs_left:,.0f} of {self.macs:,.0f} multiply-accumulates ({self.macs_left / self.macs:.4f})"
            lines.append(f"Leaves {left}, if pruned weights are not computed with.")
        lines.append(f"Predicted points of top-1 lost, before any retraining: {_points(self.predicted)}. {self.how}")
        if self.measured is None:
            lines.append("Not measured: these levels were not tried together.")
        else:
            lines.append(f"Measured with all levels together, before any retraining: {self.measured:.2f} points lost.")
        return lines

    def schedule(
        self,
        name: str,
        *,
        epochs: int = 10,
        file: str = "suggested.yaml",
        granularity: str = "",
        criterion: str = "",
    ) -> str:
        """A schedule that prunes a trained network to these levels and retrains it; ``train`` runs it unchanged.

        Args:
            name: of the model, for the commands in the comments.
            epochs: of the run: half of them have a cut each, the others recover.
            file: what the schedule's file will be called, for the commands.
            granularity, criterion: as a file writes them; where the table does not say.

        Returns:
            YAML text for ``load_schedule``.

        Raises:
            SchedEngineError: no level above 0, fewer than two epochs, or the sweep's granularity or criterion unknown.
        """
        from schedengine.analysis.sensitivity.suggested import schedule_text

        return schedule_text(self, name, epochs, file, granularity, criterion)


def suggest_levels(
    frame: pd.DataFrame,
    *,
    drop: float | None = None,
    target: float | None = None,
    by: By = "weights",
    measure: Measure | None = None,
) -> Suggestion:
    """Choose a level for each parameter of a sweep.

    Args:
        frame: a sweep, as for ``filled``; ``with_sizes`` gives one of Distiller's its weights.
        drop: points of top-1 that may be lost before retraining: remove as much as possible.
        target: fraction of the swept weights (or multiply-accumulates) to remove: lose as little as possible. One of
            ``drop`` and ``target``.
        by: what counts as removed.
        measure: levels -> points of top-1 lost on the network itself, as ``joint_drop`` makes it: about twenty calls
            for a drop, two for a target. Without it a drop is kept by the prediction's worse end.

    Raises:
        SchedEngineError: neither or both of drop and target, one out of range, more than the sweep's levels can
            reach, or sizes that are not known.
    """
    _check(drop, target)
    rows = filled(frame)
    prediction = Prediction.of(rows)
    search = _Search(prediction, _amounts(rows, prediction.curves, by), measure)
    if target is not None:
        found = search.reaching(target, _WORDS[by])
        asked = f"{target:g} of the {_WORDS[by]} removed, at the least cost"
    else:
        assert drop is not None
        found = search.within(drop)
        asked = f"at most {drop:g} points of top-1 lost before retraining, as many {_WORDS[by]} removed as possible"
    return _suggestion(rows, prediction, found, asked)


@dataclass(frozen=True)
class _Found:
    chosen: list[int]
    predicted: tuple[float, float]
    measured: float | None
    joint: Joint

    @property
    def loss(self) -> float:
        """What it is judged by."""
        return self.predicted[1] if self.measured is None else self.measured


class _Search:
    """The best choices for every amount, by each way of joining costs.

    Args:
        amounts: of each curve: what its parameter has.
    """

    def __init__(self, prediction: Prediction, amounts: list[float], measure: Measure | None) -> None:
        self._prediction = prediction
        self._measure = measure
        self._total = sum(amounts)
        self._gains = [curve.realised * amount for curve, amount in zip(prediction.curves, amounts, strict=True)]
        joints = prediction.joints if measure else prediction.joints[:1]
        self._frontiers = {joint: self._frontier(joint) for joint in joints}

    def _frontier(self, joint: Joint) -> Frontier:
        curves = self._prediction.curves
        return Frontier([Choices(gain, joint.weight(one.costs)) for gain, one in zip(self._gains, curves, strict=True)])

    def reaching(self, target: float, unit: str) -> _Found:
        """The least cost for an amount."""
        most = min(frontier.most for frontier in self._frontiers.values())
        if target * self._total > most:
            raise SchedEngineError(
                f"a target of {target:g}: the levels of this sweep remove at most {most / self._total:.4f} of the "
                f"{unit}; sweep higher levels, or ask for less"
            )
        found = [self._judged(one.at_least(target * self._total), joint) for joint, one in self._frontiers.items()]
        return min(found, key=lambda one: one.loss)

    def within(self, budget: float) -> _Found:
        """The largest amount for a loss."""
        found = [self._largest(frontier, joint, budget) for joint, frontier in self._frontiers.items()]
        return max(found, key=self._removed)

    def _largest(self, frontier: Frontier, joint: Joint, budget: float) -> _Found:
        low, high = 0, _STEPS + 1
        best = self._judged(frontier.at_least(0.0), joint)
        while high - low > 1:
            middle = (low + high) // 2
            tried = self._judged(frontier.at_least(frontier.most * middle / _STEPS), joint)
            if tried.loss <= budget:
                low, best = middle, tried
            else:
                high = middle
        return best

    def _removed(self, found: _Found) -> float:
        return float(sum(gains[place] for gains, place in zip(self._gains, found.chosen, strict=True)))

    def _judged(self, chosen: list[int], joint: Joint) -> _Found:
        measured = self._measure(levels_of(self._prediction.curves, chosen)) if self._measure else None
        return _Found(chosen, self._prediction.points(chosen), measured, joint)


def levels_of(curves: tuple[Curve, ...], chosen: list[int]) -> dict[str, float]:
    """Parameter -> level, without those that keep all."""
    return {one.name: float(one.levels[place]) for one, place in zip(curves, chosen, strict=True) if place}


def _suggestion(rows: pd.DataFrame, prediction: Prediction, found: _Found, asked: str) -> Suggestion:
    realised = np.array([one.realised[place] for one, place in zip(prediction.curves, found.chosen, strict=True)])
    first = rows.drop_duplicates("parameter").set_index("parameter")
    own = first.loc[[one.name for one in prediction.curves]]
    weights, macs = own["weights"].to_numpy(dtype=float), own["macs"].to_numpy(dtype=float)
    before = dense(rows)
    images = f"{before['samples']:,.0f}" if math.isfinite(before["samples"]) else ""
    return Suggestion(
        levels=levels_of(prediction.curves, found.chosen),
        asked=asked,
        weights=float(weights.sum()),
        removed=float(np.round(weights * realised).sum()),
        macs=float(macs.sum()),
        macs_left=float((macs * (1 - realised)).sum()),
        predicted=found.predicted,
        measured=found.measured,
        how=_how(prediction, found),
        sizes=dict(zip(own.index.astype(str), weights.tolist())),
        sweep={"granularity": before["granularity"], "criterion": before["criterion"], "images": images},
    )


def _how(prediction: Prediction, found: _Found) -> str:
    if prediction.kind == "drop":
        return "From points lost by each parameter alone, added up: the sweep has no losses on the same images for all."
    return (
        "It is the lower if rises of the loss add up, the higher if they compound; points lost at such a loss are read "
        f"off the sweep's own cells. Levels are chosen as if {found.joint.name}."
    )


def _points(predicted: tuple[float, float]) -> str:
    """A range in words."""
    low, high = predicted
    if math.isinf(low):
        return "more than any cell of the sweep lost"
    if math.isinf(high):
        return f"{low:.2f}, or more than any cell of the sweep lost"
    return f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}"


def _amounts(rows: pd.DataFrame, curves: tuple[Curve, ...], by: By) -> list[float]:
    first = rows.drop_duplicates("parameter").set_index("parameter")[by]
    unknown = [one.name for one in curves if not math.isfinite(first[one.name])]
    if unknown:
        raise SchedEngineError(f"{unknown[0]}: its {_WORDS[by]} are not known; give the model, and for "
                               "multiply-accumulates an input, so that they can be counted")  # fmt: skip
    return [float(first[one.name]) for one in curves]


def _check(drop: float | None, target: float | None) -> None:
    if (drop is None) == (target is None):
        raise SchedEngineError("give one of a drop (points of accuracy) and a target (fraction removed)")
    if drop is not None and not 0 <= drop < 100:
        raise SchedEngineError(f"a drop of {drop:g}; it is the points of top-1 that may be lost, in [0, 100)")
    if target is not None and not 0 < target < 1:
        raise SchedEngineError(f"a target of {target:g}; it is the fraction to remove, in (0, 1)")
