"""A model, a schedule or finished runs, looked at without training. What the command line prints, as DataFrames:

    from schedengine.analysis import check_schedule, plan_schedule, summarize

macs            multiply_accumulates: of a forward pass, by parameter
parameters      list_parameters: what a schedule can name, and what it does to each; selections: word by word
catalogue       list_names: everything that can be named, with its arguments
draft           draft_schedule: a schedule to begin with; methods: as templates; globs: few that pick a set
diagnosis       check_schedule: what is wrong with a schedule; doubts: what is legal and surely not meant
plan            plan_schedule: what will happen; events, rates: when; aims: how much; outcome: what is left at the end
assumed         of a run, where nobody says
summary         summarize, totals, draw_weights: what the weights are
runs            read_runs, read_replicas, read_layers: what runs left behind; groups: which differ only by seed;
                table_file: CSV files
comparison      compare_runs, compare_groups: side by side
soups           cook: networks averaged into one, and what that is compared with; robustness: on corrupted images
sensitivity     analyse_sensitivity: how much each parameter can lose; suggest_levels: for all together

The names are imported when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "analyse_sensitivity": "sensitivity.analyse",
    "by_severity": "robustness",
    "check_schedule": "diagnosis",
    "compare_groups": "comparison",
    "compare_runs": "comparison",
    "draft_schedule": "draft",
    "draw_weights": "summary",
    "list_names": "catalogue",
    "list_parameters": "parameters",
    "measure_robustness": "robustness",
    "multiply_accumulates": "macs",
    "plan_schedule": "plan",
    "read_layers": "runs",
    "read_replicas": "runs",
    "read_runs": "runs",
    "suggest_levels": "sensitivity.suggest",
    "summarize": "summary",
    "totals": "summary",
}
__all__ = list(_PUBLIC)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
