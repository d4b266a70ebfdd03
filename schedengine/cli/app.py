"""The program: its commands, and what becomes of errors and warnings."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, NoReturn, TextIO

import typer

from schedengine._version import __version__
from schedengine.cli.check import check
from schedengine.cli.compare import compare
from schedengine.cli.convert import convert
from schedengine.cli.evaluate import evaluate
from schedengine.cli.export import export
from schedengine.cli.greedy import greedy
from schedengine.cli.init import init
from schedengine.cli.list import list_
from schedengine.cli.merge import merge
from schedengine.cli.plan import plan
from schedengine.cli.plot import plot
from schedengine.cli.schema import schema
from schedengine.cli.sensitivity import sensitivity
from schedengine.cli.soup import soup
from schedengine.cli.summary import summary
from schedengine.cli.train import train
from schedengine.cli.tune import tune
from schedengine.errors import EffectWarning, SchedEngineError, ScheduleWarning
from schedengine.reports.diagnostics import render

app = typer.Typer(
    name="schedengine",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(init)
app.command("list")(list_)
app.command()(convert)
app.command()(check)
app.command()(plan)
app.command()(sensitivity)
app.command()(merge)
app.command()(greedy)
app.command()(train)
app.command()(tune)
app.command()(evaluate)
app.command()(soup)
app.command()(export)
app.command()(summary)
app.command()(plot)
app.command()(compare)
app.command()(schema)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"schedengine {__version__}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Prune PyTorch networks by a YAML schedule: it says what to prune and when."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program, and leave it.

    Exit codes: 0 done, 1 the user's mistake, 2 usage, 130 interrupted.

    Args:
        arguments: None for those of the process.
    """
    # Idle OpenMP threads spin by default. With one other program on two cores, a small network then takes 175 s where
    # it takes 15 s with threads that sleep. Read when torch is first imported; the user's own setting stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with warnings.catch_warnings():
        _show_warnings()
        try:
            app(args=None if arguments is None else list(arguments), prog_name="schedengine")
        except SchedEngineError as error:
            typer.echo("\n".join(_shown(error)), err=True)
            sys.exit(1)
    sys.exit(0)


def _shown(error: SchedEngineError) -> list[str]:
    """A schedule's problems each with its line; the lines of any other message belong together."""
    problems = getattr(error, "problems", None)
    return [render(problem) for problem in problems] if problems else [f"error: {error}"]


def _show_warnings() -> None:
    """Our warnings as a line each; those of libraries stay as they are."""
    usual = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, (ScheduleWarning, EffectWarning)):
            typer.echo(f"warning: {message}", err=True)
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    for category in (ScheduleWarning, EffectWarning):
        warnings.simplefilter("always", category)
