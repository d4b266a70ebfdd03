"""Any column over any other, as one panel or, beyond twelve curves, several."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from schedengine.reports.canvas import grid, label_ends, look
from schedengine.reports.curve_panel import (
    Drawn,
    draw_curves,
    draw_replicas,
    label_axes,
    replica_legend,
    unnamed,
    with_runs,
    write_caption,
)
from schedengine.reports.curves import Curve, curves, is_there, replica_lines, with_replicas
from schedengine.reports.stages import short_names, stages

_MOST = 12
"""Curves in a panel; more cannot be told apart."""
_WIDTH = 6.5
Panel = tuple[str, list[Drawn]]


@look()
def draw_columns(
    rows: pd.DataFrame, x: str, y: str, *, by: Sequence[str] | None = None, replicas: pd.DataFrame | None = None
) -> Figure:
    """One column over another: a curve for each group of runs, and for each parameter or value of ``by``.

    More than twelve curves get several panels, those of parameters by the stages of the network.

    Args:
        rows: of ``read_runs``, or any table.
        x: column of numbers. Of several rows of a run at one x the last counts.
        y: column of numbers.
        by: columns that tell curves of a group apart; None: ``parameter``, else all columns of text.
        replicas: of ``read_replicas``, drawn beside the curves of groups; left out where a group has several.

    Raises:
        SchedEngineError: no such column, a column of text, or no row with both.
    """
    rows = rows if "group" in rows or rows.empty else rows.assign(run="", group="")
    lines = [] if replicas is None else replica_lines(replicas, x, y)
    told = with_replicas(rows, replicas)
    found = curves(rows, x, y, by) if is_there(rows, x, y) or not lines else []
    if any(curve.label for curve in found):
        lines = []
    parts = _panels(found) if found else [("", [])]
    names = unnamed(told, found, lines)
    size = (_WIDTH, 3.4) if len(parts) == 1 else (_WIDTH / 2, 2.6)
    picture, panels = grid(len(parts), columns=2, panel=size, share_x=True, share_y=True)
    for axes, (title, drawn) in zip(panels, parts):
        draw_curves(axes, drawn)
        draw_replicas(axes, lines, _numbers(drawn, names), names)
        label_axes(axes, told, x, y)
        axes.set_title(title, parse_math=False)
        axes.tick_params(labelbottom=True, labelleft=True)
    legend = replica_legend(found, lines)
    if legend:
        picture.legend(legend.values(), legend, loc="outside upper left", ncols=2)
    write_caption(picture, told, found, replicas=lines)
    for axes in panels:
        label_ends(axes, size=7 if len(parts) == 1 else 6)
    return picture


def _numbers(drawn: Sequence[Drawn], more: Iterable[str]) -> dict[str, int]:
    """Group -> number of its colour."""
    numbers = {one.curve.group: one.number for one in drawn}
    return numbers | {group: number for number, group in enumerate(more, start=len(drawn))}


def _panels(found: Sequence[Curve]) -> list[Panel]:
    """A panel for all; else one for each stage of each group; else for every twelve groups."""
    groups = list(dict.fromkeys(curve.group for curve in found))
    is_labelled = any(curve.label for curve in found)
    if not is_labelled or len(found) <= _MOST:
        names = [_name(curve, len(groups), is_labelled) for curve in found]
        pieces = range(0, len(found), _MOST)
        return [("", _drawn(found[start : start + _MOST], names[start : start + _MOST])) for start in pieces]
    return [panel for group in groups for panel in _stages([one for one in found if one.group == group], len(groups))]


def _name(curve: Curve, groups: int, is_labelled: bool) -> str:
    group = with_runs(curve.group, curve.runs)
    if not is_labelled:
        return group
    return f"{group} · {curve.label}" if groups > 1 else with_runs(curve.label, curve.runs)


def _stages(found: Sequence[Curve], groups: int) -> list[Panel]:
    labels = [curve.label for curve in found]
    short = dict(zip(labels, short_names(labels)))
    curve_of = dict(zip(labels, found))
    title = with_runs(found[0].group, found[0].runs) if groups > 1 else ""
    return [
        (title, _drawn([curve_of[label] for label in part], [short[label] for label in part]))
        for part in stages(labels, _MOST)
    ]


def _drawn(found: Sequence[Curve], names: Sequence[str]) -> list[Drawn]:
    return [Drawn(curve, name, number) for number, (curve, name) in enumerate(zip(found, names))]
