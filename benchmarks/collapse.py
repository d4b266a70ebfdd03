"""The collapse curve of the SynFlow paper (Tanaka et al. 2020, arXiv:2006.05467, figures 1 and 6), on a small network.

    python benchmarks/collapse.py run --data imagefolder:PATH [--runs DIR] [--only synflow,snip] [--epochs 1]
    python benchmarks/collapse.py figure [--out docs/figures]

run      one cut before training, to compressions of 10 to 10,000, by five criteria; then three epochs of a narrow
         VGG-16 (13 convolutions with batch normalisation) on the first 1,000 images of each class; seeds 0 to 2.
         Layers may lose all of their weights (min_keep: 0). Where no path of weights is left from the images to the
         scores, training could only learn the biases of the last layer: it is measured as it is, and not trained.
         Start it twice to use two cores; finished runs are skipped. All of seed 0 comes before seed 1.
figure   accuracy over compression, a curve a criterion

benchmarks/results/methods/collapse.csv has a row a run: criterion, asked (weights of the dense network / weights left),
seed, compression (as counted), collapsed (layers of which nothing is left, of 14), layers (their names),
lowest_density (weights left / weights, of the layer with the fewest), connected (whether any path is left), trained,
top1 (test images, percent), seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch
from matplotlib.figure import Figure
from runner import claimed, part, write
from torch import nn

from schedengine.errors import EffectWarning
from schedengine.export.forward import private_copy
from schedengine.policies.collapse import is_cut_through
from schedengine.reports.canvas import GREY, axis_label, grid, label_ends, look, save, style
from schedengine.training.loop import train_epoch
from schedengine.training.session import Session
from schedengine.training.settings import Amp, Settings
from schedengine.zoo.initial import he_normal_
from schedengine.zoo.seeds import reseed

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "methods" / "collapse.csv"
CRITERIA = {
    "random": "criterion: {{random: {{seed: {seed}}}}}",
    "magnitude": "criterion: magnitude",
    "snip": "criterion: snip",
    "grasp": "criterion: grasp",
    "synflow": "criterion: synflow, rounds: 100",
}
NAMES = {"random": "random", "magnitude": "magnitude", "snip": "SNIP", "grasp": "GraSP", "synflow": "SynFlow"}
EXPONENTS = (1.0, 2.0, 2.5, 3.0, 4.0)
SEEDS = (0, 1, 2)
EPOCHS = 3
CHANCE = 10.0
SCHEDULE = """version: 2
phases: [{{name: train, epochs: {epochs}}}]
pruners: {{once: {{{criterion}, sparsity: {sparsity}, allocation: global, min_keep: 0}}}}
lr_schedulers: {{train: {{class: linear, from: 0.1, to: 0.0}}}}
policies: [{{pruner: once, at: start}}, {{check_collapse: warn, at: start}}, {{lr_scheduler: train, during: run}}]
"""


def narrow_vgg(classes: int = 10, channels: int = 3) -> nn.Sequential:
    """VGG-16 with batch normalisation, a fourth of the usual width at first, less at the end: 580,426 parameters."""
    layers: list[nn.Module] = []
    inputs = channels
    for depth, width in ((2, 16), (2, 32), (3, 64), (3, 96), (3, 96)):
        for _ in range(depth):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
    he_normal_(model)
    return model


@dataclass(frozen=True)
class Case:
    """One run.

    Args:
        criterion: a key of ``CRITERIA``.
        exponent: of ten: the compression asked.
        seed: of weights, order, augmentation, and of the random criterion.
        epochs: trained.
    """

    criterion: str
    exponent: float
    seed: int
    epochs: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.criterion}_{self.exponent}_{self.seed}_{self.epochs}"

    @property
    def text(self) -> str:
        """Of its schedule."""
        criterion = CRITERIA[self.criterion].format(seed=self.seed)
        return SCHEDULE.format(epochs=self.epochs, criterion=criterion, sparsity=round(1 - 10**-self.exponent, 8))


class Disconnected(Exception):
    """Nothing leads from the images to the scores any more."""


def cases(epochs: int = EPOCHS) -> Iterator[Case]:
    for seed, exponent, criterion in itertools.product(SEEDS, EXPONENTS, CRITERIA):
        yield Case(criterion, exponent, seed, epochs)


def run(case: Case, folder: Path, data: Path) -> None:
    """Cut, train, measure; nothing if another process is at it, or it is done."""
    with claimed(folder) as is_ours:
        if not is_ours or (folder / "row.json").exists():
            return
        print(f"{case.name} ...", flush=True)
        begun = time.perf_counter()
        found = outcome(session_of(case, folder, data), case)
        asked = {"criterion": case.criterion, "asked": round(10**case.exponent, 1), "seed": case.seed}
        seconds = round(time.perf_counter() - begun, 1)
        (folder / "row.json").write_text(json.dumps({**asked, **found, "seconds": seconds}))


def session_of(case: Case, folder: Path, data: Path) -> Session:
    path = folder / "asked.yaml"
    path.write_text(case.text)
    settings = Settings(
        schedule=str(path),
        model="collapse:narrow_vgg",
        data=f"imagefolder:{data}",
        augment=True,
        batch_size=128,
        amp=Amp.BF16,
        channels_last=True,
        seed=case.seed,
    )
    return Session.of(settings, path)


def outcome(session: Session, case: Case) -> dict[str, Any]:
    """What a run says in the table."""
    after: dict[str, Any] = {}

    def begun() -> None:
        if not after:
            after.update(damage(session))
            if not after["connected"]:
                raise Disconnected

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EffectWarning)  # of check_collapse: it is counted here
            for epoch in session.scheduler.epochs():
                reseed(case.seed, "epoch", epoch)
                parts = (session.network, session.loader, session.optimizer, session.scheduler, epoch)
                train_epoch(*parts, session.compute, begun=begun)
                session.scheduler.on_epoch_end(epoch)
    except Disconnected:
        pass
    test = session.evaluate("test")
    assert test is not None
    return {**after, "trained": after["connected"], "top1": round(test.top1, 4)}


def damage(session: Session) -> dict[str, Any]:
    """What the cut has left."""
    counts = session.counts()
    empty = [count.parameter for count in counts if count.zeros == count.weights]
    left = sum(count.weights - count.zeros for count in counts)
    model = private_copy(session.model)
    return {
        "compression": round(sum(count.weights for count in counts) / left, 1) if left else None,
        "collapsed": len(empty),
        "layers": " ".join(empty),
        "lowest_density": min(1 - count.zeros / count.weights for count in counts),
        "connected": not is_cut_through(model, torch.zeros(2, *session.data.shape)),
    }


def collect(every: list[Case], folder: Path, out: Path) -> pandas.DataFrame:
    """A row a finished run, into a CSV file."""
    paths = [folder / case.name / "row.json" for case in every]
    table = pandas.DataFrame([json.loads(path.read_text()) for path in paths if path.exists()])
    if len(table):
        write(table, out)
    return table


def summary(table: pandas.DataFrame) -> pandas.DataFrame:
    """Mean top-1 over the seeds, and in brackets in how many of them layers have collapsed."""
    groups = table.groupby(["criterion", "asked"])
    found = groups.agg(top1=("top1", "mean"), sd=("top1", "std"), hit=("collapsed", lambda few: (few > 0).sum()))
    text = found.apply(lambda row: f"{row['top1']:.2f} ± {row['sd']:.2f} ({row['hit']:.0f})", axis=1)
    return text.unstack("asked").reindex([name for name in CRITERIA if name in set(table["criterion"])])


@look()
def draw(table: pandas.DataFrame) -> Figure:
    """Accuracy over compression: mean and range over the seeds, a curve a criterion, crosses where layers are empty."""
    picture, (axes,) = grid(1, panel=(6.5, 3.6))
    for number, (criterion, name) in enumerate(NAMES.items()):
        groups = table[table["criterion"] == criterion].groupby("asked")
        if not len(groups):
            continue
        found, looks = groups["top1"].agg(["mean", "min", "max"]), style(number)
        axes.plot(found.index, found["mean"], **looks, label=name)
        axes.fill_between(found.index, found["min"], found["max"], color=looks["color"], alpha=0.15, linewidth=0)
        hit = found[groups["collapsed"].max() > 0]
        axes.plot(hit.index, hit["mean"], linestyle="", marker="x", markersize=9, color=looks["color"])
    axes.axhline(CHANCE, color=GREY, linewidth=0.8, linestyle="--")
    axes.text(10, CHANCE, "chance", fontsize=7, color=GREY, va="bottom")
    axes.set(xscale="log", xlabel="compression (weights / weights left)", ylabel=axis_label("top1"))
    axes.set_title("cut before training; a cross: in some seed nothing is left of a layer")
    label_ends(axes)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="train what is not finished")
    drawing = commands.add_parser("figure", help="draw the curve")
    running.add_argument("--data", required=True, help="imagefolder:PATH")
    running.add_argument("--runs", type=Path, default=Path("runs/collapse"), help="where the run folders go")
    running.add_argument("--only", type=lambda text: text.split(","), help="criteria, with commas between them")
    running.add_argument(
        "--epochs", type=int, default=EPOCHS, help="others than 3 to try it; results stay in the folders"
    )
    drawing.add_argument("--out", type=Path, default=HERE.parent / "docs" / "figures")
    drawing.add_argument("--table", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.command == "figure":
        save(draw(pandas.read_csv(arguments.table)), arguments.out / "collapse.svg")
        return
    torch.set_num_threads(1)
    folder = arguments.runs.resolve()
    data, every = part(arguments.data, folder), list(cases(arguments.epochs))
    out = RESULTS if arguments.epochs == EPOCHS else folder / "collapse.csv"
    for case in every:
        if not arguments.only or case.criterion in arguments.only:
            run(case, folder / case.name, data)
            collect(every, folder, out)
    table = collect(every, folder, out)
    print(f"{len(table)} of {len(every)} runs finished\n{summary(table).to_string()}")


if __name__ == "__main__":
    main()
