"""The evidence of docs/retraining.md: training runs that can be stopped and gone on with at any time.

    python benchmarks/retraining.py rules   --data imagefolder:PATH --weights FILE [--runs DIR]
    python benchmarks/retraining.py cycles  --data imagefolder:PATH --weights FILE
    python benchmarks/retraining.py peaks   --data imagefolder:PATH --weights FILE
    python benchmarks/retraining.py scratch --data imagefolder:PATH

rules    ResNet-20: every retraining schedule after one cut to 90 %, in 1, 2 and 5 epochs
cycles   ResNet-20: three cycles against one cut to 95 %, in 3 epochs
peaks    ResNet-20: linear schedules from many peaks, to see where the best one lies
scratch  ResNet-8 on a fifth of the images, 20 epochs from scratch: BIMP, gradual pruning, dense

Start it twice to use two cores: what one process works on, the other leaves alone. Finished runs are skipped, and
those that were interrupted go on from their last epoch. Whatever is finished is collected into
benchmarks/results/retraining/NAME.csv (a row a run) and NAME_epochs.csv (a row an epoch).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas

HERE = Path(__file__).parent
SCHEDULES = HERE.parent / "schedules" / "retraining"
RESULTS = HERE / "results" / "retraining"
SEEDS = (0, 1, 2)
RULES = ("allr", "llr", "layerwise_allr", "ft", "clr", "slr", "lrw")
LOOP = ("--augment", "--batch-size", "128", "--amp", "bf16", "--channels-last")
PEAK = """version: 2
phases: [{{name: retrain, epochs: {budget}}}]
trace: {{epochs: 30, lr: {{class: linear, from: 0.1}}}}
pruners: {{once: {{sparsity: {sparsity}}}}}
lr_schedulers: {{retrain: {{{rate}}}}}
policies: [{{pruner: once, at: retrain}}, {{lr_scheduler: retrain, during: retrain}}]
"""
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
        says: what its row in the table says beside what was measured.
        options: of the command line.
    """

    name: str
    text: str
    says: dict[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def rules(arguments: argparse.Namespace) -> Iterator[Job]:
    for seed in SEEDS:
        for budget in (1, 2, 5):
            for rule in RULES:
                says = {"method": rule, "sparsity": 0.9, "budget": budget, "seed": seed}
                text = (SCHEDULES / f"{rule}.yaml").read_text()
                yield Job(f"{rule}_{budget}_{seed}", text, says, (*_given(arguments), "--budget", str(budget)))


def cycles(arguments: argparse.Namespace) -> Iterator[Job]:
    for seed in SEEDS:
        for name in ("imp", "one_shot"):
            says = {"method": name, "sparsity": 0.95, "budget": 3, "seed": seed}
            yield Job(f"{name}_{seed}", (SCHEDULES / f"{name}.yaml").read_text(), says, _given(arguments))


def peaks(arguments: argparse.Namespace) -> Iterator[Job]:
    for sparsity, budget in ((0.9, 1), (0.9, 3), (0.7, 1), (0.5, 1)):
        for peak in (0.1, 0.05, 0.2, 0.03, 0.4):
            rate = f"class: linear, from: {peak}, to: 0.0, warmup: 10%, warmup_shape: cosine"
            says = {"method": "linear", "peak": peak, "sparsity": sparsity, "budget": budget, "seed": 0}
            text = PEAK.format(budget=budget, sparsity=sparsity, rate=rate)
            yield Job(f"s{sparsity}_e{budget}_p{peak}_0", text, says, _given(arguments))


def scratch(arguments: argparse.Namespace) -> Iterator[Job]:
    data = ("--data", f"imagefolder:{part(arguments)}", "--model", "resnet8_cifar")
    for seed in SEEDS:
        says = {"method": "dense", "sparsity": 0.0, "budget": 20, "seed": seed}
        yield Job(f"dense_{seed}", DENSE, says, (*data, "--seed", str(seed)))
        for name in ("bimp", "bimp_layerwise", "gmp", "gmp_cyclic", "bimp_short"):
            text = (SCHEDULES / f"{name.removesuffix('_layerwise').removesuffix('_short')}.yaml").read_text()
            text = text.replace("class: ALLR", "class: LayerwiseALLR") if name == "bimp_layerwise" else text
            if name == "bimp_short":  # less dense training, longer cycles
                text = text.replace("dense, epochs: 10", "dense, epochs: 5").replace("total: 10", "total: 15")
            says = {"method": name, "sparsity": 0.95, "budget": 20, "seed": seed}
            yield Job(f"{name}_{seed}", text, says, (*data, "--seed", str(seed)))


EXPERIMENTS = {"rules": rules, "cycles": cycles, "peaks": peaks, "scratch": scratch}


def _given(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.weights is None:
        raise SystemExit("this one starts from trained weights: --weights FILE")
    return ("--data", arguments.data, "--model", "resnet20_cifar", "--weights", arguments.weights)


def part(arguments: argparse.Namespace, images: int = 1000) -> Path:
    """A folder with the first images of each class, as links, and all test images."""
    whole = Path(arguments.data.removeprefix("imagefolder:")).resolve()
    folder: Path = arguments.runs / f"part{images}"
    for label in sorted((whole / "train").iterdir()):
        (folder / "train" / label.name).mkdir(parents=True, exist_ok=True)
        for image in sorted(label.iterdir())[:images]:
            link = folder / "train" / label.name / image.name
            if not link.exists():
                link.symlink_to(image)
    if not (folder / "test").exists():
        (folder / "test").symlink_to(whole / "test")
    return folder


def run(job: Job, folder: Path) -> None:
    """Train, or go on; nothing if another process is at it, or it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if (folder / "result.json").exists():
            return
        if (folder / "run.json").exists():
            arguments: tuple[str, ...] = ("--resume",)
        else:
            (folder / "asked.yaml").write_text(job.text)
            seed = () if "--seed" in job.options else ("--seed", str(job.says["seed"]))
            arguments = ("--schedule", str(folder / "asked.yaml"), *LOOP, *job.options, *seed)
        print(f"{job.name} ...", flush=True)
        command = [sys.executable, "-m", "schedengine", "train", "--out", str(folder), *arguments]
        environment = {"OMP_NUM_THREADS": "1", **os.environ, "OMP_WAIT_POLICY": "passive"}
        with (folder / "log.txt").open("a") as log:
            subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True, env=environment)


def collect(name: str, jobs: list[Job], folder: Path) -> pandas.DataFrame:
    """One row a finished run, and one an epoch, into two CSV files."""
    rows, epochs = [], []
    for job in jobs:
        path = folder / job.name
        if not (path / "result.json").exists():
            continue
        result = json.loads((path / "result.json").read_text())
        metrics = pandas.read_csv(path / "metrics.csv")
        test = result["after"]["test"]
        measured = {"achieved": result["sparsity"], "top1": test["top1"], "loss": test["loss"]}
        rows.append({**job.says, **measured, "seconds": metrics["seconds"].sum().round(1)})
        epochs.append(metrics.assign(run=job.name))
    table = pandas.DataFrame(rows)
    if rows:
        RESULTS.mkdir(parents=True, exist_ok=True)
        table.to_csv(RESULTS / f"{name}.csv", index=False)
        pandas.concat(epochs).round(6).to_csv(RESULTS / f"{name}_epochs.csv", index=False)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--data", required=True, help="imagefolder:PATH")
    parser.add_argument("--weights", help="a trained ResNet-20")
    parser.add_argument("--runs", type=Path, default=Path("runs/retraining"), help="where the run folders go")
    parser.add_argument("--collect", action="store_true", help="only collect what is finished")
    arguments = parser.parse_args()
    arguments.runs = arguments.runs.resolve()
    jobs, folder = list(EXPERIMENTS[arguments.experiment](arguments)), arguments.runs / arguments.experiment
    for job in jobs if not arguments.collect else ():
        run(job, folder / job.name)
    table = collect(arguments.experiment, jobs, folder)
    print(f"{len(table)} of {len(jobs)} runs finished")
    if len(table):
        keys = [key for key in ("method", "peak", "sparsity", "budget") if key in table]
        print(table.groupby(keys, dropna=False)["top1"].agg(["mean", "std", "count"]).round(2).to_string())


if __name__ == "__main__":
    main()
