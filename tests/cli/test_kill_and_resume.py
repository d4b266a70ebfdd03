"""A run that is killed at any moment and resumed ends, bit for bit, where the uninterrupted one ends."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

NET = """
from torch import nn

def net(classes, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(288, classes)
    )
"""
SCHEDULE = """
version: 2
phases: [{name: prune, epochs: 20}]
pruners:
  agp: {sparsity: {ramp: cubic, to: 0.8}, update: reselect, pruned: dense}
regularizers:
  l2: {penalty: l2, strength: 0.0001}
lr_schedulers:
  fall: {class: cosine}
policies:
  - {pruner: agp, during: prune, until: 15, every: 5st}
  - {regularizer: l2, during: prune}
  - {lr_scheduler: fall, during: prune}
"""
ARGUMENTS = shlex.split("--schedule s.yaml --model net:net --data digits --batch-size 64 --lr 0.05 --augment --seed 3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "s.yaml").write_text(SCHEDULE)
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "schedengine", "train", *arguments]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        command, cwd=folder, env=surroundings, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors


def kill_after(process: subprocess.Popen[str], rows: Path, epochs: int, delay: float) -> None:
    """SIGKILL a while after this many epochs are in the CSV file."""
    while not rows.exists() or rows.read_bytes().count(b"\n") <= epochs:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_three_times_ends_with_the_same_bytes(folder: Path) -> None:
    whole = start(folder, *ARGUMENTS, "--out", "whole")
    moments = random.Random(time.time_ns())
    process = start(folder, *ARGUMENTS, "--out", "killed")
    for epochs in (2, 7, 12):
        kill_after(process, folder / "killed" / "metrics.csv", epochs, moments.uniform(0, 0.15))
        process = start(folder, "--resume", "--out", "killed")
    finish(whole)
    finish(process)
    for name in ("model.safetensors", "sparsity.csv"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
