"""How much each parameter can lose: accuracy lost by parameter and level as colours, and as curves stage by stage."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from schedengine.reports.canvas import GREY, figure, grid, label_ends, look, style
from schedengine.reports.heat_map import ROW, heat_map
from schedengine.reports.sensitivity_table import dense, filled, network_curves, parameters
from schedengine.reports.sensitivity_table import grid as cells
from schedengine.reports.stages import short_names, stages

CLIP = 20.0
"""Points of accuracy that get the last colour, unless nothing loses as much."""
_LOST = "top-1 lost (points)"
_ASKED = "level: fraction of the parameter asked to go"
_MOST = 6
"""Curves in a panel of a stage."""
_TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)


@look()
def draw_sensitivity(frame: pd.DataFrame, *, clip: float = CLIP) -> Figure:
    """Draw a sweep as one heat map, and the whole network's curves, if it has any, below.

    Args:
        frame: as for ``filled``.
        clip: points of top-1 that get the last colour; what loses more looks the same.

    Raises:
        SchedEngineError: as for ``filled``.
    """
    rows = filled(frame)
    names, whole = parameters(rows), network_curves(rows)
    heights = [0.9 + 1.1 * ROW * len(names), *([2.3] if whole else [])]
    picture = figure(6.5, max(2.2, sum(heights) + 0.4))
    parts = picture.add_gridspec(len(heights), 1, height_ratios=heights)
    _draw_map(picture.add_subplot(parts[0]), rows, names, clip)
    picture.suptitle(_title(rows), x=0.01, ha="left", parse_math=False)
    _write_below(picture, rows, has_map=True)
    if whole:
        axes = picture.add_subplot(parts[1])
        _draw_network(axes, whole)
        label_ends(axes)
    return picture


@look()
def draw_sensitivity_curves(frame: pd.DataFrame) -> Figure:
    """Draw a sweep as curves, a panel for every few parameters of a stage of the network.

    Args:
        frame: as for ``filled``.

    Raises:
        SchedEngineError: as for ``filled``.
    """
    rows = filled(frame)
    names = parameters(rows)
    short = dict(zip(names, short_names(names)))
    parts = stages(names, _MOST)
    picture, panels = grid(len(parts), columns=2, panel=(3.25, 2.1), share_x=True, share_y=True)
    for axes, part in zip(panels, parts):
        for number, name in enumerate(part):
            own = rows[rows["parameter"] == name].sort_values("sparsity")
            _draw_curve(axes, own, number, short[name])
        _scale(axes)
        axes.tick_params(labelleft=True)
    for axes in panels[-2:]:
        axes.set_xlabel(_ASKED)
    for axes in panels[::2]:
        axes.set_ylabel(_LOST)
    picture.suptitle(_title(rows), x=0.01, ha="left", parse_math=False)
    _write_below(picture, rows, has_map=False)
    for axes in panels:
        label_ends(axes, size=6)
    return picture


def _draw_map(axes: Axes, rows: pd.DataFrame, names: list[str], clip: float) -> None:
    lost = cells(rows, "drop", names)
    top = min(clip, max(1.0, float(np.nanmax(lost.to_numpy(), initial=0.0))))
    by_place = lost.set_axis(pd.Index(range(lost.shape[1])), axis="columns")
    mesh = heat_map(axes, by_place, names=short_names(names), limits=(0.0, top))
    mesh.set_norm(PowerNorm(0.5, 0.0, top))  # half a point and two are what levels are chosen between
    axes.set_xticks(range(lost.shape[1]), [f"{level:g}" for level in lost.columns], fontsize=5.5)
    axes.set_xlabel(_ASKED)
    axes.set_title("Each parameter pruned alone")
    is_cut = bool((lost.to_numpy() > top).any())
    label = f"{_LOST}{f'; {top:g} or more is one colour' if is_cut else ''}"
    bar = axes.figure.colorbar(mesh, ax=axes, label=label, extend="max" if is_cut else "neither", fraction=0.03)
    ticks = [tick for tick in _TICKS if tick <= top]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])
    bar.outline.set_visible(False)
    _mark(axes, cells(rows, "note", names).fillna("").to_numpy() != "", "o", "white", GREY)
    _mark(axes, cells(rows, "nonfinite", names).fillna(0).to_numpy() > 0, "x", GREY, GREY)


def _mark(axes: Axes, where: np.ndarray, marker: str, face: str, edge: str) -> None:
    y, x = np.nonzero(where)
    if len(x):
        axes.plot(x, y, marker, markersize=2.6, markeredgewidth=0.6, markerfacecolor=face, markeredgecolor=edge)


def _draw_network(axes: Axes, whole: dict[str, pd.DataFrame]) -> None:
    for number, (allocation, part) in enumerate(whole.items()):
        _draw_curve(axes, part, number, allocation or "whole network")
    axes.set(xlabel="level: fraction of all weights asked to go", ylabel=_LOST)
    axes.set_title("The whole network pruned, shared among the parameters by allocation")
    _scale(axes)


def _scale(axes: Axes) -> None:
    """Linear up to a point, then by powers: half a point must be seen beside sixty."""
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.8)
    axes.yaxis.set_major_locator(FixedLocator([-1, 0, 1, 2, 5, 10, 20, 50]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.set_ylim(bottom=min(axes.get_ylim()[0], -0.2), top=100)


def _draw_curve(axes: Axes, part: pd.DataFrame, number: int, name: str) -> None:
    kind = style(number)
    axes.plot(part["sparsity"], part["drop"], **kind, markevery=max(1, len(part) // 8), label=name)
    if (part["drop_high"] > part["drop_low"]).any():
        axes.fill_between(part["sparsity"], part["drop_low"], part["drop_high"], color=kind["color"], alpha=0.15, lw=0)


def _title(rows: pd.DataFrame) -> str:
    before = dense(rows)
    said = [f"dense top-1 {before['top1']:.2f} %"]
    if math.isfinite(before["samples"]):
        said.append(f"{int(before['samples']):,} images")
    said += [f"{name} {before[name]}" for name in ("granularity", "criterion") if before[name]]
    return textwrap.fill(f"Sensitivity: {', '.join(said)}", 85)


def _write_below(picture: Figure, rows: pd.DataFrame, *, has_map: bool) -> None:
    """Say what marks and bands are, and what is not to be read off the picture."""
    said = []
    pruned = rows[rows["parameter"] != "*"]
    if has_map and (pruned["note"] != "").any():
        said.append("○: not the level asked; the table's note says why.")
    if has_map and (pruned["nonfinite"] > 0).any():
        said.append("x: scores that are not finite, so no accuracy.")
    if (rows["drop_high"] > rows["drop_low"]).any():
        said.append("Bands: 95 % bounds for all the images given (colours have none).")
    if has_map and (rows["drop"] < 0).any():
        said.append("What gains accuracy has the first colour.")
    if said:
        picture.supxlabel(textwrap.fill(" ".join(said), 130), x=0.01, ha="left", fontsize=6, color=GREY)
