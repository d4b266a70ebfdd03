"""``schedengine merge``: shards of a sensitivity analysis put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD...", help="Each shard's --out folder, or its sensitivity.csv.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The file of the whole sweep: FILE.csv.")],
) -> None:
    """Put the shards of a sensitivity analysis together; the result is the file of the sweep in one piece."""
    from schedengine.analysis.sensitivity.session import put_together

    found = put_together(shards, out)
    typer.echo(f"written: {out} ({len(found)} rows, {found['samples'].max():,} images)")
