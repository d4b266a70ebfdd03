"""The evidence of docs/recipes.md: the methods of schedules/methods/ and BIMP from scratch, in one budget of 10 epochs.

    python benchmarks/methods.py run --data imagefolder:PATH [--runs DIR] [--only gmp,dpf] [--epochs 10] [--collect]
    python benchmarks/methods.py tables
    python benchmarks/methods.py figure [--out docs/figures]

run      ResNet-8 on the first 1,000 images of each class, at 90 % and 95 %, seeds 0 to 2. Each file is rescaled to
         the budget, and trained with the options of the command in its header. Start it twice to use two cores: what
         one process works on, the other leaves alone; finished runs are skipped, interrupted ones go on. All of seed 0
         comes before seed 1, so that a table is balanced whenever it is stopped.
tables   mean and standard deviation over the seeds, as Markdown
figure   the same, drawn: accuracy by method at both sparsities

Methods whose sparsity cannot be set have a number that it follows from. benchmarks/results/methods/knobs.csv says which
value is for which target (``schedengine tune`` found them): columns method, target, knob, value; a method may have rows
of several knobs. Methods without a row are left out.

What is finished is in benchmarks/results/methods/: scratch.csv (a row a run) and scratch_epochs.csv (a row an epoch).
Speed-up: multiply-accumulates of the dense network over those of weights that are not 0; masks alone save no time.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas
from matplotlib.figure import Figure
from retraining_figures import markdown
from runner import DENSE, LOOP, Job, epochs_of, measured, part, run, write

from schedengine import dump, load_schedule
from schedengine.analysis import summarize, totals
from schedengine.criteria.random import Random
from schedengine.export.pruned import load_
from schedengine.pruners.pruner import Pruner
from schedengine.pruners.updates import DropGrow
from schedengine.reports.canvas import GREY, figure, look, save, style
from schedengine.schedule.knobs import Dial
from schedengine.schedule.source import read
from schedengine.sparsity.ramps import Constant, Towards
from schedengine.zoo.inputs import example_inputs
from schedengine.zoo.models import build_model

HERE = Path(__file__).parent
SCHEDULES = HERE.parent / "schedules"
RESULTS = HERE / "results" / "methods"
MODEL = "resnet8_cifar"
TARGETS = (0.9, 0.95)
SEEDS = (0, 1, 2)
EPOCHS = 10
VARIANTS = {"bimp": "ALLR", "bimp_layerwise": "LayerwiseALLR", "bimp_llr": "LLR"}
"""Of schedules/retraining/bimp.yaml: the rule of its retraining rates. The last is the control of OBD and OBS."""


@dataclass(frozen=True)
class Method:
    """A file and how its run differs from the others.

    Args:
        text: of the file.
        options: of the command in its header, but for data, seed and folder.
    """

    text: str
    options: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> Method:
        text = path.read_text()
        return cls(text, _options(text))


def _options(text: str) -> tuple[str, ...]:
    """What the header's command says beside the schedule, the data, the seed and the folder."""
    found = re.search(r"^# schedengine train ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert found is not None
    words = shlex.split(re.sub(r"\\\n#?", " ", found[1]))
    own = {"--schedule", "--data", "--seed", "--out"}
    return tuple(word for at, word in enumerate(words) if word not in own and (at == 0 or words[at - 1] not in own))


def methods() -> dict[str, Method]:
    """By name, as they ship; with a dense training to compare with."""
    bimp = Method.of(SCHEDULES / "retraining" / "bimp.yaml")
    found = {"dense": Method(DENSE, (*LOOP, "--model", MODEL))}
    found |= {name: replace(bimp, text=bimp.text.replace("ALLR}", f"{rule}}}")) for name, rule in VARIANTS.items()}
    return found | {path.stem: Method.of(path) for path in sorted((SCHEDULES / "methods").glob("*.yaml"))}


def aimed(text: str, target: float, seed: int) -> str:
    """A schedule with every target replaced, and whatever it draws drawn by the run's seed."""
    schedule = load_schedule(text)
    pruners = {name: _drawn(_aimed(pruner, target), seed) for name, pruner in schedule.pruners.items()}
    return dump(replace(schedule, pruners=pruners))


def _aimed(pruner: Pruner, target: float) -> Pruner:
    if pruner.sparsity is None:
        return pruner
    assert isinstance(pruner.sparsity, (Constant, Towards))
    return replace(pruner, sparsity=replace(pruner.sparsity, to=target))


def _drawn(pruner: Pruner, seed: int) -> Pruner:
    if isinstance(pruner.criterion, Random):
        pruner = replace(pruner, criterion=Random(seed))
    if isinstance(pruner.update, DropGrow):
        pruner = replace(pruner, update=replace(pruner.update, first=Random(seed), seed=seed))
    return pruner


def is_learned(text: str) -> bool:
    """Whether its sparsity follows from a knob."""
    return any(pruner.is_learned for pruner in load_schedule(text).pruners.values())


def turned(text: str, name: str, target: float) -> str | None:
    """A schedule whose knobs are set for a target; None where nobody has found out how."""
    path = RESULTS / "knobs.csv"
    table = pandas.read_csv(path) if path.exists() else pandas.DataFrame(columns=["method", "target", "knob", "value"])
    rows = table[(table["method"] == name) & (table["target"] == target)]
    for knob, value in zip(rows["knob"], rows["value"]):
        text = Dial.find(read(text), str(knob)).turned(float(value))
    return text if len(rows) else None


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """All of seed 0, then all of seed 1, ..."""
    data = ("--data", f"imagefolder:{part(arguments.data, arguments.runs)}")
    budget = ("--budget", str(arguments.epochs))
    for seed in SEEDS:
        for target in TARGETS:
            for name, method in methods().items():
                if name == "dense" and target != TARGETS[0]:
                    continue
                says = {"method": name, "target": 0.0 if name == "dense" else target, "seed": seed}
                text = turned(method.text, name, target) if is_learned(method.text) else method.text
                if text is not None:
                    own = "_".join(map(str, says.values()))
                    yield Job(own, aimed(text, target, seed), says, (*method.options, *data, *budget))


def row(job: Job, folder: Path) -> dict[str, Any]:
    """What a finished run says in the table; measured once."""
    kept = folder / "row.json"
    if not kept.exists():
        model, inputs = build_model(MODEL), example_inputs(MODEL)
        assert inputs is not None
        load_(model, folder / "model.safetensors")
        speedup = float(totals(summarize(model, inputs))["speedup"].iloc[0])
        epochs = epochs_of(job, folder)
        found = {**measured(folder), "speedup": round(speedup, 3)}
        kept.write_text(json.dumps({**found, "seconds": round(epochs["seconds"].sum(), 1), "epochs": len(epochs)}))
    return {**job.says, **json.loads(kept.read_text())}


def collect(every: list[Job], folder: Path, out: Path) -> pandas.DataFrame:
    """A row a finished run, and a row an epoch, into two CSV files."""
    finished = [job for job in every if (folder / job.name / "result.json").exists()]
    table = pandas.DataFrame([row(job, folder / job.name) for job in finished])
    if finished:
        epochs = [epochs_of(job, folder / job.name) for job in finished]
        write(table.round(5), out / "scratch.csv")
        write(pandas.concat(epochs).round(6), out / "scratch_epochs.csv")
    return table


def spread(table: pandas.DataFrame, target: float) -> pandas.DataFrame:
    """A row a method, the best first: mean and standard deviation over the seeds, as text."""
    groups = table[table["target"].isin((0.0, target))].groupby("method")
    mean, std = (groups[["top1", "achieved", "speedup"]].agg(kind) for kind in ("mean", "std"))
    text = {
        "seeds": groups["seed"].count(),
        "test top-1": _both(mean["top1"], std["top1"], 2),
        "sparsity": _both(mean["achieved"], std["achieved"], 4),
        "theoretical speed-up": _both(mean["speedup"], std["speedup"], 2),
    }
    steps = pandas.read_csv(RESULTS / "cost.csv", index_col="method")["ratio of means"]
    text["step / dense step"] = steps.reindex(mean.index).map("{:.2f}".format, na_action="ignore").fillna("")
    return pandas.DataFrame(text).loc[mean["top1"].sort_values(ascending=False).index]


def _both(mean: pandas.Series[float], std: pandas.Series[float], digits: int) -> pandas.Series[str]:
    """One seed has no deviation; one below the last digit is not shown."""
    pairs = zip(mean, std)
    shown = [f"{m:.{digits}f}" + (f" ± {s:.{digits}f}" if s >= 0.5 * 10**-digits else "") for m, s in pairs]
    return pandas.Series(shown, index=mean.index)


def tables(table: pandas.DataFrame) -> str:
    """As Markdown, a table a target."""
    found = [target for target in TARGETS if (table["target"] == target).any()]
    return "\n\n".join(f"At {target:.0%}:\n\n{markdown(spread(table, target))}" for target in found)


@look()
def draw(table: pandas.DataFrame) -> Figure:
    """A line a method, the best at the first target on top: mean top-1 at each target, and the range over the seeds."""
    groups = table[table["method"] != "dense"].groupby(["target", "method"])["top1"].agg(["mean", "min", "max"])
    order = groups.loc[TARGETS[0]]["mean"].sort_values().index
    picture = figure(6.5, 0.8 + 0.24 * len(order))
    axes = picture.subplots()
    for number, target in enumerate(TARGETS):
        found = groups.loc[target].reindex(order)
        rows, color = [at + 0.12 - 0.24 * number for at in range(len(order))], style(number)["color"]
        axes.hlines(rows, found["min"], found["max"], color=color, linewidth=1.5)
        axes.plot(found["mean"], rows, linestyle="", marker="os"[number], color=color, label=f"{target:.0%} removed")
    dense = table[table["method"] == "dense"]["top1"].mean()
    axes.axvline(dense, color=GREY, linewidth=0.8, linestyle="--")
    axes.text(dense, len(order) - 0.4, "dense ", fontsize=7, color=GREY, ha="right", va="top")
    axes.set_yticks(range(len(order)), order)
    axes.set(xlabel="test top-1 (%): mean, and range over the seeds", ylim=(-0.6, len(order) - 0.3))
    axes.legend(loc="upper left")
    return picture


def train(arguments: argparse.Namespace) -> None:
    """What is asked and not finished; the tables are of all that is."""
    if unknown := set(arguments.only or ()) - set(methods()):
        raise SystemExit(f"no such method: {', '.join(sorted(unknown))}; there are {', '.join(methods())}")
    arguments.runs = arguments.runs.resolve()
    folder: Path = arguments.runs / f"epochs{arguments.epochs}"
    out = RESULTS if arguments.epochs == EPOCHS else folder
    every = list(jobs(arguments))
    if missing := set(methods()) - {job.says["method"] for job in every}:
        print(f"left out for want of a value in {RESULTS / 'knobs.csv'}: {', '.join(sorted(missing))}")
    wanted = [job for job in every if not arguments.only or job.says["method"] in arguments.only]
    for job in wanted if not arguments.collect else ():
        run(job, folder / job.name)
        collect(every, folder, out)
    table = collect(every, folder, out)
    print(f"{len(table)} of {len(every)} runs finished\n{tables(table) if len(table) else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="train what is not finished")
    showing = commands.add_parser("tables", help="print the tables")
    drawing = commands.add_parser("figure", help="draw them")
    drawing.add_argument("--out", type=Path, default=HERE.parent / "docs" / "figures")
    for command in (showing, drawing):
        command.add_argument("--table", type=Path, default=RESULTS / "scratch.csv", help="another one, as of --epochs")
    running.add_argument("--data", required=True, help="imagefolder:PATH")
    running.add_argument("--runs", type=Path, default=Path("runs/methods"), help="where the run folders go")
    running.add_argument("--only", type=lambda text: text.split(","), help="methods, with commas between them")
    running.add_argument(
        "--epochs", type=int, default=EPOCHS, help="another budget; its table stays with its run folders"
    )
    running.add_argument("--collect", action="store_true", help="only collect what is finished")
    arguments = parser.parse_args()
    if arguments.command == "tables":
        print(tables(pandas.read_csv(arguments.table)))
    elif arguments.command == "figure":
        save(draw(pandas.read_csv(arguments.table)), arguments.out / "methods.svg")
    else:
        train(arguments)


if __name__ == "__main__":
    main()
