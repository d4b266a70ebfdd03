"""``schedengine init``: a schedule to begin with, written for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schedengine.cli import options


def init(
    model: options.ModelNeeded,
    target: Annotated[
        float | None,
        typer.Option("--target", help="Fraction of the weights to remove, in (0, 1); default: the method's usual one."),
    ] = None,
    method: Annotated[str, typer.Option("--method", help="`schedengine list --kind methods` names them.")] = "agp",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Length of the run.")] = 30,
    shapes: options.Input = None,
    classes: options.Classes = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; default: standard output.", dir_okay=False)
    ] = None,
) -> None:
    """Write a schedule to begin with, with the parameters of this model."""
    from schedengine.analysis.draft import draft_schedule
    from schedengine.errors import SchedEngineError
    from schedengine.reports.files import writing
    from schedengine.zoo.inputs import example_inputs
    from schedengine.zoo.models import build_model

    if out is not None and out.exists():
        raise SchedEngineError(f"--out {out}: is there already; choose another name, or remove it")
    text = draft_schedule(
        build_model(model, classes=classes, meta=True),
        model,
        target=target,
        method=method,
        epochs=epochs,
        inputs=example_inputs(model, shapes or (), device="meta"),
        classes=classes,
        file=str(out or "schedule.yaml"),
    )
    if out is None:
        typer.echo(text, nl=False)
        return
    with writing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"written: {out}; see what it will do: schedengine plan {out} --model {model}", err=True)
