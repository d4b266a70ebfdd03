"""``schedengine convert``: Distiller's schedules in the language of version 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schedengine.cli import options


def convert(
    schedule: Annotated[Path, typer.Argument(help="The YAML file, version 1.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; default: standard output.", dir_okay=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there already.")] = False,
    plugin: options.Plugin = None,
) -> None:
    """Write a version 1 schedule, Distiller's, as the version 2 text that does the same, with its comments."""
    from schedengine.errors import SchedEngineError
    from schedengine.reports.files import writing
    from schedengine.schedule.convert import convert as converted
    from schedengine.zoo.factory import import_plugins

    if out is not None and out.exists() and not force:
        raise SchedEngineError(f"--out {out}: is there already; choose another name, or write over it with --force")
    import_plugins(plugin or ())
    text = converted(schedule)
    if out is None:
        typer.echo(text, nl=False)
        return
    with writing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    typer.echo(f"written: {out}", err=True)
