"""``schedengine schema``: the JSON Schema of schedules, for editors."""

from __future__ import annotations

import json

import typer


def schema() -> None:
    """Print the JSON Schema of schedule files; editors complete and check with it."""
    from schedengine.schedule.json_schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
