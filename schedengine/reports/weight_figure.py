"""Histograms of weights: a small panel a tensor, all alike, zeros counted apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from torch import Tensor

from schedengine.reports.canvas import COLORS, GREY, grid, look

_BINS = 60
_COLUMNS = 6
_WIDTH = 2.0
_NAME = 36
"""Letters of a name that fit above a panel of this width, in inches."""


@dataclass(frozen=True)
class Histogram:
    """How the weights of one tensor are spread.

    Args:
        counts: (bins,) of the finite weights that are not 0.
        edges: (bins + 1,), symmetric about 0.
        weights: all.
        zeros: exactly 0; in no bin.
        non_finite: neither.
    """

    counts: np.ndarray
    edges: np.ndarray
    weights: int
    zeros: int
    non_finite: int


@torch.no_grad()
def histogram(weight: Tensor, bins: int = _BINS) -> Histogram:
    """Count a tensor's weights by value, from minus its largest finite magnitude to plus that.

    Args:
        weight: any shape, with values.
        bins: an even number, so that 0 is an edge.
    """
    values = weight.detach().flatten()
    values = values if values.element_size() >= 4 else values.float()
    finite = values[values.isfinite()]
    reach = float(finite.abs().max()) if finite.any() else 1.0
    there = finite[finite != 0]
    counts = torch.histc(there, bins, -reach, reach).long().cpu().numpy()
    edges = np.linspace(-reach, reach, bins + 1)
    return Histogram(counts, edges, len(values), len(finite) - len(there), len(values) - len(finite))


@look()
def draw_weight_histograms(weights: Mapping[str, Tensor]) -> Figure:
    """Small multiples of how weights are spread, on logarithmic counts that all panels share.

    Every panel is as wide as its own largest magnitude, which is written at its ends. Exact zeros, which would be a
    spike that hides all else, are a number in the panel instead.

    Args:
        weights: name -> tensor with values, one or more.
    """
    found = {name: histogram(weight) for name, weight in weights.items()}
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(found))))
    width = max(_WIDTH, 6.5 / columns)
    picture, panels = grid(len(found), columns=columns, panel=(width, 0.65 * width), share_y=True)
    highest = max(int(one.counts.max()) for one in found.values())
    for axes, (name, one) in zip(panels, found.items()):
        _draw(axes, name, one)
        axes.set_ylim(0.7, max(10, highest) * 12)  # room for a line of text above the bars
    caption = "value of a weight, out to the largest magnitude of its tensor; exact zeros are counted, not drawn"
    picture.supxlabel(caption, fontsize=8)
    picture.supylabel(f"weights per bin ({_BINS} bins)", fontsize=8)
    return picture


def _draw(axes: Axes, name: str, one: Histogram) -> None:
    axes.stairs(one.counts, one.edges, fill=True, color=COLORS[0], baseline=0.7)
    axes.set_yscale("log")
    axes.set_title(_fitting(name), fontsize=7, parse_math=False, pad=3)
    reach = one.edges[-1]
    axes.set_xlim(-reach, reach)
    axes.set_xticks([-reach, 0, reach])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.yaxis.set_major_locator(LogLocator(numticks=4))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=6, length=2, pad=1.5)
    lowest, _, highest = axes.get_xticklabels()
    lowest.set_horizontalalignment("left")  # inside the panel, clear of its neighbours
    highest.set_horizontalalignment("right")
    _write_counts(axes, one)


def _write_counts(axes: Axes, one: Histogram) -> None:
    is_gone = one.zeros == one.weights
    text = f"zeros: {f'all {one.weights:,}' if is_gone else _share(one.zeros, one.weights)}"
    text += f"\nnot finite: {one.non_finite:,}" if one.non_finite else ""
    color = COLORS[1] if is_gone or one.non_finite else GREY
    axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=6, color=color)


def _share(part: int, whole: int) -> str:
    if not part:
        return f"none of {whole:,}"
    percent = 100 * part / whole
    # Some is not none, and most is not all.
    shown = "<0.1" if percent < 0.05 else ">99.9" if percent >= 99.95 else f"{percent:.1f}"
    return f"{part:,} of {whole:,} ({shown} %)"


def _fitting(name: str) -> str:
    """A name that is not too long, its end kept: that tells layers apart."""
    short = name.removesuffix(".weight")
    return short if len(short) <= _NAME else f"…{short[1 - _NAME :]}"
