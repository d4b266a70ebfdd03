"""The overview of runs: what became of accuracy, losses, learning rate and sparsity, as a whole and by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from schedengine.errors import SchedEngineError
from schedengine.reports import layer_panels
from schedengine.reports.canvas import figure, label_ends, look
from schedengine.reports.column_figure import draw_columns
from schedengine.reports.curve_panel import Drawn, draw_curves, label_axes, with_runs, write_caption
from schedengine.reports.curves import Curve, curves, distinguishing, is_numbers

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
def draw_runs(rows: pd.DataFrame, layers: pd.DataFrame | None = None) -> Figure:
    """An overview: accuracy over sparsity; over the epochs accuracy, losses, learning rate and sparsity.

    Below, the sparsity of each parameter over the epochs: curves up to twelve, colours beyond. Panels without columns
    are left out.

    Args:
        rows: of ``read_runs``. A table with a column ``parameter``, or of text, has one picture: the sparsity of layers
            over epochs, or the first two columns of ``PANELS`` that it has (a sensitivity analysis).
        layers: of ``read_layers``; None or empty for none.

    Raises:
        SchedEngineError: there is nothing that an overview could show.
    """
    shown = [(x, y) for x, y in PANELS if _is_there(rows, x, y)]
    telling = distinguishing(rows)
    if telling and (rows.groupby("run")[telling].count() == 0).any(axis=None):
        raise SchedEngineError("runs and tables of other kinds share no overview; give one kind, or --x and --y")
    if telling:
        return _draw_table(rows, shown)
    if not shown and (layers is None or layers.empty):
        raise _nothing(rows)
    return _overview(rows, shown, layers)


def _draw_table(rows: pd.DataFrame, shown: Sequence[tuple[str, str]]) -> Figure:
    if "parameter" in rows and _is_there(rows, "epoch", "sparsity"):
        return _overview(rows, [], rows)
    if not shown:
        raise _nothing(rows)
    return draw_columns(rows, *shown[0])


def _nothing(rows: pd.DataFrame) -> SchedEngineError:
    if rows.empty:
        return SchedEngineError("no epoch is finished yet; there is nothing to draw")
    columns = ", ".join(map(str, rows.columns))
    return SchedEngineError(f"nothing that an overview shows; say with --x and --y what to draw; columns: {columns}")


def _is_there(rows: pd.DataFrame, x: str, y: str) -> bool:
    if x not in rows or y not in rows or not (is_numbers(rows[x]) and is_numbers(rows[y])):
        return False
    return bool(rows[[x, y]].notna().all(axis="columns").any())


def _overview(rows: pd.DataFrame, shown: Sequence[tuple[str, str]], layers: pd.DataFrame | None) -> Figure:
    found = [curves(rows, x, y, by=()) for x, y in shown]
    groups = [] if layers is None or layers.empty else list(layers.groupby("group", sort=False))
    left_out = _LEFT_OUT * (len(groups) > _MOST_LAYERS and bool(shown))
    groups = [] if left_out else groups
    tables = [layer_panels.layer_table(part) for _, part in groups]
    titles = [f"Layers, {with_runs(str(name), part['run'].nunique())}" for name, part in groups]
    pairs = [slice(start, start + 2) for start in range(0, len(groups), 2)]
    heights = [_top_height(rows, len(shown))] if shown else []
    heights += [max(map(layer_panels.height, tables[pair])) for pair in pairs]

    picture = figure(_WIDTH, sum(heights) + _CAPTION)
    parts = list(picture.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    if shown:
        _draw_panels(parts[0], rows, shown, found)
    labelled: list[Axes] = []
    for part, pair in zip(parts[bool(shown) :], pairs):
        labelled += layer_panels.draw_layers(part, tables[pair], titles[pair], columns=min(2, len(groups)))
    mean = _MEAN * any(part["run"].nunique() > 1 for _, part in groups)
    numbers = _NUMBERS * any(layer_panels.is_coloured(table) for table in tables)
    write_caption(picture, rows, [curve for panel in found for curve in panel], mean, numbers, left_out)
    for axes in labelled:
        label_ends(axes, size=6)
    return picture


def _top_height(rows: pd.DataFrame, panels: int) -> float:
    legend = math.ceil(rows["group"].nunique() / _legend_columns(list(rows["group"].unique()))) * _LEGEND_ROW
    return math.ceil(panels / 2) * _PANEL_HEIGHT + legend


def _legend_columns(names: Sequence[str]) -> int:
    """As many as fit the width, with a line and (n = 3) each."""
    return max(1, int(_WIDTH / (0.65 + 0.06 * max(len(name) for name in names))))


def _draw_panels(
    part: SubFigure, rows: pd.DataFrame, shown: Sequence[tuple[str, str]], found: Sequence[Sequence[Curve]]
) -> None:
    panels = list(part.subplots(math.ceil(len(shown) / 2), min(2, len(shown)), squeeze=False).flat)
    for spare in panels[len(shown) :]:
        spare.remove()
    numbers = {name: number for number, name in enumerate(rows["group"].unique())}
    handles: dict[str, Line2D] = {}
    for axes, (x, y), several in zip(panels, shown, found):
        draw_curves(axes, [Drawn(one, with_runs(one.group, one.runs), numbers[one.group]) for one in several])
        label_axes(axes, rows, x, y)
        for line in axes.get_lines():
            name = str(line.get_label())
            if not name.startswith("_") and (
                name not in handles or line.get_linewidth() > handles[name].get_linewidth()
            ):
                handles[name] = line  # a mean, rather than a single run
    columns = _legend_columns(list(numbers))
    part.legend(handles.values(), handles, loc="outside upper left", ncols=columns)
