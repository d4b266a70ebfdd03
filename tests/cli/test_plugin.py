"""``--plugin``: classes of one's own, named in a schedule."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schedengine.cli.app import app
from schedengine.criteria import CRITERIA

PLUGIN = """
from pydantic.dataclasses import dataclass

from schedengine.criteria import CRITERIA
from schedengine.criteria.base import Criterion
from schedengine.registry import SPEC


@dataclass(frozen=True, config=SPEC)
class Largest(Criterion):
    \"\"\"Large weights go first.\"\"\"

    def scores(self, weight, granularity, *, key):
        return -granularity.group(weight).abs().sum(dim=1)


CRITERIA.register("largest", Largest)
"""
SCHEDULE = """
version: 2
pruners: {half: {criterion: largest, sparsity: 0.5}}
policies: [{pruner: half, at: 1}]
"""
TRAIN = ["train", "--out", "run"]
FRESH = [*TRAIN, *shlex.split("--schedule s.yaml --model digits_cnn --data fake --image-size 8 --epochs 2 --json")]


def forget() -> None:
    sys.modules.pop("my_criteria", None)
    CRITERIA._entries.pop("largest", None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin in the working folder; what it registers is forgotten after the test."""
    (tmp_path / "my_criteria.py").write_text(PLUGIN)
    (tmp_path / "s.yaml").write_text(SCHEDULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(CRITERIA, "_entries", dict(CRITERIA._entries))
    forget()


def test_a_criterion_of_ones_own_prunes_and_the_run_remembers_where_it_is() -> None:
    first = CliRunner().invoke(app, [*FRESH, "--plugin", "my_criteria"], catch_exceptions=False)
    assert json.loads(first.stdout)["pruned"][0]["achieved"] == pytest.approx(0.5, abs=1e-4)
    forget()
    again = CliRunner().invoke(app, [*TRAIN, "--resume", "--json"], catch_exceptions=False)
    assert again.stdout == first.stdout


def test_without_its_plugin_the_criterion_is_unknown() -> None:
    found = CliRunner().invoke(app, FRESH)
    assert found.exit_code == 1 and "unknown criterion 'largest'" in str(found.exception)


def test_the_schema_shows_what_plugins_register() -> None:
    plain, extended = (CliRunner().invoke(app, ["schema", *more]).stdout for more in ([], ["--plugin", "my_criteria"]))
    assert '"largest"' not in plain and "Large weights go first." in extended
