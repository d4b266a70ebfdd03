"""The picture of a plan: phases, sparsity, learning rate and penalty strengths on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schedengine.reports.canvas import GREY, figure, label_ends, look, style

PANELS = {
    "sparsity": ("sparsity", "target sparsity\n(fraction of a pruner's weights)"),
    "lr": ("learning rate", "learning rate\n(first parameter group)"),
    "strength": ("strength", "strength of\nregularizers"),
}
_BAND = 0.22
_LETTERS = 90
"""How many letters of a phase's name fit into the width of the picture."""
_MARKED = 60
"""Cuts of one pruner that are marked one by one; more would hide the curve."""

_NAMED = 20
"""Marked moments that are named; the words of more would run into each other."""

Bands = Sequence[tuple[str, int, int, int]]
Marks = Sequence[tuple[float, str]]


@look()
def draw_plan(curves: pandas.DataFrame, bands: Bands, epochs: int, marks: Marks = ()) -> Figure:
    """Draw what a schedule will do.

    Args:
        curves: ``epoch``, ``kind`` (sparsity, lr, strength), ``name``, ``value``, as in ``Plan.curves``.
        bands: phases: name, first epoch, end, depth in the nesting of groups.
        epochs: length of the run.
        marks: moments to point out: epoch, and a word.
    """
    kinds = [kind for kind in PANELS if (curves["kind"] == kind).any()] or ["sparsity"]
    depth = max((band[3] for band in bands), default=-1) + 1
    heights = [_BAND * depth] * bool(bands) + [1.9] * len(kinds)
    picture = figure(6.5, sum(heights) + 0.7)
    grid = picture.add_gridspec(len(heights), 1, height_ratios=heights)
    panels = [picture.add_subplot(grid[row]) for row in range(len(heights))]
    if bands:
        _draw_bands(panels[0], bands, depth, epochs)
    for kind, axes in zip(kinds, panels[bool(bands) :]):
        _draw_curves(axes, curves[curves["kind"] == kind], kind, epochs)
        for _, start, _, _ in bands:
            axes.axvline(start, color="#BBBBBB", linewidth=0.5, zorder=0)
        for epoch, _ in marks:
            axes.axvline(epoch, color=GREY, linewidth=0.9, linestyle=":", zorder=0)
    for axes in panels:
        axes.set_xlim(0, epochs)
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    panels[-1].set_xlabel("epochs since the start of the run")
    _name_marks(panels[bool(bands)], marks, epochs)
    picture.align_ylabels(panels)
    for axes in panels[bool(bands) :]:
        label_ends(axes)
    return picture


def _name_marks(axes: Axes, marks: Marks, epochs: int) -> None:
    """Each word along its line, where the lines leave room for words."""
    words: dict[float, str] = {}
    for epoch, word in marks:
        words[epoch] = f"{words[epoch]}, {word}" if epoch in words else word
    for epoch, word in words.items() if len(words) <= _NAMED else ():
        gap = 8 if epoch < epochs / 40 else -1  # no room to the left of the first line
        style_of: Any = {"ha": "right", "va": "bottom", "rotation": 90, "fontsize": 7, "color": GREY}
        across = axes.get_xaxis_transform()
        axes.annotate(word, (epoch, 0.03), (gap, 0), xycoords=across, textcoords="offset points", **style_of)


def _draw_bands(axes: Axes, bands: Bands, depth: int, epochs: int) -> None:
    for number, (name, start, stop, level) in enumerate(bands):
        bottom = depth - 1 - level
        shade = "#E4E4E4" if number % 2 else "#F4F4F4"
        axes.broken_barh([(start, stop - start)], (bottom, 1), facecolor=shade, edgecolor=GREY, linewidth=0.5)
        if (stop - start) / epochs * _LETTERS >= len(name):
            axes.text((start + stop) / 2, bottom + 0.48, name, ha="center", va="center", fontsize=7, parse_math=False)
    axes.set_ylim(0, depth)
    axes.set_axis_off()


def _draw_curves(axes: Axes, curves: pandas.DataFrame, kind: str, epochs: int) -> None:
    for number, (name, points) in enumerate(curves.groupby("name", sort=False)):
        x, y = list(points["epoch"]), list(points["value"])
        look_of = style(number)
        if kind == "sparsity":
            cuts = len(x)
            # A target holds until the next cut, and before the first nothing is gone.
            x, y = [0.0, *x, float(epochs)], [0.0, *y, y[-1]]
            marked = range(1, cuts + 1) if cuts <= _MARKED else []
            axes.step(x, y, where="post", label=str(name), markevery=list(marked), **look_of)
        else:
            label = "_only" if kind == "lr" else str(name)
            axes.plot(x, y, label=label, **{**look_of, "marker": ""})
    axes.set_ylim(0, 1.02 if kind == "sparsity" else None)
    if kind != "sparsity":
        axes.ticklabel_format(axis="y", scilimits=(-3, 3), useMathText=True)
    axes.set_ylabel(PANELS[kind][1])
