"""What the README and the docs show is what works."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from loops import small_model

from schedengine import load_schedule
from schedengine.schedule import distiller

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{page.name} {number}")
        for page in PAGES
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S))
    ]


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_shown_runs(code: str, tmp_path: Path) -> None:
    """In a process of its own: examples register things."""
    script = tmp_path / "shown.py"
    script.write_text(code)
    subprocess.run([sys.executable, "-W", "error::UserWarning", str(script)], check=True, cwd=tmp_path)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_the_yaml_shown_loads_and_binds(text: str) -> None:
    model = small_model()
    schedule = load_schedule(text)
    schedule.bind(model, torch.optim.SGD(model.parameters(), lr=0.1), epochs=schedule.epochs or 30)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_the_reference_names_every_class_of_distillers() -> None:
    text = (ROOT / "docs" / "yaml.md").read_text()
    rows = [*distiller.PRUNERS, *distiller.REGULARIZERS, *distiller.EXTENSIONS]
    assert [name for name in rows if f"`{name}`" not in text] == []


def test_the_reference_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run 'make docs'"
    assert module.SCHEMA.read_text() == module.schema(), "run 'make docs'"
