"""Every schedule that ships loads without a note, fits the model its header names, and says how it did."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import torch

from schedengine import dump, load_schedule
from schedengine.zoo.models import build_model

FOLDER = Path(__file__).parent.parent / "schedules"
FILES = sorted(FOLDER.rglob("*.yaml"))


def header(path: Path) -> str:
    lines = path.read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.lstrip("# ") for line in lines[:end])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_shipped_schedule_binds_to_the_model_of_its_header(path: Path) -> None:
    (name,) = set(re.findall(r"--model (\S+)", header(path)))
    model = build_model(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        schedule = load_schedule(path)
        schedule.bind(model, torch.optim.SGD(model.parameters(), lr=0.1), steps_per_epoch=100)
    assert load_schedule(dump(schedule)) == schedule


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_a_shipped_schedule_says_what_it_is_and_how_it_did(path: Path) -> None:
    said = header(path)
    schema = re.match(r"yaml-language-server: \$schema=(\S+)", said)
    assert schema is not None and json.loads((path.parent / schema[1]).read_text())["title"] == "schedengine schedule"
    for word in ("arXiv", "schedengine train", "--seed", "Result", "sparsity", "top-1"):
        assert word in said, word
