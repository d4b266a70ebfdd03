"""Imports only point down, every library has one door, and what is looked at first is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import schedengine

PACKAGE = Path(schedengine.__file__).parent
LAYERS = [
    ["_version", "errors", "registry"],
    ["progress", "zoo", "reports", "distributed"],
    ["selection", "granularity", "criteria", "sparsity", "lr"],
    ["masks"],
    ["weights", "pruners", "regularizers", "export"],
    ["policies"],
    ["soups"],
    ["scheduler"],
    ["schedule"],
    ["training", "analysis", "integrations"],
    ["cli"],
]
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
DOORS = {
    "yaml": "schedule/source.py",
    "typer": "cli/",
    "matplotlib": "reports/",
    "ray": "distributed/",
    "torch_pruning": "export/graph.py",
    "optuna": "integrations/",
    "tensorboard": "integrations/",
    "torch.utils.tensorboard": "integrations/",
}
TOP = {"__init__.py", "__main__.py"}


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).as_posix() not in TOP]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_point_down(path: Path) -> None:
    here = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imports(path):
        if module.startswith("schedengine.") and room(module) in LEVEL:
            assert LEVEL[room(module)] <= LEVEL[here], f"{here} imports {module}, which stands above it"


@pytest.mark.parametrize("library", DOORS)
def test_a_library_has_one_door(library: str) -> None:
    users = [path.relative_to(PACKAGE).as_posix() for path in modules() if library in imports(path)]
    assert all(user.startswith(DOORS[library]) for user in users), users


def test_every_room_has_its_level() -> None:
    rooms = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in modules()}
    assert rooms <= set(LEVEL)


def test_every_room_is_a_package_that_gets_installed() -> None:
    rooms = {path.parent for path in PACKAGE.rglob("*.py")}
    assert all((room / "__init__.py").exists() for room in rooms)


def loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(output.split())


def test_importing_the_package_is_cheap() -> None:
    assert not {"torch", "matplotlib", "pandas", "torchvision", "ray"} & loaded("import schedengine")


def test_loading_a_schedule_needs_no_plots_and_no_pandas() -> None:
    used = loaded("from schedengine import load_schedule; load_schedule('version: 2\\npolicies: []\\n')")
    assert not {"matplotlib", "pandas", "torchvision", "ray"} & used


@pytest.mark.parametrize("room", ["criteria", "granularity", "sparsity", "lr", "pruners", "regularizers"])
def test_listing_names_imports_no_torch(room: str) -> None:
    assert "torch" not in loaded(f"import schedengine.{room}")


def test_help_imports_no_torch() -> None:
    assert "torch" not in loaded("import schedengine.cli.app")
