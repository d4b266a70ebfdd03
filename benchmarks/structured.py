"""The evidence of docs/structured.md: training runs that can be stopped and gone on with at any time.

    python benchmarks/structured.py digits [--runs DIR]
    python benchmarks/structured.py speed  [--runs DIR]
    python benchmarks/structured.py cifar  [--runs DIR] --weights resnet20_cifar.safetensors --data imagefolder:cifar10

digits   every schedule of schedules/structured/ for the digits, variants and controls beside them, seeds 0 to 4
speed    passes of the networks that ``digits`` left behind (seed 0) beside the dense one
cifar    a trained ResNet-20 at half the work: filters gone and thinned, random ones, and as many single weights, seeds
         0 to 2; and passes of what seed 0 left behind

Start one twice to use two cores: what one process works on, the other leaves alone. Finished runs are skipped, and
those that were interrupted go on from their last epoch. Whatever is finished is collected into
benchmarks/results/structured/: digits.csv and cifar.csv (a row a run), speed.csv and cifar_speed.csv (a row a network
and batch size).
"""

from __future__ import annotations

import argparse
import fcntl
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch
from torch import nn

from schedengine.analysis.macs import multiply_accumulates
from schedengine.export.latency import latency
from schedengine.export.pruned import load_
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.settings import Amp, Settings
from schedengine.training.train import train
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import build_model

HERE = Path(__file__).parent
SCHEDULES = HERE.parent / "schedules" / "structured"
RESULTS = HERE / "results" / "structured"
MODEL = "digits_cnn"
CIFAR = "resnet20_cifar"
SEEDS = (0, 1, 2, 3, 4)
DIGITS = (
    "random_filters",
    "filters_l1",
    "network_trimming",
    "taylor_filters",
    "channel_reconstruction",
    "network_slimming",
    "structured_sparsity",
    "drop_filter",
    "dynamic_network_surgery",
    "two_four",
    "blocks",
)
DENSE = """version: 2
phases: [{name: dense, epochs: 10}, {name: tune, epochs: 5}]
lr_schedulers:
  dense: {class: linear, from: 0.1, to: 0.0}
  tune:  {class: linear, from: 0.1, to: 0.0, warmup: 10%}
policies: [{lr_scheduler: dense, during: dense}, {lr_scheduler: tune, during: tune}]
"""
"""As many epochs at the rates of the files, nothing pruned."""
SMALL = DENSE.replace(
    "policies: [",
    """pruners:
  narrow: {parameters: {types: [Conv2d]}, criterion: random, granularity: filter, allocation: uniform, sparsity: 0.75}
policies: [{pruner: narrow, at: start}, {thin: filters, at: start}, """,
)
"""The same with the fourth of the filters that filter pruning ends with, from the first step on."""
VARIANTS = {
    "channels_l1": ("channel_reconstruction", "    compensate: least_squares\n", ""),
    "random_filters_042": ("random_filters", "sparsity: 0.75", "sparsity: 0.42"),
    "elements": ("blocks", "{block: [4, 1]}", "element"),
    "taylor_of_filters": (
        "taylor_filters",
        "[conv2.weight, conv3.weight, conv4.weight, fc.weight]\n    criterion: gradient\n    granularity: channel",
        "{types: [Conv2d]}\n    criterion: {gradient: {of: norm}}\n    granularity: filter",
    ),
}
"""Name -> the file it is made of, what it differs in, and what stands there instead."""

TIMED = (
    "dense",
    "filters_l1",
    "network_slimming",
    "structured_sparsity",
    "dynamic_network_surgery",
    "two_four",
    "blocks",
)
"""One of those that end with the same shapes."""
ROUNDS = 5


@dataclass(frozen=True)
class Job:
    """One training run.

    Args:
        schedule: its row's name in the table.
        text: of its schedule.
        seed: of the run.
        options: what differs from the usual settings, the model among them.
    """

    schedule: str
    text: str
    seed: int
    options: tuple[tuple[str, Any], ...] = (("model", MODEL),)

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.schedule}_{self.seed}"


def texts() -> dict[str, str]:
    """The schedules by name: as they ship, and what they are compared with."""
    found = {"dense": DENSE, "small": SMALL} | {name: (SCHEDULES / f"{name}.yaml").read_text() for name in DIGITS}
    for name, (file, old, new) in VARIANTS.items():
        if found[file].count(old) != 1:
            raise SystemExit(f"{file}.yaml has changed, and {name} is no variant of it any more: no {old!r}")
        found[name] = found[file].replace(old, new)
    return found


def digits() -> Iterator[Job]:
    for seed in SEEDS:
        for name, text in texts().items():
            yield Job(name, text, seed)


def cifar(weights: Path, data: str) -> Iterator[Job]:
    texts = {name: (SCHEDULES / f"{name}.yaml").read_text() for name in ("filters", "same_parameters")}
    texts["random_filters"] = texts["filters"].replace(
        "granularity: filter", "granularity: filter\n    criterion: random"
    )
    options = {"model": CIFAR, "weights": str(weights), "data": data, "augment": True, "batch_size": 128}
    options |= {"amp": Amp.BF16, "channels_last": True}
    for seed in SEEDS[:3]:
        for name, text in texts.items():
            yield Job(name, text, seed, tuple(options.items()))


