"""The command pages show what the commands print."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def transcripts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("transcripts", DOCS / "transcripts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SHOWN = transcripts()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with SHOWN.workplace(tmp_path_factory.mktemp("docs")) as pictures:
        yield pictures


@pytest.mark.parametrize("page", SHOWN.pages(), ids=lambda page: page.stem)
def test_a_page_shows_what_its_commands_print(page: Path, workplace: Path) -> None:
    assert page.read_text() == SHOWN.renewed(page.read_text()), "run 'make docs'"
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", page.read_text()):
        assert (page.parent / picture).exists() and (workplace / picture).stat().st_size > 1000


def test_a_block_that_was_measured_is_not_run_again() -> None:
    text = "```console measured\n$ schedengine nonsense\nas it was\n```"
    assert SHOWN.renewed(text) == text


def test_an_exit_code_is_shown() -> None:
    assert SHOWN.run("$ schedengine list --kind nonsense").endswith("[exit code 1]\n")
