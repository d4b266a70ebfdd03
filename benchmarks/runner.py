"""Training runs that can be stopped and gone on with at any time; for the benchmarks that are hours of them.

Each run has a folder. Start a benchmark twice to use two cores: what one process works on, the other leaves alone.
Finished runs are skipped, and those that were interrupted go on from their last epoch.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas

LOOP = ("--augment", "--batch-size", "128", "--amp", "bf16", "--channels-last")
DENSE = """version: 2
phases: [{name: dense, epochs: 20}]
lr_schedulers: {dense: {class: linear, from: 0.1}}
policies: [{lr_scheduler: dense, during: dense}]
"""


@dataclass(frozen=True)
class Job:
    """One training run.

    Args:
        name: of its folder.
        text: of its schedule.
        says: what its row in the table says beside what was measured; the seed among it.
        options: of the command line.
    """

    name: str
    text: str
    says: dict[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()


@contextmanager
def claimed(folder: Path) -> Iterator[bool]:
    """Whether a run is ours: no other process is at it. Its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run(job: Job, folder: Path) -> None:
    """Train, or go on; nothing if another process is at it, or it is done. A failure is printed, and others follow."""
    with claimed(folder) as is_ours:
        if not is_ours or (folder / "result.json").exists():
            return
        if (folder / "run.json").exists():
            arguments: tuple[str, ...] = ("--resume",)
        else:
            (folder / "asked.yaml").write_text(job.text)
            seed = ("--seed", str(job.says["seed"]))
            arguments = ("--schedule", str(folder / "asked.yaml"), *job.options, *seed)
        print(f"{job.name} ...", flush=True)
        command = [sys.executable, "-m", "schedengine", "train", "--out", str(folder), *arguments]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "OMP_WAIT_POLICY": "passive"}
        with (folder / "log.txt").open("a") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode
        if code:
            print(f"{job.name} FAILED (exit {code}): {(folder / 'log.txt').read_text().splitlines()[-1:]}", flush=True)


def part(data: str, runs: Path, images: int = 1000) -> Path:
    """A folder with the first images of each class, as links, and all test images.

    Args:
        data: ``imagefolder:PATH``, with ``train`` and ``test``.
        runs: where the folder goes.
    """
    whole = Path(data.removeprefix("imagefolder:")).resolve()
    folder = runs / f"part{images}"
    for label in sorted((whole / "train").iterdir()):
        (folder / "train" / label.name).mkdir(parents=True, exist_ok=True)
        for image in sorted(label.iterdir())[:images]:
            link = folder / "train" / label.name / image.name
            if not link.is_symlink():
                link.symlink_to(image)
    if not (folder / "test").is_symlink():
        (folder / "test").symlink_to(whole / "test")
    return folder


def measured(folder: Path) -> dict[str, Any]:
    """What a finished run found on the test images."""
    result = json.loads((folder / "result.json").read_text())
    test = result["after"]["test"]
    return {"achieved": result["sparsity"], "top1": test["top1"], "loss": test["loss"]}


def epochs_of(job: Job, folder: Path) -> pandas.DataFrame:
    """A row an epoch of a finished run."""
    return pandas.read_csv(folder / "metrics.csv").assign(run=job.name)


def write(table: pandas.DataFrame, path: Path) -> None:
    """Replace a CSV file at once, since another process may be about to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(f".{os.getpid()}")
    table.to_csv(whole, index=False)
    whole.replace(path)
