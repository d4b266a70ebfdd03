"""Runs whose phases have replicas: trained here or elsewhere, killed at any time, the end is the same."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from schedengine.distributed.executors import Elsewhere
from schedengine.errors import EffectWarning
from schedengine.soups.average import average
from schedengine.training.line import Line
from schedengine.training.report import Report
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.train import train
from schedengine.zoo.weights import read_state

Start = Callable[..., tuple[RunFolder, Session]]
SOUP = """
version: 2
phases:
  - {name: dense, epochs: 1}
  - {name: cycle, epochs: 2, repeat: 2, replicas: 2PHASE}
pruners: {imp: {sparsity: {ramp: geometric, to: 0.8}}}
lr_schedulers: {lr: {class: linear, from: 0.05, to: 0.0}}
policies:
  - {pruner: imp, at: cycle}
  - {lr_scheduler: lr, during: [dense, cycle]}
"""
REPRUNE = """
version: 2
phases:
  - {name: imp, replicas: 2, masks: reprune, phases: [{name: cycle, epochs: 1, repeat: 2}]}
pruners: {imp: {sparsity: {ramp: geometric, to: 0.8}}}
policies: [{pruner: imp, at: cycle}]
"""
DPF = """
version: 2
phases: [{name: dense, epochs: 1}, {name: cycle, epochs: 1, repeat: 2, replicas: 2}]
pruners: {dpf: {sparsity: 0.8, update: reselect, pruned: dense}}
policies: [{pruner: dpf, during: cycle, every: 2st}]
"""
THINNED = """
version: 2
phases: [{name: dense, epochs: 1}, {name: cycle, epochs: 1, repeat: 2, replicas: 2}]
pruners:
  filters: {granularity: filter, parameters: ['conv1.weight', 'conv2.weight'], sparsity: {ramp: linear, to: 0.5}}
policies: [{pruner: filters, at: cycle}, {thin: all, at: cycle}]
"""


def soup(phase: str = "") -> str:
    return SOUP.replace("PHASE", phase)


def weights(folder: RunFolder, name: str = "model") -> Mapping[str, torch.Tensor]:
    return read_state(folder.path / f"{name}.safetensors")


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def metrics(folder: RunFolder) -> list[dict[str, str]]:
    with (folder.path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def rows(folder: RunFolder) -> list[tuple[str, str]]:
    return [(row["epoch"], row["replica"]) for row in metrics(folder)]


def again(folder: RunFolder, **options: Any) -> Report:
    """Go on as ``--resume`` does."""
    found = RunFolder.open(folder.path)
    return train(found, Session.of(found.settings, found.schedule), **options)


class Killed(BaseException):
    """As a signal, which nothing in the package expects."""


def killed(number: int, folder: RunFolder, session: Session) -> bool:
    """Train until the n-th file is to take its place, and die just before it does; whether there were as many."""
    left, replace = [number], os.replace

    def counted(*paths: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        replace(*paths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", counted)
        try:
            train(folder, session)
        except Killed:
            return True
    return False


def test_rows_of_every_replica_come_before_that_of_their_average(start: Start) -> None:
    folder, session = start(soup())
    train(folder, session)
    cycles = [[(str(e), r) for r in "01" for e in (s, s + 1)] + [(str(s + 1), "soup")] for s in (1, 3)]
    assert rows(folder) == [("0", ""), *cycles[0], *cycles[1]]
    assert not (folder.path / "replicas").exists()
    assert session.scheduler.trained_epochs == session.scheduler.all_epochs == 9


def test_a_seed_of_its_own_changes_a_replica_and_no_other(start: Start, tmp_path: Path) -> None:
    found = []
    for seeds in ("[1, 2]", "[1, 3]"):
        folder, session = start(soup(f", vary: {{seed: {seeds}}}").replace("repeat: 2", "repeat: 1"))
        train(folder, session)
        found.append([weights(folder, f"soups/cycle-1/replica-{number}") for number in (0, 1)])
        folder.path.rename(tmp_path / seeds)
    assert same(found[0][0], found[1][0]) and not same(found[0][1], found[1][1])


def test_a_soup_on_disk_is_the_average_of_its_replicas_on_disk(start: Start) -> None:
    folder, session = start(soup(", recalibrate: none"))
    result = train(folder, session)
    found = [weights(folder, f"soups/cycle-2/{name}") for name in ("replica-0", "replica-1", "soup", "parent")]
    assert same(average([dict(one) for one in found[:2]]), found[2])
    assert same(weights(folder), found[2]) and not same(found[0], found[1])
    zeros = [int((one["conv2.weight"] == 0).sum()) for one in found]
    assert len(set(zeros)) == 1 and result.soups[1].sparsity == result.sparsity


def test_the_report_has_every_average_beside_its_candidates(start: Start) -> None:
    folder, session = start(soup())
    first, second = train(folder, session).soups
    assert (first.title, first.epoch, second.title, second.epoch) == ("cycle-1", 2, "cycle-2", 4)
    assert len(second.candidates) == 2 and second.chosen == (0, 1)
    assert second.soup["test"] is not None and second.mean("validation") is not None


@pytest.mark.parametrize("cut", ["zero", "hidden"])
def test_one_replica_is_the_phase_without(start: Start, cut: str, tmp_path: Path) -> None:
    text = soup(", recalibrate: none").replace("replicas: 2", "replicas: 1")
    text = text.replace("{imp: {", f"{{imp: {{pruned: {cut}, ") if cut != "zero" else text
    folder, session = start(text)
    train(folder, session)
    own = weights(folder)
    folder.path.rename(tmp_path / "soup")
    folder, session = start(text.replace(", replicas: 1, recalibrate: none", ""))
    train(folder, session)
    assert same(own, weights(folder))


DYING = """
import multiprocessing, os
from pathlib import Path
from schedengine.training.line import Line

