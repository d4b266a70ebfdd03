"""A run that thins its network: rows, files and report follow, and a resumed run has the right sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from schedengine import load_pruned
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.train import train
from schedengine.zoo.weights import read_state

Start = Callable[..., tuple[RunFolder, Session]]
SCHEDULE = """
version: 2
phases:
  - {name: prune, epochs: 2}
  - {name: tune, epochs: 2}
pruners:
  filters: {parameters: [conv2.weight, conv3.weight], granularity: filter, allocation: uniform, sparsity: 0.5}
policies:
  - {pruner: filters, at: prune}
  - {thin: filters, at: tune}
"""


def test_what_was_removed_counts_as_zero(start: Start) -> None:
    folder, session = start(SCHEDULE)
    report = train(folder, session)
    (pruned,) = report.pruned
    # Of conv2 16 filters of 144 weights are left, of conv3 32 filters of 16 channels.
    assert (pruned.zeros, pruned.weights) == (4608 + 18432 - 16 * 144 - 32 * 144, 4608 + 18432)
    (thinned,) = report.thinned
    assert thinned.epoch == 2 and thinned.shapes["conv3.weight"] == ((64, 32, 3, 3), (32, 16, 3, 3))


def test_the_weights_at_the_end_load_without_the_run(start: Start) -> None:
    folder, session = start(SCHEDULE)
    train(folder, session)
    network = load_pruned(lambda: _fresh(session), folder.path / "model.safetensors").eval()
    session.model.eval()
    images = torch.randn(2, *session.data.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network(images), session.model(images))


def test_a_run_goes_on_after_thinning(start: Start, tmp_path: Path) -> None:
    folder, session = start(SCHEDULE)
    train(folder, session)
    whole = read_state(folder.path / "model.safetensors")
    begun, session = _again(start, tmp_path)
    _until(begun, session, epochs=3)
    resumed = Session.of(begun.settings, begun.schedule)
    train(RunFolder.open(begun.path), resumed)
    found = read_state(begun.path / "model.safetensors")
    assert found.keys() == whole.keys() and all(torch.equal(found[name], whole[name]) for name in whole)


def test_a_run_that_begins_thinned_writes_weights_with_their_sizes(start: Start, tmp_path: Path) -> None:
    folder, session = start(SCHEDULE)
    train(folder, session)
    (tmp_path / "run").rename(tmp_path / "first")
    pruner = "pruners: {p: {sparsity: 0.1}}\npolicies: [{pruner: p, at: tune}]"
    plain = f"version: 2\nphases: [{{name: tune, epochs: 1}}]\n{pruner}"
    folder, session = start(plain, weights=str(tmp_path / "first" / "model.safetensors"))
    train(folder, session)
    network = load_pruned(lambda: _fresh(session), folder.path / "model.safetensors")
    assert tuple(network.get_parameter("conv3.weight").shape) == (32, 16, 3, 3)


def _fresh(session: Session) -> torch.nn.Module:
    from schedengine.zoo.models import build_model

    return build_model("digits_cnn", classes=session.data.classes, channels=session.data.shape[0])


def _again(start: Start, tmp_path: Path) -> tuple[RunFolder, Session]:
    (tmp_path / "run").rename(tmp_path / "whole")
    return start(SCHEDULE)


def _until(folder: RunFolder, session: Session, *, epochs: int) -> None:
    """Train, and be killed after so many epochs."""

    class Killed(Exception):
        pass

    class Watch:
        def begin(self, epoch: int, epochs: int, steps: int) -> None:
            del epoch, epochs, steps

        def step(self) -> None:
            if session.scheduler._begun == epochs:
                raise Killed

        def end(self, row: object) -> None:
            del row

    try:
        train(folder, session, Watch())
    except Killed:
        return
    raise AssertionError("the run was to be killed")
