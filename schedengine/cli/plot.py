"""``schedengine plot``: pictures of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from schedengine.analysis.runs import Run


def plot(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders, or any CSV files with a header.")],
    x: Annotated[str | None, typer.Option("--x", help="Column to the right; default: epoch.")] = None,
    y: Annotated[str | None, typer.Option("--y", help="Column upwards; without it, an overview.")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by", help="Column with a curve for each value; again for a second. Default: parameter, or text."
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="Name of a group of runs, in their order; once for each group.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="FILE.png, .svg or .pdf; default: plot.png in the run's folder; here, for several."),
    ] = None,
) -> None:
    """Draw runs: accuracy over sparsity, curves over the epochs, layers; or any column over another.

    Runs that differ only by seed are drawn as their mean, with a band from the smallest to the largest.
    """
    from schedengine.analysis.runs import open_runs
    from schedengine.reports.canvas import check_suffix, save

    if y is None and (x is not None or by is not None):
        raise typer.BadParameter("say what to draw upwards", param_hint="--y")
    target = check_suffix(out or _default(runs))
    found = open_runs(runs)
    picture = _draw(found, x or "epoch", y, by, label or ())
    for run in found:
        if run.note:
            typer.echo(f"{run.path}: {run.note}", err=True)
    typer.echo(f"written: {save(picture, target)}")


def _default(runs: Sequence[Path]) -> Path:
    if len(runs) > 1:
        return Path("plot.png")
    return (runs[0] if runs[0].is_dir() else runs[0].parent) / "plot.png"


def _draw(runs: Sequence[Run], x: str, y: str | None, by: Sequence[str] | None, labels: Sequence[str]) -> Figure:
    from schedengine.analysis.runs import layers_of, metrics_of, replicas_of
    from schedengine.reports.column_figure import draw_columns
    from schedengine.reports.run_figures import draw_runs

    rows, replicas = metrics_of(runs, labels=labels), replicas_of(runs, labels=labels)
    if y is None:
        return draw_runs(rows, layers_of(runs, labels=labels), replicas)
    return draw_columns(rows, x, y, by=by, replicas=replicas)
