"""The look of every picture: sizes, colours, line styles, labels at the ends of curves, and saving.

Pictures are ``matplotlib.figure.Figure`` objects, made without pyplot: nothing is global, and nothing needs closing.
The user's own rcParams are put aside while a function under ``@look()`` draws, and are back afterwards.

    @look()
    def draw(...) -> Figure:
        picture, (axes,) = grid(1)
        axes.plot(x, y, **style(0), label="AGP")
        axes.set(xlabel=axis_label("epoch"), ylabel=axis_label("top1"))
        label_ends(axes)                # last, when the limits are final
        return picture
    save(draw(...), "picture.svg")
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from schedengine.errors import SchedEngineError
from schedengine.reports.files import writing

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette (2008), which the colour-blind tell apart; without its yellow, too light on white."""
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "<", ">")
SEQUENTIAL = "cividis"
"""For amounts: even steps for the eye, the same to the colour-blind, and it stays in order in grey."""
DIVERGING = "PuOr"
"""For changes, zero in the middle: purple and orange, which the colour-blind tell apart."""
GREY = "#666666"
SUFFIXES = (".png", ".svg", ".pdf")

_DOTS_PER_INCH = 200
_EARLY = 0.9
"""A curve that ends before this fraction of the panel's width is labelled inside."""
_LOOK: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "figure.titlesize": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same picture on every machine
    "font.size": 8,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.5,
    "image.cmap": SEQUENTIAL,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # TrueType: journals refuse matplotlib's usual Type 3
    "svg.fonttype": "none",  # text stays text: searchable, and editable
    "svg.hashsalt": "schedengine",  # the names of clip paths would be random otherwise
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}
_LABELS = {
    "epoch": "epoch (counted from 0)",
    "step": "step (one update of the weights)",
    "lr": "learning rate",
    "top1": "top-1 accuracy (%)",
    "top5": "top-5 accuracy (%)",
    "val_loss": "validation loss",
    "train_loss": "training loss",
    "penalty": "penalty of the regularizers",
    "sparsity": "sparsity (fraction removed)",
    "sparsity_all": "sparsity (fraction of all Conv and Linear weights that is 0)",
    "seconds": "time (s)",
}


class Picture(Figure):
    """A figure that a notebook shows when it is the last line of a cell, without pyplot."""

    def _repr_png_(self) -> bytes:
        return to_bytes(self, ".png")


@contextmanager
def look() -> Iterator[None]:
    """The house look as a context, or as a decorator: ``@look()``. The user's rcParams are back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(cast(Any, _LOOK))
        yield


@look()
def figure(width: float = 6.5, height: float = 4.0) -> Figure:
    """An empty picture whose parts make room for one another.

    Args:
        width: in inches; 6.5 is the text width of a page, 3.3 a column's.
        height: in inches.
    """
    return Picture(figsize=(width, height), layout="constrained")


@look()
def grid(
    count: int,
    *,
    columns: int = 1,
    panel: tuple[float, float] = (6.5, 3.2),
    share_x: bool = False,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A picture of panels, filled row by row; there are exactly ``count`` of them.

    Args:
        count: panels, 1 or more.
        columns: panels in a row, at most.
        panel: width and height of one, in inches.
        share_x: one x axis for all; numbers stand under the lowest of each column.
        share_y: likewise.
    """
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    picture = figure(panel[0] * columns, panel[1] * rows)
    panels = list(picture.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False).flat)
    for spare in panels[count:]:
        spare.remove()
    for lowest in panels[max(0, count - columns) : count]:
        lowest.tick_params(labelbottom=True)
    return picture, panels[:count]


