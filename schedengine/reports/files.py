"""Files that commands write where the user says: whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schedengine.errors import SchedEngineError
from schedengine.zoo.atomic import replacing


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A place beside ``path`` to write to, which takes its name in the end; its folder is made.

    Raises:
        SchedEngineError: it cannot be written there.
    """
    try:
        with replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise SchedEngineError(f"{path}: cannot be written: {error.strerror}; choose another place") from error
