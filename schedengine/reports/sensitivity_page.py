"""One self-contained HTML page of a sweep, for looking: heat map, curves, a table to sort, the suggested levels.

It loads nothing and sends nothing: its policy forbids every request, and every script but its own, known by its hash.
What the table says goes in as JSON and is shown as text, so a layer may be called anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
import pandas as pd

from schedengine.reports.sensitivity_figure import CLIP
from schedengine.reports.sensitivity_table import dense, filled, grid, network_curves, parameters

_COLUMNS = {"top1": "top1", "drop": "drop", "low": "drop_low", "high": "drop_high", "realised": "realised",
            "loss": "loss"}  # fmt: skip
_SHOWN = (0.5, 0.7, 0.9)
"""Levels of which the table has a column, or the nearest that were measured."""


class Suggested(Protocol):
    """What the page shows of a suggestion."""

    @property
    def levels(self) -> Mapping[str, float]:
        """Parameter, as the table calls it -> level; those that are missing stay as they are."""

    @property
    def said(self) -> Sequence[str]:
        """What it is and how it was found, in sentences."""


def page(
    frame: pd.DataFrame, suggestion: Suggested | None = None, *, title: str = "Sensitivity", schedule: str = ""
) -> str:
    """Write the page.

    Args:
        frame: a sweep, as for ``filled``.
        suggestion: levels to mark; None for none.
        title: of the page.
        schedule: the text of the schedule that has the suggested levels.

    Returns:
        HTML: one file, about 25 KB and what the table holds.

    Raises:
        SchedEngineError: as for ``filled``.
    """
    template = files("schedengine.reports").joinpath("sensitivity.html").read_text(encoding="utf-8")
    parts = {
        "policy": _policy(template),
        "title": html.escape(title),
        "data": _embedded(_contents(filled(frame), suggestion, title, schedule)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _policy(template: str) -> str:
    """Nothing may be loaded; the page's own style and script are let in by their hashes, and no other."""
    hashes = {}
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", template, flags=re.DOTALL)
        hashes[tag] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    own = "; ".join(f"{tag}-src 'sha256-{digest}'" for tag, digest in hashes.items())
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def _embedded(contents: Mapping[str, Any]) -> str:
    """JSON in which no tag can end or begin."""
    text = json.dumps(contents, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _contents(rows: pd.DataFrame, suggestion: Suggested | None, title: str, schedule: str) -> dict[str, Any]:
    levels = sorted({0.0, *rows["sparsity"]})
    lost = grid(rows, "drop").to_numpy(dtype=float)
    top = float(np.nanmax(lost, initial=0.0))
    names = parameters(rows)
    return {
        "title": title,
        "facts": _facts(rows, names),
        "levels": levels,
        "shown": sorted({min(levels, key=lambda one: abs(one - wanted)) for wanted in _SHOWN} - {0.0}),
        "clip": min(CLIP, max(1.0, top)),
        "isClipped": top > CLIP,
        "layers": [_series(name, rows[rows["parameter"] == name], levels, dense(rows)) for name in names],
        "network": [
            _series(name or "whole network", part, levels, dense(rows)) for name, part in network_curves(rows).items()
        ],
        "suggestion": None
        if suggestion is None
        else {"levels": dict(suggestion.levels), "said": list(suggestion.said), "schedule": schedule},
    }


def _facts(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    before = dense(rows)
    said = [f"Dense network: top-1 {before['top1']:.2f} %"]
    said += [f"loss {before['loss']:.4f}"] if math.isfinite(before["loss"]) else []
    said += [f"{int(before['samples']):,} images"] if math.isfinite(before["samples"]) else []
    found = [f"{name} {before[name]}" for name in ("granularity", "criterion", "precision") if before[name]]
    return [", ".join(said) + ".", f"{len(names)} layers, pruned one at a time" + "".join(f"; {one}" for one in found)]


def _series(name: str, part: pd.DataFrame, levels: Sequence[float], before: pd.Series) -> dict[str, Any]:
    """A parameter's, or the whole network's, cells in the order of the levels."""
    by_level = {float(row["sparsity"]): row for _, row in part.iterrows()}
    by_level.setdefault(0.0, before)
    first = part.iloc[0]
    return {
        "name": name,
        "weights": _number(first["weights"]),
        "macs": _number(first["macs"]),
        "cells": [_cell(by_level[level]) if level in by_level else None for level in levels],
    }


def _cell(row: pd.Series) -> dict[str, Any]:
    numbers = {short: _number(row[column]) for short, column in _COLUMNS.items()}
    said = {"note": str(row["note"])} if row["note"] else {}
    return {**numbers, **said, **({"nonfinite": int(row["nonfinite"])} if row["nonfinite"] else {})}


def _number(value: Any) -> float | None:
    """Rounded to what is shown; None where it is not a finite number."""
    return round(float(value), 4) if math.isfinite(value) else None
