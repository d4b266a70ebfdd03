"""The objects of a run, made from its settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedengine import SchedEngineError
from schedengine.training.session import Session
from schedengine.training.settings import Settings


def test_a_greedy_soup_wants_validation_images(tmp_path: Path) -> None:
    file = tmp_path / "soup.yaml"
    file.write_text("version: 2\nphases: [{name: cycle, epochs: 2, replicas: 3, soup: greedy}]\npolicies: []\n")
    with pytest.raises(SchedEngineError, match="--validation 0: the soup of phase 'cycle' is greedy"):
        Session.of(Settings(schedule=str(file), model="digits_cnn", validation=0), file)
