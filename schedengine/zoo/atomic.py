"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the folder of ``path``; what was written there takes its place when the block succeeds.

    A reader sees the old file or the new one, and a run that is killed while writing leaves the old one. The folder is
    made if need be; nothing is left behind when the block raises.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "report.txt"
        >>> with replacing(file) as temporary:
        ...     _ = temporary.write_text("done")
        >>> file.read_text()
        'done'
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