def run(job: Job, folder: Path) -> None:
    """Train, or go on; nothing if another process is at it, or it is done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if (folder / "result.json").exists():
            return
        print(f"{job.name} ...", flush=True)
        if (folder / "run.json").exists():
            opened = RunFolder.open(folder)
            train(opened, Session.of(opened.settings, opened.schedule))
            return
        asked = folder.with_suffix(".yaml")
        asked.write_text(job.text)
        settings = Settings(schedule=str(asked), seed=job.seed, **dict(job.options))
        session = Session.of(settings, asked)
        train(RunFolder.create(folder, settings, session.data), session)


def network(folder: Path, name: str = MODEL) -> nn.Module:
    """What a run left behind, thinned or not."""
    model = build_model(name)
    load_(model, folder / "model.safetensors")
    return model


def size(model: nn.Module, name: str = MODEL) -> dict[str, int]:
    """Parameters, and multiply-accumulates of one image."""
    inputs = example_inputs(name)
    assert inputs is not None
    macs: int = sum(multiply_accumulates(model, inputs).values())
    return {"parameters": sum(one.numel() for one in model.parameters()), "macs": macs}


def row(job: Job, folder: Path, dense: float) -> dict[str, Any]:
    """What a finished run says in the table."""
    result = json.loads((folder / "result.json").read_text())
    model = str(dict(job.options)["model"])
    before, after = size(build_model(model), model), size(network(folder, model), model)
    return {
        "schedule": job.schedule,
        "seed": job.seed,
        "dense_top1": dense,
        "top1": result["after"]["test"]["top1"],
        "sparsity": result["sparsity_all"],
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        "seconds": round(float(pandas.read_csv(folder / "metrics.csv")["seconds"].sum()), 1),
    }


def collect(jobs: list[Job], runs: Path, file: str = "digits.csv") -> pandas.DataFrame:
    """One row a finished run; dense_top1: of the dense training with the same seed, or of the given weights."""
    finished = [job for job in jobs if (runs / job.name / "result.json").exists()]
    dense = {
        job.seed: json.loads((runs / job.name / "result.json").read_text())["after"]["test"]["top1"]
        for job in finished
        if job.schedule == "dense"
    }
    for job in finished if not dense else ():
        dense[job.seed] = json.loads((runs / job.name / "result.json").read_text())["before"]["test"]["top1"]
    table = pandas.DataFrame([row(job, runs / job.name, dense.get(job.seed, float("nan"))) for job in finished])
    if finished:
        RESULTS.mkdir(parents=True, exist_ok=True)
        table.round(4).to_csv(RESULTS / file, index=False)
    return table


def summary(table: pandas.DataFrame) -> pandas.DataFrame:
    """A row a schedule; points: below the dense training of the same seed."""
    groups = table.assign(points=table["dense_top1"] - table["top1"]).groupby("schedule", sort=False)
    return groups.agg(
        runs=("seed", "count"),
        top1=("top1", "mean"),
        sd=("top1", "std"),
        worst=("top1", "min"),
        points=("points", "mean"),
        sparsity=("sparsity", "mean"),
        sparsity_sd=("sparsity", "std"),
        parameters=("parameters_after", "mean"),
        macs=("macs_after", "mean"),
        seconds=("seconds", "mean"),
    )


def speed(runs: Path, names: Sequence[str] = TIMED, model: str = MODEL, file: str = "speed.csv") -> pandas.DataFrame:
    """Passes of what the runs of seed 0 left behind, in turns with the dense network.

    Milliseconds: the least of the rounds' lower quartiles, since other work on the machine makes passes up to 20 times
    slower, and never faster.
    """
    rows = []
    inputs = example_inputs(model)
    assert inputs is not None
    for name in names:
        folder = runs / f"{name}_0"
        if not (folder / "result.json").exists():
            continue
        pair = {"dense": build_model(model), "pruned": network(folder, model)}
        for batch in (1, 64):
            images = inputs[0].expand(batch, -1, -1, -1).contiguous()
            rounds = [latency(pair, (images,), seconds=1.0) for _ in range(ROUNDS)]
            ms = {which: min(times[which].lower for times in rounds) for which in pair}
            rows.append({"schedule": name, "batch": batch, "dense_ms": ms["dense"], "pruned_ms": ms["pruned"]})
    table = pandas.DataFrame(rows)
    table = table.assign(ratio=table["pruned_ms"] / table["dense_ms"]).round(3)
    RESULTS.mkdir(parents=True, exist_ok=True)
    table.to_csv(RESULTS / file, index=False)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=("digits", "speed", "cifar"))
    parser.add_argument("--weights", type=Path, help="of the trained ResNet-20, for cifar")
    parser.add_argument("--data", help="imagefolder:PATH, or a torchvision data set, for cifar")
    parser.add_argument("--runs", type=Path, default=Path("runs/structured"), help="where the run folders go")
    parser.add_argument("--collect", action="store_true", help="only collect what is finished")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = arguments.runs.resolve() / "digits"
    if arguments.experiment == "speed":
        print(speed(runs).to_string(index=False))
        return
    jobs, file = list(digits()), "digits.csv"
    if arguments.experiment == "cifar":
        if arguments.weights is None or arguments.data is None:
            raise SystemExit("cifar needs --weights and --data")
        jobs, file, runs = list(cifar(arguments.weights, arguments.data)), "cifar.csv", runs.with_name("cifar")
    for job in jobs if not arguments.collect else ():
        run(job, runs / job.name)
    table = collect(jobs, runs, file)
    print(f"{len(table)} of {len(jobs)} runs finished")
    if len(table):
        print(summary(table).round(4).to_string())
    if file == "cifar.csv":
        print(speed(runs, ("filters", "same_parameters"), CIFAR, "cifar_speed.csv").to_string(index=False))


if __name__ == "__main__":
    main()
