"""Parameters by time or level, as colours: what can still be read with fifty layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from schedengine.reports.canvas import SEQUENTIAL

ROW = 0.1
"""Inches a row needs for its name."""


def heat_map(
    axes: Axes,
    table: pd.DataFrame,
    *,
    names: Sequence[str],
    limits: tuple[float, float],
    colors: str = SEQUENTIAL,
    last: str = "",
) -> QuadMesh:
    """Draw a table as colours, its first row on top; what is missing stays white.

    Args:
        axes: the panel; about ``ROW`` inches high for each row.
        table: (rows, columns) of numbers; its columns are numbers, even steps apart.
        names: of the rows.
        limits: values of the first and the last colour.
        colors: the colour map.
        last: how to print the values of the last column beside it (``"{:.2f}"``); "" for not at all.

    Returns:
        What a colour bar is made for.
    """
    rows = range(len(table))
    mesh = axes.pcolormesh(
        table.columns.to_numpy(dtype=float),
        rows,
        table.to_numpy(dtype=float),
        shading="nearest",
        cmap=colors,
        vmin=limits[0],
        vmax=limits[1],
        rasterized=True,  # viewers draw hairlines between vector cells
    )
    axes.grid(visible=False)
    axes.set_ylim(len(table) - 0.5, -0.5)
    axes.set_yticks(rows, names, fontsize=5.5, parse_math=False)
    axes.tick_params(axis="y", length=0)
    for row, value in enumerate(table.iloc[:, -1] if last else ()):
        if math.isfinite(value):
            place = axes.get_yaxis_transform()
            axes.text(1.01, row, last.format(value), transform=place, fontsize=5.5, verticalalignment="center")
    return mesh
