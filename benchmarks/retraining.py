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
from collections.abc import Iterator
from pathlib import Path

import pandas
from runner import DENSE, LOOP, Job, epochs_of, measured, part, run, write

HERE = Path(__file__).parent
SCHEDULES = HERE.parent / "schedules" / "retraining"
RESULTS = HERE / "results" / "retraining"
SEEDS = (0, 1, 2)
RULES = ("allr", "llr", "layerwise_allr", "ft", "clr", "slr", "lrw")
PEAK = """version: 2
phases: [{{name: retrain, epochs: {budget}}}]
trace: {{epochs: 30, lr: {{class: linear, from: 0.1}}}}
pruners: {{once: {{sparsity: {sparsity}}}}}
lr_schedulers: {{retrain: {{{rate}}}}}
policies: [{{pruner: once, at: retrain}}, {{lr_scheduler: retrain, during: retrain}}]
"""


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
    data = (*LOOP, "--data", f"imagefolder:{part(arguments.data, arguments.runs)}", "--model", "resnet8_cifar")
    for seed in SEEDS:
        says = {"method": "dense", "sparsity": 0.0, "budget": 20, "seed": seed}
        yield Job(f"dense_{seed}", DENSE, says, data)
        for name in ("bimp", "bimp_layerwise", "gmp", "gmp_cyclic", "bimp_short"):
            text = (SCHEDULES / f"{name.removesuffix('_layerwise').removesuffix('_short')}.yaml").read_text()
            text = text.replace("class: ALLR", "class: LayerwiseALLR") if name == "bimp_layerwise" else text
            if name == "bimp_short":  # less dense training, longer cycles
                text = text.replace("dense, epochs: 10", "dense, epochs: 5").replace("total: 10", "total: 15")
            says = {"method": name, "sparsity": 0.95, "budget": 20, "seed": seed}
            yield Job(f"{name}_{seed}", text, says, data)


EXPERIMENTS = {"rules": rules, "cycles": cycles, "peaks": peaks, "scratch": scratch}


def _given(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.weights is None:
        raise SystemExit("this one starts from trained weights: --weights FILE")
    return (*LOOP, "--data", arguments.data, "--model", "resnet20_cifar", "--weights", arguments.weights)


def collect(name: str, jobs: list[Job], folder: Path) -> pandas.DataFrame:
    """One row a finished run, and one an epoch, into two CSV files."""
    finished = [job for job in jobs if (folder / job.name / "result.json").exists()]
    epochs = [epochs_of(job, folder / job.name) for job in finished]
    rows = [
        {**job.says, **measured(folder / job.name), "seconds": round(one["seconds"].sum(), 1)}
        for job, one in zip(finished, epochs, strict=True)
    ]
    if rows:
        write(pandas.DataFrame(rows), RESULTS / f"{name}.csv")
        write(pandas.concat(epochs).round(6), RESULTS / f"{name}_epochs.csv")
    return pandas.DataFrame(rows)


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
