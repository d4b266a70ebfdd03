"""``schedengine list``: a model's parameters, or everything of one kind that can be named."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options

if TYPE_CHECKING:
    import pandas

    from schedengine.analysis.parameters import Listing

_NARROW = 88


def list_(
    model: options.Model = None,
    schedule: Annotated[
        Path | None, typer.Option("--schedule", help="Also show what this file does to each parameter.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", help="Instead of a model: criteria, ramps, models, ...; `?` names the kinds."),
    ] = None,
    shapes: options.Input = None,
    classes: options.Classes = None,
    weights: options.Weights = None,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """List a model's parameters, or everything of one kind that can be named."""
    if (model is None) == (kind is None):
        found = "neither" if model is None else "both"
        raise typer.BadParameter(f"give one of them (got {found})", param_hint="--model NAME, or --kind KIND")
    from schedengine.zoo.factory import import_plugins

    import_plugins(plugin or ())
    if kind is not None:
        given = {"--schedule": schedule, "--input": shapes, "--classes": classes, "--weights": weights}
        for option in (option for option, value in given.items() if value):
            raise typer.BadParameter("has no effect with --kind; it goes with --model", param_hint=option)
        _show_names(kind, as_json=as_json)
    elif model is not None:
        _show_parameters(model, schedule, shapes or [], classes, weights, as_json=as_json)


def _show_names(kind: str, *, as_json: bool) -> None:
    from schedengine.analysis.catalogue import list_names
    from schedengine.reports.tables import show_table, to_json

    found = list_names(kind)
    if as_json:
        typer.echo(to_json(found))
        return
    shown = [key for key in ("default", "meaning", "source") if found[key].any()]
    rows = [_name_row(row, shown) for row in found.to_dict("records")]
    show_table(kind, ["name", *shown], rows, text=shown)


def _name_row(row: Mapping[Hashable, Any], shown: list[str]) -> list[str]:
    name = f"  {row['argument']}" if row["argument"] else row["name"]
    return [name, *(textwrap.fill(row[key], _NARROW) for key in shown)]


def _show_parameters(
    model: str, schedule: Path | None, shapes: list[str], classes: int | None, weights: Path | None, *, as_json: bool
) -> None:
    from schedengine.analysis.parameters import list_parameters
    from schedengine.errors import ScheduleError
    from schedengine.export.pruned import load_
    from schedengine.reports.tables import to_json
    from schedengine.schedule.load import load_schedule
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model

    document = None if schedule is None else load_schedule(schedule)
    network = build_model(model, classes=classes, meta=weights is None)
    if weights is not None:
        load_(network, weights)
    found = list_parameters(network, schedule=document, inputs=example_inputs(model, shapes, device="meta"))
    if as_json:
        problems = [str(problem) for problem in found.problems]
        frames = {"parameters": found.parameters, "selections": found.selections, "problems": problems}
        typer.echo(to_json(frames))
    else:
        _show(model, found, has_schedule=document is not None)
    if found.problems:
        raise ScheduleError(found.problems)


def _show(model: str, found: Listing, *, has_schedule: bool) -> None:
    from schedengine.reports.tables import show_table

    columns = ["parameter", "module", "shape", "weights", "share", "MACs", "share", "prunable"]
    chosen = ["pruner", "selected by", "what goes", "target"] if has_schedule else []
    penalties = ["regularizer"] if has_schedule and "regularizer" in set(found.selections["kind"]) else []
    rows = [
        [*_cells(row), *_selected(found.selections, row["parameter"], len(chosen), len(penalties))]
        for row in found.parameters.to_dict("records")
    ]
    text = {"module", "shape", "prunable", *chosen, *penalties}
    show_table(model, [*columns, *chosen, *penalties], rows, _note(found, has_schedule), text=text)


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    from schedengine.reports.tables import count, percent

    name = f"{row['parameter']} = {row['other_names']}" if row["other_names"] else row["parameter"]
    prunable = "yes" if row["prunable"] == "yes" else f"{row['prunable']} ({row['reason']})"
    numbers = [count(row["weights"]), percent(100 * row["share"]), count(row["macs"]), percent(100 * row["macs_share"])]
    return [name, row["module"], row["shape"], *numbers, prunable]


def _selected(selections: pandas.DataFrame, name: str, chosen: int, penalties: int) -> list[str]:
    own = selections[selections["parameter"] == name].to_dict("records")
    cuts = [
        (row["name"], row["selector"], f"{row['granularity']}, by {row['criterion']}", _target(row))
        for row in own
        if row["kind"] == "pruner"
    ]
    words = [f"{row['name']}: {row['criterion']}, {row['decided']}" for row in own if row["kind"] == "regularizer"]
    cells = ["; ".join(column) for column in zip(*cuts)] if cuts else [""] * chosen
    return [*cells, *["; ".join(words)] * penalties]


def _target(row: Mapping[Hashable, Any]) -> str:
    from schedengine.reports.tables import fraction

    return row["decided"] if math.isnan(row["target"]) else fraction(row["target"])


def _note(found: Listing, has_schedule: bool) -> str:
    weights, macs = int(found.parameters["weights"].sum()), found.parameters["macs"].sum()
    lines = [
        f"share: of all {weights:,} parameters of the model, and of all multiply-accumulates (MACs) of one example"
    ]
    if macs:
        lines.append(f"MACs: {macs:,.0f} in all; '-': the parameter has none of its own, or its use was not seen")
    else:
        lines.append("multiply-accumulates (MACs) unknown: give --input CxHxW")
    lines.append(
        "prunable: yes (Conv and Linear weights, the default); by name, glob, pattern or type; by full name only"
    )
    if has_schedule:
        lines.append("target: fraction of the parameter's weights that the last cut asks to be gone; whole groups go")
        lines += _totals(found)
    return "\n".join(lines)


def _totals(found: Listing) -> list[str]:
    """What is asked over several parameters together."""
    rows = found.selections[found.selections["decided"] == "by the weights"]
    joined = rows.merge(found.parameters, on="parameter")
    return [
        f"{name}: {own['total'].iloc[0]:.4g} of all {int(own['weights'].sum()):,} weights that it selects is to go; "
        "which parameters lose more, the weights decide"
        for name, own in joined.groupby("name", sort=False)
    ]
