"""The overview of runs: what became of accuracy, losses, learning rate and sparsity, as a whole and by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from schedengine.errors import SchedEngineError
from schedengine.reports import layer_panels
from schedengine.reports.canvas import figure, label_ends, look
from schedengine.reports.column_figure import draw_columns
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
from schedengine.reports.curves import (
    Curve,
    ReplicaLine,
    curves,
    distinguishing,
    is_there,
    replica_lines,
    with_replicas,
)

PANELS = (
    ("sparsity", "top1"),
    ("epoch", "top1"),
    ("epoch", "train_loss"),
    ("epoch", "val_loss"),
    ("epoch", "lr"),
    ("epoch", "sparsity"),
)
"""What the overview shows, where the columns are there: (x, y)."""
_WIDTH, _PANEL_HEIGHT = 6.5, 1.95
_CAPTION, _LEGEND_ROW = 0.4, 0.16
_MOST_LAYERS = 6
_LEFT_OUT = f"Layers are left out for more than {_MOST_LAYERS} groups of runs; draw fewer to see them."
_NUMBERS = "Numbers beside colours: at the last epoch shown."
_MEAN = "Layers: the mean over a group's runs, at the epochs that all of them have."


@look()
def draw_runs(rows: pd.DataFrame, layers: pd.DataFrame | None = None, replicas: pd.DataFrame | None = None) -> Figure:
    """An overview: accuracy over sparsity; over the epochs accuracy, losses, learning rate and sparsity.

    Below, the sparsity of each parameter over the epochs: curves up to twelve, colours beyond. Panels without columns
    are left out.

    Args:
        rows: of ``read_runs``. A table with a column ``parameter``, or of text, has one picture: the sparsity of layers
            over epochs, or the first two columns of ``PANELS`` that it has (a sensitivity analysis).
        layers: of ``read_layers``; None or empty for none.
        replicas: of ``read_replicas``; None or empty for none.

    Raises:
        SchedEngineError: there is nothing that an overview could show.
    """
    told = with_replicas(rows, replicas)
    shown = [(x, y) for x, y in PANELS if is_there(told, x, y)]
    telling = distinguishing(rows)
    if telling and (rows.groupby("run")[telling].count() == 0).any(axis=None):
        raise SchedEngineError("runs and tables of other kinds share no overview; give one kind, or --x and --y")
    if telling:
        return _draw_table(rows, shown)
    if not shown and (layers is None or layers.empty):
        raise _nothing(rows)
    return _overview(rows, shown, layers, replicas)


def _draw_table(rows: pd.DataFrame, shown: Sequence[tuple[str, str]]) -> Figure:
    if "parameter" in rows and is_there(rows, "epoch", "sparsity"):
        return _overview(rows, [], rows)
    if not shown:
        raise _nothing(rows)
    return draw_columns(rows, *shown[0])


def _nothing(rows: pd.DataFrame) -> SchedEngineError:
    if rows.empty:
        return SchedEngineError("no epoch is finished yet; there is nothing to draw")
    columns = ", ".join(map(str, rows.columns))
    return SchedEngineError(f"nothing that an overview shows; say with --x and --y what to draw; columns: {columns}")


@dataclass(frozen=True)
class _Panel:
    """What is drawn over one another; without curves where only replicas have both columns."""

    x: str
    y: str
    curves: list[Curve]
    lines: list[ReplicaLine]


def _panel(rows: pd.DataFrame, x: str, y: str, replicas: pd.DataFrame | None) -> _Panel:
    found = curves(rows, x, y, by=()) if is_there(rows, x, y) else []
    return _Panel(x, y, found, [] if replicas is None else replica_lines(replicas, x, y))


def _overview(
    rows: pd.DataFrame,
    shown: Sequence[tuple[str, str]],
    layers: pd.DataFrame | None,
    replicas: pd.DataFrame | None = None,
) -> Figure:
    told, panels = with_replicas(rows, replicas), [_panel(rows, x, y, replicas) for x, y in shown]
    found, lines = [one for panel in panels for one in panel.curves], [one for panel in panels for one in panel.lines]
    groups = [] if layers is None or layers.empty else list(layers.groupby("group", sort=False))
    left_out = _LEFT_OUT * (len(groups) > _MOST_LAYERS and bool(shown))
    groups = [] if left_out else groups
    tables = [layer_panels.layer_table(part) for _, part in groups]
    titles = [f"Layers, {with_runs(str(name), part['run'].nunique())}" for name, part in groups]
    pairs = [slice(start, start + 2) for start in range(0, len(groups), 2)]
    words = [*told["group"].unique(), *replica_legend(found, lines)] if shown else []
    heights = [_top_height(words, len(shown))] if shown else []
    heights += [max(map(layer_panels.height, tables[pair])) for pair in pairs]

    picture = figure(_WIDTH, sum(heights) + _CAPTION)
    parts = list(picture.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if shown:
        handles = {**_draw_panels(parts[0], told, panels), **replica_legend(found, lines)}
        parts[0].legend(handles.values(), handles, loc="outside upper left", ncols=_legend_columns(words))
    labelled: list[Axes] = []
    for part, pair in zip(parts[bool(shown) :], pairs):
        labelled += layer_panels.draw_layers(part, tables[pair], titles[pair], columns=min(2, len(groups)))
    mean = _MEAN * any(part["run"].nunique() > 1 for _, part in groups)
    numbers = _NUMBERS * any(layer_panels.is_coloured(table) for table in tables)
    write_caption(picture, told, found, mean, numbers, left_out, replicas=lines)
    for axes in labelled:
        label_ends(axes, size=6)
    return picture


def _top_height(words: Sequence[str], panels: int) -> float:
    return math.ceil(panels / 2) * _PANEL_HEIGHT + math.ceil(len(words) / _legend_columns(words)) * _LEGEND_ROW


def _legend_columns(words: Sequence[str]) -> int:
    """As many as fit the width, with a line and (n = 3) each."""
    return max(1, int(_WIDTH / (0.65 + 0.06 * max(map(len, words)))))


def _draw_panels(part: SubFigure, told: pd.DataFrame, panels: Sequence[_Panel]) -> dict[str, Line2D]:
    """Draw them in two columns; returned is a line for each group's name."""
    places = list(part.subplots(math.ceil(len(panels) / 2), min(2, len(panels)), squeeze=False).flat)
    for spare in places[len(panels) :]:
        spare.remove()
    numbers = {name: number for number, name in enumerate(told["group"].unique())}
    names = unnamed(
        told, [one for panel in panels for one in panel.curves], [one for panel in panels for one in panel.lines]
    )
    handles: dict[str, Line2D] = {}
    for axes, panel in zip(places, panels):
        draw_curves(axes, [Drawn(one, with_runs(one.group, one.runs), numbers[one.group]) for one in panel.curves])
        draw_replicas(axes, panel.lines, numbers, names)
        label_axes(axes, told, panel.x, panel.y)
        for line in axes.get_lines():
            name = str(line.get_label())
            if not name.startswith("_") and (
                name not in handles or line.get_linewidth() > handles[name].get_linewidth()
            ):
                handles[name] = line  # a mean, rather than a single run
    return handles
