"""``schedengine schema``: the JSON Schema of schedules, for editors."""

from __future__ import annotations

import json

import typer

from schedengine.cli import options


def schema(plugin: options.Plugin = None) -> None:
    """Print the JSON Schema of schedule files; editors complete and check with it."""
    from schedengine.schedule.json_schema import json_schema
    from schedengine.zoo.factory import import_plugins

    import_plugins(plugin or ())
    typer.echo(json.dumps(json_schema(), indent=2))