def style(number: int) -> dict[str, Any]:
    """Colour, line and marker of curve ``number``, for ``axes.plot``: told apart in black and white too.

    The first 28 differ.

    Example:
        >>> style(0)["color"], style(1)["marker"], style(7)["marker"]
        ('#0072B2', 's', 'o')
    """
    return {
        "color": COLORS[number % len(COLORS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
    }


def axis_label(column: str) -> str:
    """What a column counts, and in what unit; a column that is not ours keeps its name.

    Example:
        >>> axis_label("top1"), axis_label("energy (J)")
        ('top-1 accuracy (%)', 'energy (J)')
    """
    return _LABELS.get(column, column)


def label_ends(axes: Axes, *, size: float = 7) -> None:
    """Write each labelled curve's label beside its end, clear of the other labels.

    Right of the panel, or inside for a curve that ends early: a long leader would look like data. Call it when all else
    is drawn and the limits are final. Curves whose label begins with ``_`` have none.

    Args:
        axes: the panel.
        size: of the letters, in points.
    """
    curves = [(line, end) for line in axes.get_lines() if (end := _end(line)) and not _is_silent(line)]
    picture = axes.get_figure(root=True)
    if not curves or picture is None:
        return
    picture.draw_without_rendering()  # the layout decides how high the panel is
    pixels = axes.get_window_extent()
    gap = 1.3 * size * picture.dpi / 72 / pixels.height
    ends = [axes.transAxes.inverted().transform(axes.transData.transform(end)) for _, end in curves]
    leader = {"arrowstyle": "-", "linewidth": 0.5, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 2}
    for (line, end), (x, _), place in zip(curves, ends, spread([y for _, y in ends], gap, 0.0, 1.0)):
        is_outside = x > _EARLY
        axes.annotate(
            str(line.get_label()),
            xy=end,
            xytext=(1.03 if is_outside else x + 0.03, place),
            textcoords="axes fraction",
            annotation_clip=False,
            verticalalignment="center",
            fontsize=size,
            parse_math=False,  # a layer or a file may be called a$b$
            color=line.get_color(),
            arrowprops={**leader, "color": line.get_color()},
            bbox=None if is_outside else {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )


def _is_silent(line: Line2D) -> bool:
    return str(line.get_label()).startswith("_")


def _end(line: Line2D) -> tuple[float, float] | None:
    """The last point that is a number; None where there is none."""
    points: list[tuple[float, float]] = np.asarray(line.get_xydata(), dtype=float).tolist()
    return next((point for point in reversed(points) if all(map(math.isfinite, point))), None)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least ``gap`` apart, in the order of the wanted ones and as near to them as can be.

    Places that are too near are pooled and stand round the mean of what they want. The range is left, to both sides
    alike, only where it is too small for all.

    Args:
        wanted: places, in any order; the result is in the same.
        gap: least distance.
        low, high: the range.

    Example:
        >>> spread([0.5, 0.5, 0.0], 0.25, 0.0, 1.0)
        [0.375, 0.625, 0.0]
    """
    need = gap * (len(wanted) - 1)
    if need > high - low:
        low, high = (low + high - need) / 2, (low + high + need) / 2
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    pools: list[tuple[float, int]] = []  # sum of what its members want less their offsets, and how many
    for rank, number in enumerate(order):
        total, count = wanted[number] - rank * gap, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    bases = [min(max(total / count, low), high - need) for total, count in pools for _ in range(count)]
    places = {number: base + rank * gap for rank, (number, base) in enumerate(zip(order, bases))}
    return [places[number] for number in range(len(wanted))]


def save(picture: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a picture: PNG, SVG or PDF by its suffix. The folder is made, and the file is whole or not there.

    The same picture gives the same bytes with one release of matplotlib: no date is written.

    Returns:
        Where it went.

    Raises:
        SchedEngineError: another suffix, or the place cannot be written to.
    """
    target = check_suffix(path)
    with writing(target) as temporary:
        temporary.write_bytes(to_bytes(picture, target.suffix.lower()))
    return target


def check_suffix(path: str | os.PathLike[str]) -> Path:
    """The path, if its suffix says a kind of picture that can be written.

    Raises:
        SchedEngineError: it does not.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise SchedEngineError(f"{target}: pictures end in {', '.join(SUFFIXES)}; not in {target.suffix or 'nothing'}")
    return target


@look()
def to_bytes(picture: Figure, suffix: str) -> bytes:
    """A picture as a file would hold it.

    Args:
        suffix: one of ``SUFFIXES``.
    """
    undated: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    picture.savefig(buffer, format=suffix[1:], dpi=_DOTS_PER_INCH, metadata=undated.get(suffix, {}))
    return buffer.getvalue()
