"""One panel of curves with bands, what its axes count, and the words below a picture that say what is drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from schedengine.reports.canvas import GREY, axis_label, style
from schedengine.reports.curves import Curve, ReplicaLine

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
_AVERAGES = "Rings: averages of replicas after the last epoch of a phase; the line joins them to what was before."
_REPLICAS = "Faint lines and dots: replicas, one by one."
_RING: dict[str, Any] = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "markeredgewidth": 1.2}
_FAINT: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.55, "zorder": 1.5}
_DOT: dict[str, Any] = {"marker": "o", "markersize": 2.5, "markeredgewidth": 0}
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
    """Draw means as lines and ranges as bands; runs one by one, thin, where they do not share their x.

    Averages of replicas are rings.
    """
    for one in drawn:
        look, points = style(one.number), one.curve.points
        names = iter(["_"] if len(points) else [one.name])
        for single in sorted(one.curve.singles, key=lambda values: -values.index.max()):  # the longest has the name
            axes.plot(single.index, single, **{**look, "marker": "", "linewidth": 0.7}, label=next(names, "_"))
            _draw_averages(axes, single, one, 4)
        if points.empty:
            continue
        step = math.ceil(len(points) / _MOST_MARKERS)
        axes.plot(points.index, points["mean"], **look, label=one.name, markevery=step)
        _draw_averages(axes, points["mean"], one, 6)
        if one.curve.runs > 1:
            axes.fill_between(points.index, points["low"], points["high"], color=look["color"], alpha=0.2, linewidth=0)


def _draw_averages(axes: Axes, values: pd.Series, one: Drawn, size: float) -> None:
    spots = values[values.index.isin(one.curve.averages)]
    if len(spots):
        look = {**_RING, "markersize": size, "color": style(one.number)["color"], "linestyle": "", "zorder": 3}
        axes.plot(spots.index, spots, **look, label="_")


def draw_replicas(
    axes: Axes, lines: Iterable[ReplicaLine], numbers: Mapping[str, int], names: Mapping[str, str]
) -> None:
    """Draw replicas as thin, faint lines; one of a single point as a dot.

    Args:
        axes: the panel.
        lines: of ``replica_lines``; those of other groups are left out.
        numbers: group -> of its colour.
        names: group -> what the picture calls it, for those that have no curve with a name.
    """
    unnamed = dict(names)
    for line in sorted(lines, key=lambda line: -line.values.index.max()):  # the one that ends last has the name
        if line.group in numbers:
            dot = _DOT if len(line.values) == 1 else {}
            look = {**_FAINT, **dot, "color": style(numbers[line.group])["color"]}
            axes.plot(line.values.index, line.values, **look, label=unnamed.pop(line.group, "_"))


def unnamed(told: pd.DataFrame, found: Iterable[Curve], lines: Iterable[ReplicaLine]) -> dict[str, str]:
    """Group -> its name, for groups that have replicas and no curve yet, in order.

    Args:
        told: of ``with_replicas``.
    """
    named = {curve.group for curve in found}
    groups = dict.fromkeys(line.group for line in lines if line.group not in named)
    return {group: with_runs(group, told.loc[told["group"] == group, "run"].nunique()) for group in groups}


def replica_legend(found: Iterable[Curve], lines: Sequence[ReplicaLine]) -> dict[str, Line2D]:
    """What a legend says of averages and replicas, whatever their colours; nothing where there are none."""
    ring = Line2D([], [], color=GREY, linestyle="", **_RING)
    entries = {"average of replicas (soup)": ring} if any(curve.averages for curve in found) else {}
    return {**entries, "replica": Line2D([], [], color=GREY, **_FAINT)} if lines else entries


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


def write_caption(
    picture: Figure, rows: pd.DataFrame, found: Iterable[Curve], *more: str, replicas: Sequence[ReplicaLine] = ()
) -> None:
    """Say below a picture what lines and bands are, which rows count, and which runs are not finished."""
    shown = list(found)
    said = [
        _BAND if any(curve.runs > 1 and len(curve.points) for curve in shown) else "",
        _SINGLES if any(curve.singles for curve in shown) else "",
        _AVERAGES if any(curve.averages for curve in shown) else "",
        _REPLICAS if replicas else "",
        _LAST if any(curve.repeated for curve in shown) or any(line.repeated for line in replicas) else "",
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
