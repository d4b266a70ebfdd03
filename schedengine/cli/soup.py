"""``schedengine soup``: finished networks averaged into one."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schedengine.cli import options

if TYPE_CHECKING:
    from schedengine.analysis.soups import Soup


class Method(str, Enum):
    """Which members are averaged."""

    UNIFORM = "uniform"
    GREEDY = "greedy"


class Metric(str, Enum):
    """What members are chosen by."""

    TOP1 = "top1"
    TOP5 = "top5"
    LOSS = "loss"


class Sharing(str, Enum):
    """How an average is cut back."""

    GLOBAL = "global"
    LAYER = "layer"


def soup(
    members: Annotated[
        list[Path],
        typer.Argument(metavar="MEMBER", help="Weights, run folders, or a folder with replica-*.safetensors."),
    ],
    method: Annotated[
        Method, typer.Option("--method", help="uniform: average all; greedy: those that help on validation images.")
    ] = Method.UNIFORM,
    metric: Annotated[
        Metric, typer.Option("--metric", help="On validation images, that --method greedy and the best member go by.")
    ] = Metric.TOP1,
    recalibrate: Annotated[
        str | None,
        typer.Option(
            "--recalibrate", metavar="N|none", help="Batch-norm statistics from N training batches; default: a pass."
        ),
    ] = None,
    reprune: Annotated[
        bool, typer.Option("--reprune", help="Members are pruned differently: cut their average back.")
    ] = False,
    allocation: Annotated[
        Sharing, typer.Option("--allocation", help="Of --reprune: global, or each layer to its members' sparsity.")
    ] = Sharing.GLOBAL,
    sparsity: Annotated[
        float | None, typer.Option("--sparsity", help="Of --reprune: fraction removed; default: as the members.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the average here: NAME.safetensors.")] = None,
    corrupted: Annotated[
        bool, typer.Option("--corrupted", help="Measure on corrupted test images too; takes long.")
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Draw what lies between pairs of members (loss barriers): .png, .svg or .pdf."),
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="A folder for the tables as CSV files.")] = None,
    model: options.Model = None,
    data: Annotated[str | None, typer.Option("--data", help="As in `train`; default: the run's, or digits.")] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images in a forward pass; default: the run's, or 64.")
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option("--validation", min=0, max=0.99, help="As in `train`; default: the run's, or 0.1."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of the validation images; default: the run's, or 0.")
    ] = None,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes that load data of a factory.")
    ] = None,
    augment: Annotated[
        bool | None,
        typer.Option("--augment/--no-augment", help="Of --recalibrate: images as in training; default: the run's."),
    ] = None,
    classes: options.Classes = None,
    plugin: options.Plugin = None,
    as_json: options.Json = False,
) -> None:
    """Average finished networks into one, and measure it beside them."""
    from schedengine.analysis.soups import Request, cook
    from schedengine.errors import SchedEngineError
    from schedengine.reports.canvas import check_suffix

    request = Request(
        members=tuple(members),
        method=method.value,
        metric=metric.value,
        recalibrate=_batches(recalibrate),
        reprune=reprune,
        allocation=allocation.value,
        sparsity=sparsity,
        corrupted=corrupted,
        model=model,
        data=data,
        batch_size=batch_size,
        validation=validation,
        seed=seed,
        root=None if root is None else str(root),
        download=download or None,
        image_size=image_size,
        workers=workers,
        augment=augment,
        classes=classes,
        plugin=tuple(plugin) if plugin else None,
    )
    if figure is not None:
        check_suffix(figure)
    if out is not None and out.suffix != ".safetensors":
        raise SchedEngineError(f"--out {out}: weights are written as safetensors; end it in .safetensors")
    made = cook(request, with_lines=figure is not None)
    if as_json:
        typer.echo(_json(made))
    else:
        _show(made)
    for path in _written(made, out, figure, csv):
        typer.echo(f"written: {path}", err=as_json)


def _batches(text: str | None) -> int | None:
    """None for a whole pass, 0 for none."""
    from schedengine.errors import SchedEngineError

    if text is None or text == "none":
        return None if text is None else 0
    if not text.isdecimal() or int(text) == 0:
        raise SchedEngineError(f"--recalibrate {text}: a number of training batches, 1 or more, or none")
    return int(text)


def _written(made: Soup, out: Path | None, figure: Path | None, csv: Path | None) -> list[Path]:
    from schedengine.analysis.soups import barriers
    from schedengine.analysis.table_file import write_table
    from schedengine.reports.canvas import save
    from schedengine.reports.soup_figure import draw_lines

    paths = []
    if out is not None:
        made.save(out)
        paths.append(out)
    if figure is not None and made.lines is not None:
        paths.append(
            save(
                draw_lines(
                    made.lines, barriers(made.lines), split="test", said=f"Batch-norm statistics: {made.calibrated}."
                ),
                figure,
            )
        )
    tables = {"soup": made.table, "pairs": made.pairs, "lines": made.lines, "corrupted": made.corrupted}
    for name, table in tables.items():
        if csv is not None and table is not None:
            write_table(table, csv / f"{name}.csv")
            paths.append(csv / f"{name}.csv")
    return paths


def _json(made: Soup) -> str:
    from schedengine.reports.tables import to_json

    return to_json({
        "networks": made.table,
        "chosen": made.chosen,
        "pairs": made.pairs,
        "angles_from": made.angles_from,
        "lines": made.lines,
        "corrupted": made.corrupted,
        "notes": made.notes,
    })  # fmt: skip


def _show(made: Soup) -> None:
    from schedengine.reports.tables import fraction, percent, show_table

    columns = [
        (header, name, shown)
        for header, name, shown in (
            ("top-1\nvalidation", "validation_top1", percent),
            ("top-1\ntest", "test_top1", percent),
            ("top-1\ncorrupted", "corrupted_top1", percent),
            ("loss\nvalidation", "validation_loss", fraction),
            ("loss\ntest", "test_loss", fraction),
            ("sparsity", "sparsity", fraction),
        )
        if made.table[name].notna().any()
    ]
    rows = [
        [str(row["network"]), *(shown(row[name]) for _, name, shown in columns)]
        for row in made.table.to_dict("records")
    ]
    show_table("Soup", ["network", *(header for header, *_ in columns)], rows, "\n".join(made.notes))
    _show_pairs(made)


def _show_pairs(made: Soup) -> None:
    from schedengine.reports.tables import fraction, show_table

    barrier = ["barrier_loss"] * ("barrier_loss" in made.pairs)
    rows = [
        [
            f"{row['first']}, {row['second']}",
            f"{row['distance']:#.4g}",
            fraction(row["relative"]),
            "-" if row["angle"] != row["angle"] else f"{row['angle']:.1f}",
            *(fraction(row[name]) for name in barrier),
        ]
        for row in made.pairs.to_dict("records")
    ]
    notes = [
        "distance: L2 norm of the difference of all parameters; relative: over the L2 norm of the members' mean",
        f"angle: in degrees, {made.angles_from}",
    ]
    if barrier:
        notes.append("barrier: how much the test loss rises on the line between the two over that of its ends, at most")
        if made.pairs["barrier_loss"].isna().any():
            notes.append("-: not measured, only the first five are joined; or a loss that is no number")
    headers = ["members", "distance", "relative", "angle", *("barrier\n(loss)" for _ in barrier)]
    show_table("Pairs", headers, rows, "\n".join(notes))
