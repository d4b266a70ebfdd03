"""What lies between networks: accuracy and loss along the lines that join them."""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from schedengine.reports.canvas import GREY, grid, label_ends, look, style

_CAPTION = (
    "Barrier: how much a curve rises (loss) or falls (top-1) from the straight connection of its ends, at most "
    "(Frankle et al., 2020; Entezari et al., 2022)."
)
_NARROW = 2.0
"""Points of top-1; less would show single images as mountains."""


@look()
def draw_lines(lines: pd.DataFrame, barriers: pd.DataFrame, *, split: str, said: str = "") -> Figure:
    """A panel of top-1 and one of loss, with a curve for each pair of networks, labelled with its barrier.

    Args:
        lines: columns first, second, share (0 to 1, of the second network), top1 (per cent), loss.
        barriers: a row for each pair: first, second, barrier_loss, barrier_top1 (points).
        split: the images that they were measured on.
        said: what else stands below: where batch-norm statistics come from.
    """
    picture, (above, below) = grid(2, panel=(6.5, 2.7), share_x=True)
    _draw(above, lines, barriers, "top1", ".2f")
    _draw(below, lines, barriers, "loss", ".4f")
    above.set(title="barrier: points of top-1", ylabel=f"top-1 accuracy (%), {split}")
    below.set(title="barrier: loss", ylabel=f"loss, {split}", xlabel="share of the second network")
    _widen(above)
    words = textwrap.fill(" ".join(filter(None, [_CAPTION, said])), 140)
    picture.supxlabel(words, x=0.01, ha="left", fontsize=6, color=GREY, parse_math=False)
    for axes in (above, below):
        label_ends(axes)
    return picture


def _draw(axes: Axes, lines: pd.DataFrame, barriers: pd.DataFrame, measure: str, digits: str) -> None:
    for number, pair in enumerate(barriers.to_dict("records")):
        line = lines[(lines["first"] == pair["first"]) & (lines["second"] == pair["second"])]
        barrier = pair[f"barrier_{measure}"]
        told = "not known" if math.isnan(barrier) else format(barrier, digits)
        axes.plot(line["share"], line[measure], **style(number), label=f"{pair['first']} to {pair['second']}: {told}")


def _widen(axes: Axes) -> None:
    low, high = axes.dataLim.intervaly  # the limits that matplotlib gives a flat line are five per cent off it
    spare = max(_NARROW - (high - low), 0.1 * (high - low)) / 2
    if math.isfinite(spare):
        axes.set_ylim(low - spare, min(high + spare, 100.2))
