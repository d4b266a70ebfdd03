"""Any column over any other, as one panel or, beyond twelve curves, several."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from schedengine.reports.canvas import grid, label_ends, look
from schedengine.reports.curve_panel import Drawn, draw_curves, label_axes, with_runs, write_caption
from schedengine.reports.curves import Curve, curves
from schedengine.reports.stages import short_names, stages

_MOST = 12
"""Curves in a panel; more cannot be told apart."""
_WIDTH = 6.5
Panel = tuple[str, list[Drawn]]


@look()
def draw_columns(rows: pd.DataFrame, x: str, y: str, *, by: Sequence[str] | None = None) -> Figure:
    """One column over another: a curve for each group of runs, and for each parameter or value of ``by``.

    More than twelve curves get several panels, those of parameters by the stages of the network.

    Args:
        rows: of ``read_runs``, or any table.
        x: column of numbers. Of several rows of a run at one x the last counts.
        y: column of numbers.
        by: columns that tell curves of a group apart; None: ``parameter``, else all columns of text.

    Raises:
        SchedEngineError: no such column, a column of text, or no row with both.
    """
    rows = rows if "group" in rows else rows.assign(run="", group="")
    found = curves(rows, x, y, by)
    parts = _panels(found)
    size = (_WIDTH, 3.4) if len(parts) == 1 else (_WIDTH / 2, 2.6)
    picture, panels = grid(len(parts), columns=2, panel=size, share_x=True, share_y=True)
    for axes, (title, drawn) in zip(panels, parts):
        draw_curves(axes, drawn)
        label_axes(axes, rows, x, y)
        axes.set_title(title, parse_math=False)
        axes.tick_params(labelbottom=True, labelleft=True)
    write_caption(picture, rows, found)
    for axes in panels:
        label_ends(axes, size=7 if len(parts) == 1 else 6)
    return picture


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
