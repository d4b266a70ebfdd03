"""``schedengine check``: every mistake in a schedule, before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from schedengine.cli import options


def check(
    schedule: Annotated[Path, typer.Argument(help="The YAML file.", show_default=False)],
    model: options.Model = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Length of the run, if no phases say it.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Check it rescaled to so many epochs, as for `train`.")
    ] = None,
    steps_per_epoch: Annotated[
        int | None, typer.Option("--steps-per-epoch", min=1, help="Updates in an epoch, for times in steps.")
    ] = None,
    shapes: options.Input = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="What the run starts from: only the learning rates that it notes are read."),
    ] = None,
    classes: options.Classes = None,
    lr: Annotated[
        float | None, typer.Option("--lr", min=0, help="The rate that the run begins with, as for `train`.")
    ] = None,
    plugin: options.Plugin = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    as_json: options.Json = False,
) -> None:
    """Check a schedule, and its fit to a model: errors, and what is surely not meant. Exit code 1 with errors."""
    from schedengine.analysis.diagnosis import check_schedule
    from schedengine.training.trace import trace_of
    from schedengine.zoo.factory import import_plugins
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model

    import_plugins(plugin or ())
    network = None if model is None else build_model(model, classes=classes, meta=True)
    found = check_schedule(
        schedule,
        network,
        epochs=epochs,
        budget=budget,
        steps_per_epoch=steps_per_epoch,
        lr=lr,
        trace=None if weights is None else trace_of(weights),
        inputs=None if model is None else example_inputs(model, shapes or (), device="meta"),
    )
    typer.echo(json.dumps(found.plain(), indent=2) if as_json else str(found))
    if found.count("error") or (strict and found.count("warning")):
        raise typer.Exit(1)
