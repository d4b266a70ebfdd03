"""The commands that the documentation shows, run for real: a ``console`` block is a command and what it prints.

    $ schedengine plan schedules/digits/agp.yaml --model digits_cnn
    ...

``make docs`` runs every block again and writes what comes out, with the pictures; a test fails while a page differs
from what its commands print. A block that begins with ``console measured`` shows times or accuracies, which differ
between machines; it is only run again when its output is deleted.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from schedengine.cli.app import main

DOCS = Path(__file__).parent
PAGES = DOCS / "commands"
_BLOCK = re.compile(r"^```console( measured)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LENT = ("schedules", "benchmarks")
"""Folders that commands read from."""


def pages() -> list[Path]:
    """Every page with commands."""
    return sorted(PAGES.glob("*.md"))


def renewed(text: str) -> str:
    """A page whose blocks are run again. To be called in a folder that has what the commands read."""
    return _BLOCK.sub(_renew, text)


def _renew(block: re.Match[str]) -> str:
    measured, body = block[1] or "", block[2]
    lines = body.splitlines()
    commands = [line for line in lines if line.startswith("$ ")]
    if measured and len(lines) > len(commands):
        return block[0]
    printed = "".join(f"{command}\n{run(command)}" for command in commands)
    return f"```console{measured}\n{printed}```"


def run(command: str) -> str:
    """What a command prints, and its exit code if it is not 0."""
    words = shlex.split(command.removeprefix("$ "))
    redirected = Path(words[words.index(">") + 1]) if ">" in words else None
    if redirected is not None:
        words = words[: words.index(">")]
    if words[0] != "schedengine":
        raise ValueError(f"{command}: only schedengine is run")
    output, code = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main(words[1:])
        except SystemExit as stop:
            code = int(stop.code or 0)
    text = output.getvalue()
    if redirected is not None:
        redirected.write_text(text)
        text = ""
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "".join(f"{line}\n" for line in lines) + (f"[exit code {code}]\n" if code else "")


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """An empty folder with what commands read, as the working folder; yields where pictures for the pages go."""
    root = DOCS.parent
    for name in _LENT:
        (folder / name).symlink_to(root / name)
    pictures = folder / "docs" / "commands"
    shutil.copytree(PAGES, pictures)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield pictures
    finally:
        os.chdir(before)


def renew_all(pages_and_pictures: Path) -> None:
    """Run every page of a folder again, in its place, from a folder that ``workplace`` made."""
    for page in sorted(pages_and_pictures.glob("*.md")):
        page.write_text(renewed(page.read_text()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty, workplace(Path(empty)) as made:
        renew_all(made)
        for file in [*made.glob("*.md"), *made.glob("*.svg"), *made.glob("*.png")]:
            shutil.copyfile(file, PAGES / file.name)
