"""``schedengine train``: train and prune by a schedule, or go on with a run that was interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options
from schedengine.cli.progress import ProgressBar
from schedengine.cli.result import show_result
from schedengine.training.settings import Algorithm, Amp, Settings

if TYPE_CHECKING:
    from schedengine.distributed.executors import Elsewhere
    from schedengine.training.line import Watch
    from schedengine.training.report import Report
    from schedengine.training.run import RunFolder
    from schedengine.training.session import Session


def train(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="The run's folder.")],
    schedule: Annotated[Path | None, typer.Option("--schedule", help="The YAML file: what to prune, and when.")] = None,
    model: options.Model = None,
    data: options.Data = "digits",
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Length of the run, if no phases say it.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option("--budget", min=1, help="Rescale the schedule to so many epochs in all.")
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Default: 0.1 for sgd, 0.001 for adam and adamw.")] = None,
    optimizer: Annotated[Algorithm, typer.Option("--optimizer", help="What updates the weights.")] = Algorithm.SGD,
    momentum: Annotated[float | None, typer.Option("--momentum", help="Of sgd; default: 0.9.")] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", min=0, help="Default: 0.0001 for sgd, 0 for adam, 0.01 for adamw.")
    ] = None,
    batch_size: options.BatchSize = 64,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Batches in an update of the weights.")] = 1,
    augment: Annotated[bool, typer.Option("--augment", help="Shift images; mirror those in colour.")] = False,
    seed: options.Seed = 0,
    weights: options.Weights = None,
    classes: options.Classes = None,
    validation: options.Validation = 0.1,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 0,
    amp: Annotated[Amp, typer.Option("--amp", help="Mixed precision.")] = Amp.OFF,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Memory layout; faster on some GPUs.")] = False,
    compile_: Annotated[bool, typer.Option("--compile", help="torch.compile the model.")] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", min=1, help="Processes that train replicas side by side: a GPU each, or the cores shared."
        ),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="Train replicas as tasks of a Ray cluster; local starts one."),
    ] = None,
    num_gpus: Annotated[
        float | None,
        typer.Option("--num-gpus", min=0, help="Of each such task; default: 1 where the cluster has GPUs."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Processor threads of every process; default: the cores / --jobs, or 1 with --ray."
        ),
    ] = None,
    plugin: options.Plugin = None,
    recalibrate: Annotated[
        int,
        typer.Option("--recalibrate", min=0, help="Measure cuts with batch norms of so many batches too."),
    ] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write event files into the run's folder.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, with its own arguments.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Train a model, and prune it by a schedule."""
    asked: dict[str, Any] = {
        "schedule": schedule and str(schedule),
        "model": model,
        "data": data,
        "epochs": epochs,
        "budget": budget,
        "lr": lr,
        "optimizer": optimizer.value,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "augment": augment,
        "seed": seed,
        "weights": weights and str(weights),
        "classes": classes,
        "validation": validation,
        "root": root and str(root),
        "download": download,
        "image_size": image_size,
        "workers": workers,
        "recalibrate": recalibrate,
        "amp": amp.value,
        "channels_last": channels_last,
        "compile": compile_,
        "threads": threads,
        "plugin": plugin or [],
    }
    try:
        elsewhere = _elsewhere(jobs, ray, num_gpus)
        watches = _watches(out, tensorboard=tensorboard)
        folder, session = _resumed(context, out, asked, elsewhere) if resume else _begun(out, asked, elsewhere)
        _note_elsewhere(session, elsewhere)
        result = _run(folder, session, watches, elsewhere)
    except KeyboardInterrupt:
        is_begun = (out / "run.json").exists()
        hint = f"; go on with: schedengine train --resume --out {out}" if is_begun else " before the run began"
        typer.echo(f"interrupted{hint}", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(json.dumps(result.plain(), indent=2))
    else:
        show_result(result, folder.path)


def _elsewhere(jobs: int, ray: str | None, num_gpus: float | None) -> Elsewhere:
    from schedengine.distributed.executors import Elsewhere

    return Elsewhere(jobs, ray, num_gpus)


def _note_elsewhere(session: Session, elsewhere: Elsewhere) -> None:
    """Say what another place for replicas does not bring."""
    if elsewhere.is_here:
        return
    threads, cores = (session.settings.threads or 1) * elsewhere.jobs, os.cpu_count() or 1
    if not session.scheduler.walk.forks:
        typer.echo("note: --jobs and --ray have no effect: no phase of the schedule has replicas", err=True)
    elif threads > cores:
        typer.echo(
            f"note: {elsewhere.jobs} processes have {threads} threads in all (--threads), and there are {cores} cores",
            err=True,
        )


def _begun(out: Path, asked: Mapping[str, Any], elsewhere: Elsewhere) -> tuple[RunFolder, Session]:
    """A new run; its folder is made when everything else is in order."""
    for name in ("schedule", "model"):
        if asked[name] is None:
            raise typer.BadParameter("needed, unless a run is resumed (--resume)", param_hint=f"--{name}")
    from schedengine.training.compute import share_of_threads
    from schedengine.training.run import RunFolder
    from schedengine.training.session import Session

    settings = Settings(**asked)
    RunFolder.check_free(out)
    session = Session.of(settings, Path(settings.schedule))
    if settings.threads is None:
        most = max((fork.replicas for fork in session.scheduler.walk.forks), default=1)
        threads = 1 if elsewhere.ray else share_of_threads(min(elsewhere.jobs, most))
        settings = session.settings = replace(settings, threads=threads)
    elsewhere.check(settings.threads)
    if asked["lr"] is not None and session.ignores_lr():
        typer.echo("note: --lr has no effect: the schedule names its own learning rates from the first step", err=True)
    return RunFolder.create(out, settings, session.data), session


def _resumed(
    context: typer.Context, out: Path, asked: Mapping[str, Any], elsewhere: Elsewhere
) -> tuple[RunFolder, Session]:
    """A run that was begun before; arguments that are given must be those it was begun with."""
    from schedengine.training.run import RunFolder
    from schedengine.training.session import Session

    folder = RunFolder.open(out)
    given = {name: value for name, value in asked.items() if _is_given(context, name)}
    if "schedule" in given:
        folder.check_schedule(Path(given.pop("schedule")))
    folder.settings.check_agrees(given)
    elsewhere.check(folder.settings.threads)
    return folder, Session.of(folder.settings, folder.schedule)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source("compile_" if name == "compile" else name)
    return source is not None and source.name == "COMMANDLINE"


def _watches(out: Path, *, tensorboard: bool) -> list[Watch]:
    """Made before the run's folder, which is not begun for want of a library."""
    if not tensorboard:
        return []
    from schedengine.integrations.tensorboard import TensorBoard

    return [TensorBoard(out / "tensorboard")]


def _run(folder: RunFolder, session: Session, watches: list[Watch], elsewhere: Elsewhere) -> Report:
    from schedengine.training.train import train

    with ProgressBar() as bar:
        return train(folder, session, bar, *watches, elsewhere=elsewhere)
