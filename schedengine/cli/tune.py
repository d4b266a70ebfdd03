"""``schedengine tune``: a number of a schedule turned until the sparsity that comes out is the one asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedengine.cli import options
from schedengine.cli.progress import ProgressBar
from schedengine.errors import EffectError
from schedengine.training.settings import Algorithm, Amp, Settings

if TYPE_CHECKING:
    from schedengine.training.tuned import Trial, TuneResult


def tune(
    schedule: Annotated[Path, typer.Argument(help="The YAML file.")],
    model: options.ModelNeeded,
    target: Annotated[float, typer.Option("--target", help="Sparsity that is to come out, in (0, 1).")],
    knob: Annotated[
        str,
        typer.Option(
            "--knob",
            metavar="PATH=LOW:HIGH",
            help="The number to turn, and its range; logarithmic where both are above 0, unless :linear follows.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="The file to write: the schedule with the value found.")],
    runs: Annotated[
        Path | None, typer.Option("--runs", help="The folder for the trials' runs; default: --out without its suffix.")
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="Runs at most.")] = 8,
    tolerance: Annotated[float, typer.Option("--tolerance", help="Stop so near to the target.")] = 0.01,
    data: options.Data = "digits",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="As in `train`.")] = None,
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="As in `train`; short runs find less.")] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="As in `train`.")] = None,
    optimizer: Annotated[Algorithm, typer.Option("--optimizer", help="As in `train`.")] = Algorithm.SGD,
    momentum: Annotated[float | None, typer.Option("--momentum", help="As in `train`.")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", min=0, help="As in `train`.")] = None,
    batch_size: options.BatchSize = 64,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="As in `train`.")] = 1,
    augment: Annotated[bool, typer.Option("--augment", help="As in `train`.")] = False,
    seed: options.Seed = 0,
    weights: options.Weights = None,
    classes: options.Classes = None,
    validation: options.Validation = 0.1,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 0,
    amp: Annotated[Amp, typer.Option("--amp", help="As in `train`.")] = Amp.OFF,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="As in `train`.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="As in `train`.")] = False,
    plugin: options.Plugin = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that --runs holds.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find the value of a number in a schedule that a given sparsity comes out with, by a few runs."""
    from schedengine.training.tune import tune as search

    settings = Settings(
        schedule=str(schedule),
        model=model,
        data=data,
        epochs=epochs,
        budget=budget,
        lr=lr,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        batch_size=batch_size,
        accumulate=accumulate,
        augment=augment,
        seed=seed,
        weights=None if weights is None else str(weights),
        classes=classes,
        validation=validation,
        root=None if root is None else str(root),
        download=download,
        image_size=image_size,
        workers=workers,
        amp=amp,
        channels_last=channels_last,
        compile=compile_,
        plugin=tuple(plugin or ()),
    )
    folder = runs or out.with_suffix("")
    try:
        with ProgressBar() as bar:
            found = search(
                settings,
                knob,
                target,
                out=out,
                runs=folder,
                trials=trials,
                tolerance=tolerance,
                resume=resume,
                tell=_say,
                watches=[bar],
            )
    except KeyboardInterrupt:
        typer.echo(f"interrupted; go on with the same command and --resume (what is done is in {folder})", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(_json(found, out))
    else:
        _show(found, out)
    if not found.is_found:
        raise EffectError(_missed(found))


def _say(trial: Trial) -> None:
    """A line a trial, to standard error."""
    typer.echo(f"trial {trial.trial}: {trial.value:g}: {_outcome(trial)}, {trial.seconds:.1f} s", err=True)


def _outcome(trial: Trial) -> str:
    sparsity = "-" if trial.sparsity is None else f"{trial.sparsity:.4f}"
    return f"sparsity {sparsity}" + (f" ({trial.failed})" if trial.failed else "")


def _json(found: TuneResult, out: Path) -> str:
    from schedengine.reports.tables import to_json

    return to_json({
        "knob": found.knob.path,
        "range": [found.knob.low, found.knob.high],
        "target": found.target,
        "tolerance": found.tolerance,
        "counted": found.counted,
        "found": found.is_found,
        "best": found.best.trial,
        "trials": found.table,
        "file": str(out),
    })  # fmt: skip


def _show(found: TuneResult, out: Path) -> None:
    from schedengine.reports.tables import fraction, percent, show_table

    rows = [
        [
            f"{one.trial}",
            f"{one.value:g}",
            fraction(one.sparsity),
            percent(one.top1),
            f"{one.seconds:.1f}",
            "nearest" if one is found.best else one.failed,
        ]
        for one in found.trials
    ]
    notes = (
        f"value: of {found.knob.path}\n"
        f"sparsity: fraction of {found.counted} that is 0 at the end; "
        f"asked: {found.target:g} within {found.tolerance:g}\n"
        "top-1: of the final weights, on validation; seconds: of training and validation"
    )
    show_table("Trials", ["trial", "value", "sparsity", "top-1", "seconds", ""], rows, notes, text=[""])
    typer.echo(f"written: {out}")


def _missed(found: TuneResult) -> str:
    best, sparsities = found.best, [one.sparsity for one in found.trials if one.sparsity is not None]
    near = f"the nearest, {best.value:g}, came out at {best.sparsity:.4f}; {found.target:g} was asked"
    if min(sparsities) <= found.target <= max(sparsities):
        return f"no trial was near enough: {near}; --resume with more --trials, or a larger --tolerance"
    reached = f"the range reaches sparsities from {min(sparsities):.4f} to {max(sparsities):.4f}"
    return f"no trial was near enough: {near}. {reached}; --resume with another range in --knob"
