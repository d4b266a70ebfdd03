"""``schedengine greedy``: filters removed in rounds, where they are missed least, and a schedule from it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedengine.cli import options
from schedengine.cli.evaluate import SplitChoice

if TYPE_CHECKING:
    import pandas

    from schedengine.analysis.greedy.session import Found


class By(str, Enum):
    """What the best candidate of a round is."""

    LOSS_PER_MAC = "loss_per_mac"
    TOP1 = "top1"


def greedy(
    model: options.ModelNeeded,
    out: Annotated[Path, typer.Option("--out", help="The folder for the table and the schedule.")],
    weights: Annotated[Path | None, typer.Option("--weights", help="What to prune: as in `train`.")] = None,
    data: options.Data = "digits",
    split: Annotated[
        SplitChoice, typer.Option("--split", help="Images to measure on; choose filters on others than you report on.")
    ] = SplitChoice.VALIDATION,
    images: Annotated[int, typer.Option("--images", min=1, help="Measure on at most so many, at random.")] = 2000,
    target_macs: Annotated[
        float, typer.Option("--target-macs", help="Stop at this share of the dense multiply-accumulates.")
    ] = 0.5,
    step: Annotated[float, typer.Option("--step", help="Share of a layer's dense filters that goes at a time.")] = 0.1,
    least: Annotated[float, typer.Option("--least", help="Share of a layer's dense filters that stays.")] = 0.1,
    by: Annotated[
        By, typer.Option("--by", help="Best: highest top-1 (Distiller), or least rise of the loss per MAC saved.")
    ] = By.TOP1,
    criterion: Annotated[str, typer.Option("--criterion", help="As in a schedule.")] = "magnitude",
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameters", help="Names or globs; again for more; default: all Conv and Linear weights."),
    ] = None,
    fine_tune: Annotated[
        int, typer.Option("--fine-tune", min=0, help="Epochs that every network trains before it is measured.")
    ] = 0,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate of --fine-tune.")] = 0.01,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of fine-tuning, in the schedule.")] = 10,
    batch_size: options.BatchSize = 128,
    validation: options.Validation = 0.1,
    seed: options.Seed = 0,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 0,
    classes: options.Classes = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that --out holds.")] = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Remove filters in rounds, each time where they are missed least, and write the schedule that does it."""
    from schedengine.analysis.greedy.session import Request, search

    request = Request(
        model=model,
        weights=None if weights is None else str(weights),
        data=data,
        split=split.value,
        target=target_macs,
        step=step,
        least=least,
        criterion=criterion,
        parameters=tuple(parameters or ()),
        by=by.value,
        images=images,
        fine_tune=fine_tune,
        lr=lr,
        batch_size=batch_size,
        validation=validation,
        seed=seed,
        root=None if root is None else str(root),
        download=download,
        image_size=image_size,
        workers=workers,
        classes=classes,
        plugin=tuple(plugin or ()),
    )
    try:
        found = search(request, out, epochs=epochs, resume=resume, watch=_say)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; go on with the same command and --resume (what is done is in {out})", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(_json(found))
    else:
        _show(found, f"{split.value} images")


def _say(table: pandas.DataFrame) -> None:
    """A line a round, to standard error."""
    from schedengine.analysis.greedy.candidates import short

    last = table[table["chosen"] == 1]
    if len(last) and (last.iloc[-1]["iteration"] == table["iteration"].max()):
        row = last.iloc[-1]
        what = "dense" if row["iteration"] == 0 else f"{short(row['layers'])}: {row['filters']} filters left"
        scores = f"MACs {row['macs_share']:.4f}, top-1 {row['top1']:.2f} %, loss {row['loss']:.4f}"
        typer.echo(f"round {row['iteration']}: {what}; {scores}", err=True)


def _json(found: Found) -> str:
    from schedengine.analysis.greedy.search import levels
    from schedengine.reports.tables import to_json

    kept = [
        {"layers": list(names), "filters": filters, "dense_filters": dense}
        for names, (filters, dense) in levels(found.table).items()
    ]
    return to_json({
        "rows": found.table,
        "chosen": kept,
        "images": found.images,
        "not_candidates": found.others,
        "files": [str(path) for path in found.files],
    })  # fmt: skip


def _show(found: Found, images: str) -> None:
    from schedengine.analysis.greedy.candidates import short
    from schedengine.analysis.greedy.search import levels
    from schedengine.reports.tables import count, fraction, percent, show_table

    rows = [
        [short(" ".join(names)), count(dense), count(filters), fraction(filters / dense)]
        for names, (filters, dense) in levels(found.table).items()
    ]
    notes = ["filters: of each of the layers named; layers on one line are added up, and lose the same filters"]
    notes += [f"not a candidate: {layers}: {reason}" for layers, reason in found.others.items()]
    show_table("Filters", ["layers", "before", "after", "after / before"], rows, "\n".join(notes))
    before, after = found.table.iloc[0], found.table[found.table["chosen"] == 1].iloc[-1]
    totals = [
        [label, count(before[name]), count(after[name]), fraction(after[name] / before[name])]
        for label, name in (("multiply-accumulates of one example", "macs"), ("parameters", "parameters"))
    ]
    scores = [
        ["top-1", percent(before["top1"]), percent(after["top1"]), ""],
        ["top-5", percent(before["top5"]), percent(after["top5"]), ""],
        ["loss", f"{before['loss']:.4f}", f"{after['loss']:.4f}", ""],
    ]
    show_table(
        "Network",
        ["", "before", "after", "after / before"],
        [*totals, *scores],
        f"accuracy: on {found.images:,} {images}, which the filters were chosen by; {after['iteration']} rounds, "
        f"{len(found.table)} networks measured",
    )
    for path in found.files:
        typer.echo(f"written: {path}")