def tell(self, row):
    flag = Path(FLAG)
    if multiprocessing.parent_process() is not None and not flag.exists():
        flag.touch()
        os._exit(9)

Line.tell = tell
"""


def test_replicas_elsewhere_give_the_same_weights_bit_for_bit_also_when_a_worker_dies(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = soup(", vary: {lr: [1x, 2x]}").replace("repeat: 2", "repeat: 1")
    folder, session = start(text, threads=1)
    train(folder, session)
    whole, noted = weights(folder), rows(folder)
    folder.path.rename(tmp_path / "here")
    (tmp_path / "dying.py").write_text(DYING.replace("FLAG", repr(str(tmp_path / "flag"))))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Line, "tell", Line.tell)  # the plugin is imported here too: it goes back after this test
    folder, session = start(text, threads=1, plugin=("dying",))
    with pytest.warns(EffectWarning, match="a process died"):
        train(folder, session, elsewhere=Elsewhere(jobs=2))
    assert same(whole, weights(folder)) and rows(folder) == noted and (tmp_path / "flag").exists()


@pytest.mark.parametrize("first", [1, 8, 15, 22])
def test_a_run_that_is_killed_at_any_file_ends_the_same(start: Start, first: int, tmp_path: Path) -> None:
    text = soup(", vary: {epochs: [1, 2]}")
    folder, session = start(text)
    train(folder, session)
    whole, noted = weights(folder), rows(folder)
    for number in range(first, 100, 28):
        folder.path.rename(tmp_path / f"before-{number}")
        folder, session = start(text)
        was_killed = killed(number, folder, session)
        again(folder)
        assert same(whole, weights(folder)) and rows(folder) == noted
        if not was_killed:
            return


class Dying:
    """A watch that dies after the first epoch of the first replica."""

    def begin(self, epoch: int, epochs: int, steps: int) -> None: ...

    def step(self) -> None: ...

    def end(self, row: Mapping[str, Any]) -> None:
        if row["replica"] == 0:
            raise Killed


def test_a_checkpoint_of_a_replica_is_as_large_as_one_of_a_run(start: Start) -> None:
    folder, session = start(soup())
    with pytest.raises(Killed):
        train(folder, session, Dying())
    folders = ("", "replicas/cycle-1", "replicas/cycle-1/replica-0")
    dense, parent, replica = ((folder.path / name / "checkpoint.pt").stat().st_size for name in folders)
    assert replica < 1.2 * dense and parent > 1.8 * dense
    again(folder)


@pytest.mark.parametrize("text", [REPRUNE, DPF, THINNED], ids=["reprune", "dpf", "thinned"])
def test_phases_of_every_kind_go_through(start: Start, text: str) -> None:
    folder, session = start(text, lr=0.01)
    result = train(folder, session)
    assert len(result.soups) == (1 if text is REPRUNE else 2)
    assert result.pruned[0].achieved == pytest.approx(result.pruned[0].target, abs=0.02)


def test_replicas_that_cut_each_for_itself_measure_what_their_cuts_did(start: Start) -> None:
    folder, session = start(REPRUNE, lr=0.01)
    train(folder, session)
    first, *own = [row for row in metrics(folder) if row["replica"] in "01" and row["distance_to_pruned"]]
    assert [(row["replica"], row["epoch"]) for row in (first, *own)] == [("0", "0"), ("0", "1"), ("1", "1")]
    assert [row["cut_before"] for row in own] == [row["top1"] for row in metrics(folder) if row["epoch"] == "0"]
    assert all(row["cut_after"] for row in own)


DENSE_SOUP = """
version: 2
phases:
  - {name: dense, epochs: 2, replicas: 2, recalibrate: noneVARY}
  - {name: calm, epochs: 2}
  - {name: cycle, epochs: 1}
pruners: {imp: {sparsity: 0.5}}
lr_schedulers: {lr: {class: linear, from: 0.04, to: 0.0}, again: {class: LLR}}
policies:
  - {lr_scheduler: lr, during: [dense, calm]}
  - {pruner: imp, at: cycle}
  - {lr_scheduler: again, during: cycle}
"""


@pytest.mark.parametrize("vary", ["", ", vary: {epochs: [2, 1]}", ", vary: {lr: [1x, 2x]}", ", vary: {lr: [2x, 4x]}"])
def test_the_trace_of_a_dense_phase_with_replicas_is_that_of_one_at_the_usual_rate(start: Start, vary: str) -> None:
    _, session = start(DENSE_SOUP.replace("VARY", vary), batch_size=512)
    train(_, session)
    trace, steps = session.scheduler.trace, len(session.loader)
    assert trace is not None and len(trace) == 4 * steps
    plain = [0.04 * (1 - step / (2 * steps)) for step in range(2 * steps)]
    assert list(trace.rates) == pytest.approx([*plain, *plain])


def test_one_replica_scores_what_the_average_of_it_scores(start: Start) -> None:
    """Batch norms are estimated anew for both, so that the average is not credited with it."""
    folder, session = start(soup().replace("replicas: 2", "replicas: 1"))
    only = train(folder, session).soups[0]
    assert only.candidates == (only.soup,)
