"""``schedengine plan``: what a schedule will do, and when, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options
from schedengine.training.settings import Algorithm, Settings

if TYPE_CHECKING:
    import pandas

    from schedengine.analysis.plan import Plan

_WIDTH = 72
_SHOWN = 12
"""Cuts of one pruner that are listed; of more, the first and the last ones."""


def plan(
    schedule: Annotated[Path, typer.Argument(help="The YAML file.", metavar="SCHEDULE")],
    model: options.ModelNeeded,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Length of the run, if no phases say it.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Rescale the schedule to so many epochs, as in `train`.")
    ] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option("--steps-per-epoch", min=1, help="Updates of the weights in an epoch; default: 100.")
    ] = None,
    weights: options.Weights = None,
    lr: Annotated[float | None, typer.Option("--lr", help="As in `train`.")] = None,
    optimizer: Annotated[Algorithm, typer.Option("--optimizer", help="As in `train`.")] = Algorithm.SGD,
    classes: options.Classes = None,
    shapes: options.Input = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw it: a file that ends in .png, .svg or .pdf.")
    ] = None,
    every_event: Annotated[bool, typer.Option("--all", help="List every cut, however many.")] = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Say what a schedule will do to a model, and when. Trains nothing, and needs no data."""
    from schedengine.analysis.plan import plan_schedule
    from schedengine.export.pruned import load_
    from schedengine.schedule.load import load_schedule
    from schedengine.training.session import make_optimizer
    from schedengine.training.trace import trace_of
    from schedengine.zoo.factory import import_plugins
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model

    import_plugins(plugin or ())
    if figure is not None:
        from schedengine.reports.canvas import check_suffix

        check_suffix(figure)
    settings = Settings(schedule=str(schedule), model=model, lr=lr, optimizer=optimizer)
    document = load_schedule(schedule)
    network = build_model(model, classes=classes, meta=weights is None)
    if weights is not None:
        load_(network, weights)
    found = plan_schedule(
        document,
        network,
        epochs=epochs,
        budget=budget,
        steps_per_epoch=steps_per_epoch,
        optimizer=make_optimizer(network, settings),
        inputs=example_inputs(model, shapes or (), device="meta" if weights is None else "cpu"),
        use_values=weights is not None,
        trace=None if weights is None else trace_of(weights),
    )
    if as_json:
        typer.echo(_json(found))
    else:
        _show(found, every_event=every_event)
    if figure is not None:
        from schedengine.reports.canvas import save

        typer.echo(f"drawn: {save(found.figure(), figure)}", err=as_json)


def _json(found: Plan) -> str:
    from schedengine.reports.tables import to_json

    return to_json(
        {
            "epochs": found.epochs,
            "steps_per_epoch": found.steps_per_epoch,
            "events": found.events,
            "layers": found.layers,
            "curves": found.curves,
            "notes": list(found.notes),
        }
    )


def _show(found: Plan, *, every_event: bool) -> None:
    typer.echo("\n".join(_picture(found)))
    _show_events(found.events if every_event else _shortened(found.events))
    _show_layers(found.layers)
    for note in found.notes:
        typer.echo(f"note: {note}")


def _picture(found: Plan) -> list[str]:
    """Each curve as a line of text, over the phases."""
    from schedengine.reports.strips import sample, segments, strip
    from schedengine.reports.tables import writable

    rows = [(f"epoch 0 to {found.epochs}", segments([("", 0, found.epochs)], found.epochs, _WIDTH), "")]
    if bands := found.bands():
        deeper = [*(level for *_, level in bands[1:]), 0]  # what a group is made of comes right after it
        inner = [band[:3] for band, following in zip(bands, deeper) if following <= band[3]]
        rows[0] = (rows[0][0], segments(inner, found.epochs, _WIDTH), "")
    for (kind, name), points in found.curves.groupby(["kind", "name"], sort=False):
        values = list(zip(points["epoch"], points["value"]))
        top = 1.0 if kind == "sparsity" else None
        ends = f"up to {max(value for _, value in values):.4g}"
        label = kind if kind == "lr" else f"{kind} {name}"
        rows.append((label, strip(sample(values, found.epochs, _WIDTH), top=top), ends))
    wide = max(len(label) for label, _, _ in rows)
    return [writable(f"  {label.ljust(wide)}  {text}  {ends}".rstrip()) for label, text, ends in rows]


def _shortened(events: pandas.DataFrame) -> pandas.DataFrame:
    """Without the middle of long series of cuts; the first of those left out says how many they are."""
    events = events.copy()
    dropped = []
    for _, cuts in events[events["kind"] == "cut"].groupby("name"):
        middle = list(cuts.index[_SHOWN // 2 : -_SHOWN // 2]) if len(cuts) > _SHOWN else []
        if middle:
            events.loc[middle[0], "what"] = f"... {len(middle)} more cuts (--all lists them)"
            dropped += middle[1:]
    return events.drop(index=dropped)


def _show_events(events: pandas.DataFrame) -> None:
    from schedengine.reports.tables import show_table

    rows = [
        [f"{row.epoch:.4g}", f"{row.step:,}", str(row.phase), str(row.kind), str(row.name_), str(row.what)]
        for row in events.rename(columns={"name": "name_"}).itertuples()
    ]
    show_table(
        "Events",
        ["epoch", "step", "phase", "kind", "name", "what"],
        rows,
        "epoch, step: from the start of the run; at one moment in this order; a cut's fraction counts the weights that "
        "its pruner selected",
        text=("phase", "kind", "name", "what"),
    )


def _show_layers(layers: pandas.DataFrame) -> None:
    from schedengine.reports.tables import count, fraction, show_table

    columns = ["parameter", "shape", "weights", "sparsity", "weights\nleft", "MACs", "MACs\nleft", "pruners", "decided"]
    keys = ["weights", "weights_left", "macs", "macs_left"]
    rows = [_layer_row(row, fraction, count) for row in layers.to_dict("records")]
    totals = {key: layers[key].sum(skipna=False) for key in keys}
    whole = {"parameter": "all of these", "shape": "", "pruners": "", "decided": "", **totals}
    whole["sparsity"] = 1 - totals["weights_left"] / totals["weights"] if len(layers) else None
    rows.append(_layer_row(whole, fraction, count))
    show_table(
        "At the end of the run",
        columns,
        rows,
        "sparsity: fraction of the parameter's weights that is gone; MACs: multiply-accumulates of one example\n"
        "decided: by shapes (exact, from a dense start), or by the weights (give --weights); '-': open, or not known\n"
        "all of these: the Conv and Linear weights, and whatever else pruners selected",
        text=("shape", "pruners", "decided"),
    )


def _layer_row(row: Mapping[Any, Any], fraction: Any, count: Any) -> list[str]:
    numbers = [count(row["weights"]), fraction(row["sparsity"]), count(row["weights_left"])]
    macs = [count(row["macs"]), count(row["macs_left"])]
    return [row["parameter"], row["shape"], *numbers, *macs, row["pruners"], row["decided"]]
