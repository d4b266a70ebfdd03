"""``schedengine sensitivity``: how much each layer can lose, and a schedule from it."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedengine.cli import options
from schedengine.cli.evaluate import SplitChoice
from schedengine.cli.progress import SweepBar

if TYPE_CHECKING:
    import pandas

    from schedengine.analysis.sensitivity.session import Conclusion, Request


_SHOWN = 10
"""Levels that the terminal shows, at most."""


class Unit(str, Enum):
    """What is removed."""

    WEIGHTS = "weights"
    MACS = "macs"


def sensitivity(
    model: options.ModelNeeded,
    out: Annotated[Path, typer.Option("--out", help="The folder for the table, the picture and the page.")],
    weights: Annotated[Path | None, typer.Option("--weights", help="What to prune: as in `train`.")] = None,
    data: options.Data = "digits",
    split: Annotated[
        SplitChoice, typer.Option("--split", help="Images to measure on; choose levels on others than you report on.")
    ] = SplitChoice.VALIDATION,
    levels: Annotated[
        str, typer.Option("--levels", help="Fractions removed: start:stop:step (stop included), or 0.5,0.9.")
    ] = "0:0.95:0.05",
    granularity: Annotated[
        str, typer.Option("--granularity", help="As in a schedule: element, filter, channel, ..., '{block: [4, 1]}'.")
    ] = "element",
    criterion: Annotated[str, typer.Option("--criterion", help="As in a schedule.")] = "magnitude",
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameters", help="Names or globs; again for more; default: all Conv and Linear weights."),
    ] = None,
    allocation: Annotated[
        str | None, typer.Option("--allocation", help="Also prune the whole network: global, uniform, erk, lamp, ...")
    ] = None,
    subset: Annotated[int | None, typer.Option("--subset", min=1, help="Measure on so many images, at random.")] = None,
    within: Annotated[
        float | None, typer.Option("--within", help="Stop a cell once its drop is known to so many points (95 %).")
    ] = None,
    floor: Annotated[
        float | None, typer.Option("--floor", help="With --within: stop also once the drop is beyond so many points.")
    ] = None,
    bfloat16: Annotated[
        bool, typer.Option("--bf16", help="Faster on some processors; counts differ a little, and rows say so.")
    ] = False,
    suggest: Annotated[
        float | None,
        typer.Option("--suggest", metavar="DROP", help="Write suggested.yaml: lose at most so many points."),
    ] = None,
    target: Annotated[
        float | None, typer.Option("--target", help="Write suggested.yaml: remove this fraction, with the least loss.")
    ] = None,
    by: Annotated[Unit, typer.Option("--by", help="What --suggest and --target count as removed.")] = Unit.WEIGHTS,
    batch_size: options.BatchSize = 128,
    validation: options.Validation = 0.1,
    seed: options.Seed = 0,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 0,
    classes: options.Classes = None,
    shard: Annotated[
        str | None, typer.Option("--shard", help="One of several parts: 1/4 up to 4/4; put together by `merge`.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Local processes that share the images.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster whose tasks share the images (--jobs)."),
    ] = None,
    way: Annotated[
        str | None, typer.Option("--way", help="Batch and layout to compute in, 64:channels_last; default: by trying.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the sweep that --out holds.")] = False,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Prune one parameter at a time to each level, and measure: how much can each layer lose?"""
    from schedengine.analysis.sensitivity.session import Request, Wish, conclude

    request = Request(
        model=model,
        weights=None if weights is None else str(weights),
        data=data,
        split=split.value,
        levels=levels,
        granularity=granularity,
        criterion=criterion,
        parameters=tuple(parameters or ()),
        allocation=allocation,
        subset=subset,
        within=within,
        floor=floor,
        bfloat16=bfloat16,
        batch_size=batch_size,
        validation=validation,
        seed=seed,
        root=None if root is None else str(root),
        download=download,
        image_size=image_size,
        workers=workers,
        classes=classes,
        shard=shard,
        way=way,
        plugin=tuple(plugin or ()),
    )
    wish = Wish(drop=suggest, target=target, by=by.value)
    wish.check()
    try:
        frame = _measured(request, out, resume=resume, jobs=jobs, ray=ray)
        found = conclude(request, frame, out, wish)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; go on with the same command and --resume (what is done is in {out})", err=True)
        raise typer.Exit(130) from None
    if as_json:
        typer.echo(_json(frame, found))
    else:
        _show(frame, found)


def _measured(request: Request, out: Path, *, resume: bool, jobs: int, ray: str | None) -> pandas.DataFrame:
    from schedengine.analysis.sensitivity.session import measure, measure_in_parts

    if jobs > 1 or ray is not None:
        return measure_in_parts(request, out, jobs=jobs, resume=resume, ray=ray)
    with SweepBar() as bar:
        return measure(request, out, resume=resume, watch=lambda now: bar(now.images, now.total, now.open, now.cells))


def _json(frame: pandas.DataFrame, found: Conclusion) -> str:
    from schedengine.reports.tables import to_json

    suggestion = found.suggestion
    said = None if suggestion is None else {"levels": suggestion.levels, "said": suggestion.said}
    return to_json({"cells": frame, "suggestion": said, "files": [str(path) for path in found.files]})


def _show(frame: pandas.DataFrame, found: Conclusion) -> None:
    from schedengine.reports.tables import fraction, percent, show_table

    columns = _columns(frame)
    rows = [
        [str(name), *(_cell(part, level) for level in columns)] for name, part in frame.groupby("parameter", sort=False)
    ]
    dense = frame[frame["sparsity"] == 0].iloc[0]
    show_table(
        "Points of top-1 lost",
        ["parameter", *(f"{level:g}" for level in columns)],
        rows,
        f"pruned alone to each level (fraction removed); dense top-1 {percent(dense['top1'])}, "
        f"{dense['samples']:,} images of the split; '~': estimated from some of them; '!': not the level asked, "
        "see the note in the table; '-': not known, likewise",
    )
    if found.suggestion is not None:
        show_table(
            "Suggested levels",
            ["parameter", "level"],
            [[name, fraction(level)] for name, level in found.suggestion.levels.items()],
            "\n".join(found.suggestion.said),
        )
    for path in found.files:
        typer.echo(f"written: {path}")


def _columns(frame: pandas.DataFrame) -> list[float]:
    """Levels to show: all if few, else evenly spaced ones, the last among them."""
    levels = sorted(level for level in frame["sparsity"].unique() if level > 0)
    stride = -(-len(levels) // _SHOWN)
    return list(reversed(levels[::-1][::stride])) if levels else []


def _cell(part: pandas.DataFrame, level: float) -> str:
    row = part[part["sparsity"] == level].iloc[0]
    if row["drop"] != row["drop"]:
        return "-"
    marks = "~" * bool(row["drop_low"] < row["drop_high"]), "!" * bool(row["note"])
    return f"{marks[0]}{row['drop']:.2f}{marks[1]}"
