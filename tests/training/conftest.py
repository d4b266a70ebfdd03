"""A run small enough for a test: two classes of constant images, one linear layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from schedengine.training.compute import Compute
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.settings import Settings
from schedengine.zoo.loader import Images, Loader

AGP = """
version: 2
phases:
  - {name: dense, epochs: 2}
  - {name: prune, epochs: 2}
pruners:
  agp: {sparsity: {ramp: linear, to: 0.5}}
policies:
  - {pruner: agp, during: prune}
"""


@pytest.fixture
def compute() -> Compute:
    return Compute(torch.device("cpu"))


@pytest.fixture
def loader() -> Loader:
    """Twelve images of 2x2 pixels, black or white, in batches of four."""
    labels = torch.arange(12) % 2
    images = (labels * 255).to(torch.uint8).view(12, 1, 1, 1).expand(12, 1, 2, 2)
    return Loader(Images(images, labels), 4, (0.5,), (0.5,))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., tuple[RunFolder, Session]]:
    """Begins a run on noise; give the schedule's text and what differs from the usual settings."""

    def begin(schedule: str = AGP, **options: object) -> tuple[RunFolder, Session]:
        file = tmp_path / "asked.yaml"
        file.write_text(schedule)
        usual = {"model": "digits_cnn", "data": "fake", "image_size": 8, "batch_size": 128, "lr": 0.01}
        settings = Settings(schedule=str(file), **{**usual, **options})  # type: ignore[arg-type]
        session = Session.of(settings, file)
        return RunFolder.create(tmp_path / "run", settings, session.data), session

    return begin
