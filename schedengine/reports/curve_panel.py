"""One panel of curves with bands, what its axes count, and the words below a picture that say what is drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from schedengine.reports.canvas import GREY, axis_label, style
from schedengine.reports.curves import Curve

_OF_A_RUN = {
    "top1": "validation top-1 (%)",
    "top5": "validation top-5 (%)",
    "sparsity": "sparsity of selected weights (fraction)",
    "sparsity_all": "sparsity of all prunable weights (fraction)",
}
"""What these columns count in a run's metrics.csv; in other tables they may count something else."""
_BAND = "Line: mean of n runs that differ only by seed; band: from the smallest to the largest."
_SINGLES = "Thin lines: single runs, where the runs of a group do not all have the same x."
_LAST = "Where a run has several rows at one x, the last one counts."
_MOST_MARKERS = 20
_LETTERS_HIGH = 28
"""Longer words beside an axis are broken: a small panel is not higher."""


@dataclass(frozen=True)
class Drawn:
    """A curve as a panel shows it.

    Args:
        curve: its points.
        name: what the picture calls it.
        number: of its colour, line and marker.
    """

    curve: Curve
    name: str
    number: int


def draw_curves(axes: Axes, drawn: Iterable[Drawn]) -> None:
    """Draw means as lines and ranges as bands; runs one by one, thin, where they do not share their x."""
    for one in drawn:
        look, points = style(one.number), one.curve.points
        names = iter(["_"] if len(points) else [one.name])
        for single in sorted(one.curve.singles, key=lambda values: -values.index.max()):  # the longest has the name
            axes.plot(single.index, single, **{**look, "marker": "", "linewidth": 0.7}, label=next(names, "_"))
        if points.empty:
            continue
        step = math.ceil(len(points) / _MOST_MARKERS)
        axes.plot(points.index, points["mean"], **look, label=one.name, markevery=step)
        if one.curve.runs > 1:
            axes.fill_between(points.index, points["low"], points["high"], color=look["color"], alpha=0.2, linewidth=0)


def label_axes(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    """Say what the axes count, and in what unit; epochs are whole numbers."""
    of_a_run = _OF_A_RUN if "train_loss" in rows else {}
    axes.set_xlabel(of_a_run.get(x, axis_label(x)), parse_math=False)
    axes.set_ylabel(textwrap.fill(of_a_run.get(y, axis_label(y)), _LETTERS_HIGH), parse_math=False)
    if x == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def with_runs(name: str, runs: int) -> str:
    """A group's name, and how many runs are behind it.

    Example:
        >>> with_runs("agp", 3), with_runs("agp", 1)
        ('agp (n = 3)', 'agp')
    """
    return f"{name} (n = {runs})" if runs > 1 else name


def write_caption(picture: Figure, rows: pd.DataFrame, found: Iterable[Curve], *more: str) -> None:
    """Say below a picture what lines and bands are, which rows count, and which runs are not finished."""
    shown = list(found)
    said = [
        _BAND if any(curve.runs > 1 and len(curve.points) for curve in shown) else "",
        _SINGLES if any(curve.singles for curve in shown) else "",
        _LAST if any(curve.repeated for curve in shown) else "",
        *more,
        _unfinished(rows),
    ]
    words = " ".join(filter(None, said))
    if words:
        letters = int(picture.get_figwidth() * 22)  # of 6 points, that fit
        text = textwrap.fill(words, letters)
        picture.supxlabel(text, x=0.01, ha="left", fontsize=6, color=GREY, parse_math=False)


def _unfinished(rows: pd.DataFrame) -> str:
    if "finished" not in rows:
        return ""
    names = rows.loc[~rows["finished"].astype(bool), "run"].unique()
    return f"Not finished: {', '.join(map(str, names))}." if len(names) else ""
