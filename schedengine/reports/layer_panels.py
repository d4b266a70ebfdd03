"""The sparsity of each parameter over the epochs: curves up to twelve parameters, colours beyond."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from schedengine.reports.canvas import axis_label, style
from schedengine.reports.heat_map import ROW, heat_map
from schedengine.reports.stages import short_names

_MOST = 12
"""Curves in a panel; more cannot be told apart."""
_COUNTS = "fraction of the parameter's weights that is 0"
_TITLE = 38
"""Letters of a title in half a page's width."""


def layer_table(layers: pd.DataFrame) -> pd.DataFrame:
    """(parameters, epochs): mean sparsity over a group's runs, at the epochs that all of them have.

    Args:
        layers: rows of one group; columns run, epoch, parameter, sparsity.
    """
    layers = layers.dropna(subset=["epoch", "parameter"])
    runs = layers["run"].nunique()
    per_epoch = layers.groupby("epoch")["run"].nunique()
    shared = layers[layers["epoch"].isin(per_epoch.index[per_epoch == runs])]
    table = shared.groupby(["parameter", "epoch"], sort=False)["sparsity"].mean().unstack()
    return table.reindex(index=shared["parameter"].unique()).sort_index(axis="columns")


def is_coloured(table: pd.DataFrame) -> bool:
    """Whether a group has too many parameters for curves."""
    return len(table) > _MOST


def height(table: pd.DataFrame) -> float:
    """Inches that a group's panel needs."""
    return 0.8 + ROW * len(table) if is_coloured(table) else 2.4


def draw_layers(part: SubFigure, tables: Sequence[pd.DataFrame], titles: Sequence[str], *, columns: int) -> list[Axes]:
    """Draw groups side by side; names of curves are for ``label_ends`` to write.

    Args:
        part: of a picture; as wide as a page.
        tables: of ``layer_table``, at most ``columns``.
        titles: likewise.
        columns: 1 or 2 in the page's width; what is left over stays empty.
    """
    panels = list(part.subplots(1, columns, squeeze=False)[0])
    for spare in panels[len(tables) :]:
        spare.remove()
    mesh = None
    is_alike = all(table.index.equals(tables[0].index) for table in tables)
    for axes, table, title in zip(panels, tables, titles):
        axes.set_title(textwrap.fill(title, _TITLE * 2 // columns), fontsize=8, parse_math=False)
        axes.set_xlabel(axis_label("epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not is_coloured(table):
            _draw_lines(axes, table)
        else:
            mesh = heat_map(axes, table, names=short_names(list(table.index)), limits=(0.0, 1.0), last="{:.2f}")
            axes.tick_params(labelleft=axes is panels[0] or not is_alike)
    if mesh is not None:
        bar = part.colorbar(mesh, ax=panels[: len(tables)], label=_COUNTS, fraction=0.04, pad=0.02)
        bar.outline.set_visible(False)
    return panels[: len(tables)]


def _draw_lines(axes: Axes, table: pd.DataFrame) -> None:
    for number, (name, values) in enumerate(zip(short_names(list(table.index)), table.to_numpy())):
        axes.plot(table.columns, values, **style(number), label=name)
    axes.set_ylabel(_COUNTS.replace("weights", "\nweights"))
    axes.set_ylim(-0.03, 1.03)
