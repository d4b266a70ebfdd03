"""The objects of a run, made from its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedengine import SchedEngineError
from schedengine.training.session import Session
from schedengine.training.settings import Settings


def test_replicas_are_refused_while_the_loop_does_not_walk_through_them(tmp_path: Path) -> None:
    file = tmp_path / "soup.yaml"
    file.write_text("version: 2\nphases: [{name: cycle, epochs: 2, replicas: 3}]\npolicies: []\n")
    with pytest.raises(SchedEngineError, match="phase 'cycle' has replicas, which `schedengine train` cannot"):
        Session.of(Settings(schedule=str(file), model="digits_cnn"), file)
