"""The training before a run, as the file of its weights tells it."""

from __future__ import annotations

from pathlib import Path

from schedengine.errors import ModelError
from schedengine.lr.trace import NOTE, Trace
from schedengine.zoo.weights import read_notes


def trace_of(path: str | Path) -> Trace | None:
    """The learning rates that weights were trained with, where their file notes them (those of ``train`` do).

    Raises:
        ModelError: no such file, or the note is damaged.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such file; expected weights")
    try:
        notes = read_notes(path)
        return Trace.from_text(notes[NOTE]) if NOTE in notes else None
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
