"""The evidence of docs/recipes.md for averaged replicas: schedules/soups/ at two sparsities, beside what costs as much.

    python benchmarks/soups.py run --data imagefolder:PATH [--runs DIR] [--only imp,sms_imp_3] [--epochs 3] [--collect]
    python benchmarks/soups.py tables
    python benchmarks/soups.py figure [--out docs/figures]

run      ResNet-8 on the first 1,000 images of each class: a dense training a seed (20 epochs), which the IMP methods
         start from with their seed; then all of seed 0 at 90 % and 98 %, then seed 1, ... Start it twice to use two
         cores: what one process works on, the other leaves alone; finished runs are skipped, interrupted ones go on.
tables   mean and standard deviation over the seeds, as Markdown, and paired differences
figure   the soup, its candidates and its baselines, on clean and on corrupted images

What is trained is measured when all is trained. --collect measures what is there.

Methods: m replicas, or m times the epochs of retraining (imp_mx). bimp, gmp and dpf are the schedules of sms_bimp,
sms_gmp and sms_dpf without replicas; dpf and sms_dpf come after everything else. imp_reprune with m = 3 is made of the
first three of its five, which have nothing to do with one another.

Every network in the tables has batch-norm statistics estimated anew from one pass over the training images, augmented
as in training, baselines and candidates too, so that the average is not the only one. In benchmarks/results/soups/:

runs.csv      a row a run: its final network, also as it was trained (the columns trained_); epochs: those of every
              replica counted, without the dense training that IMP starts from
soups.csv     a row an average: its candidates' mean and best (by validation), and the average
networks.csv  a row a network of the last average of each run: candidates, soup, greedy soup, prediction ensemble
pairs.csv     a row a pair of these candidates: distance, angle between their ways from their parent, barrier
epochs.csv    a row an epoch
epochs9/      the same of what was trained with --epochs 9 --results benchmarks/results/soups/epochs9

Corrupted: top-1 on every twentieth test image, mean over 12 corruptions at 5 severities. Barriers: on the same images,
uncorrupted, at ends and middle of the lines between the first three candidates, with statistics from 20 batches.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import pandas
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from methods import aimed
from retraining_figures import markdown
from runner import DENSE, LOOP, Job, claimed, epochs_of, part, run, write
from torch import nn

from schedengine import Schedule, dump, load_schedule
from schedengine.analysis.soups import (
    Pot,
    barriers,
    cutter,
    measure_distances,
    measure_together,
    walk_lines,
)
from schedengine.analysis.soups.calibration import Calibration
from schedengine.analysis.soups.corruption import measure_corrupted
from schedengine.export.pruned import load_
from schedengine.reports.canvas import GREY, grid, look, save, style
from schedengine.schedule.document import Phase
from schedengine.soups.recipes import Greedy
from schedengine.training.compute import Compute
from schedengine.training.evaluate import evaluate
from schedengine.training.session import training_images
from schedengine.training.settings import Amp
from schedengine.training.soup_report import SoupScores
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.loader import Images
from schedengine.zoo.models import build_model

HERE = Path(__file__).parent
SCHEDULES = HERE.parent / "schedules" / "soups"
RESULTS = HERE / "results" / "soups"
MODEL = "resnet8_cifar"
TARGETS = (0.9, 0.98)
SEEDS = (0, 1, 2)
EPOCHS = 3
"""Of a cycle, in the files."""
BATCH = 128
EVERY = 20
"""Of the test images, one is corrupted."""
POINTS, BATCHES = 3, 20
"""Of a line; that statistics are estimated from at each."""
TABLES = ("runs", "soups", "networks", "pairs")


@dataclass(frozen=True)
class Method:
    """A schedule and its cost.

    Args:
        file: in schedules/soups/.
        m: replicas, or times the epochs of a cycle; 1 for the plain method.
        from_dense: whether it starts from the dense training of its seed.
    """

    file: str
    m: int = 1
    from_dense: bool = True

    def schedule(self) -> Schedule:
        """As it ships, with other numbers."""
        schedule = load_schedule(SCHEDULES / f"{self.file}.yaml")
        return replace(schedule, phases=tuple(self._phase(phase) for phase in schedule.phases))

    def _phase(self, phase: Phase) -> Phase:
        if self.file == "imp_mx":
            return replace(phase, epochs=EPOCHS * self.m)
        if phase.replicas is None:
            return phase
        return replace(phase, replicas=self.m if self.m > 1 else None)


ROUNDS: tuple[dict[tuple[str, int], Method], ...] = (
    {
        ("imp", 1): Method("imp"),
        ("sms_imp", 3): Method("sms_imp", 3),
        ("imp_mx", 3): Method("imp_mx", 3),
    },
    {
        ("bimp", 1): Method("sms_bimp", 1, from_dense=False),
        ("sms_bimp", 3): Method("sms_bimp", 3, from_dense=False),
        ("gmp", 1): Method("sms_gmp", 1, from_dense=False),
        ("sms_gmp", 3): Method("sms_gmp", 3, from_dense=False),
    },
    {
        ("sms_imp", 5): Method("sms_imp", 5),
        ("imp_mx", 5): Method("imp_mx", 5),
        ("imp_reprune", 5): Method("imp_reprune", 5),
        ("imp_reprune", 3): Method("imp_reprune", 3),
    },
)
"""By name and m: what is trained before the next; each goes through both sparsities first."""
LAST: dict[tuple[str, int], Method] = {
    ("dpf", 1): Method("sms_dpf", 1, from_dense=False),
    ("sms_dpf", 3): Method("sms_dpf", 3, from_dense=False),
}


# --- what is trained -------------------------------------------------------------------------------------------------


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """Dense trainings, then all of seed 0, then all of seed 1, ...; then what comes last."""
    images = part(arguments.data, arguments.runs, arguments.images)
    common = (*LOOP, "--model", MODEL, "--data", f"imagefolder:{images}")
    for seed in SEEDS:
        length = ("--budget", str(_scaled(20, arguments)))
        yield Job(f"dense_{seed}", DENSE, _says("dense", 1, 0.0, seed), (*common, *length))
    for seed in SEEDS:
        for methods in ROUNDS:
            yield from _round(methods, seed, arguments, common)
    for seed in SEEDS:
        yield from _round(LAST, seed, arguments, common)


def _round(
    methods: Mapping[tuple[str, int], Method], seed: int, arguments: argparse.Namespace, common: tuple[str, ...]
) -> Iterator[Job]:
    for target, ((name, m), method) in product(TARGETS, methods.items()):
        schedule, options = method.schedule(), common
        if method.from_dense:
            options = (*options, "--weights", str(_folder(arguments) / f"dense_{seed}" / "model.safetensors"))
        if arguments.epochs != EPOCHS:
            assert schedule.epochs is not None
            options = (*options, "--budget", str(_scaled(schedule.epochs, arguments)))
        says = _says(name, m, target, seed)
        yield Job(f"{name}_{m}_{target}_{seed}", aimed(dump(schedule), target, seed), says, options)


def _says(name: str, m: int, target: float, seed: int) -> dict[str, Any]:
    return {"method": name, "m": m, "target": target, "seed": seed}


def _scaled(epochs: int, arguments: argparse.Namespace) -> int:
    cycle: int = arguments.epochs
    return max(1, round(epochs * cycle / EPOCHS))


def _folder(arguments: argparse.Namespace) -> Path:
    """Runs of other lengths and images lie apart."""
    folder: Path = arguments.runs / f"epochs{arguments.epochs}_images{arguments.images}"
    return folder


def cost(job: Job) -> int:
    """Epochs that are trained, those of every replica counted; at the usual length."""
    return 0 if _is_part(job) else sum(_cost(phase) for phase in load_schedule(job.text).phases)


def _cost(phase: Phase) -> int:
    inside = sum(_cost(one) for one in phase.phases) if phase.phases else phase.epochs
    assert isinstance(inside, int)
    return inside * int(phase.repeat) * int(phase.replicas or 1)


def is_ready(job: Job) -> bool:
    """Whether the weights that it starts from are there."""
    weights = Path(job.options[job.options.index("--weights") + 1]) if "--weights" in job.options else None
    return weights is None or weights.exists()


# --- what is measured of a run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """Images of a seed, and how networks are measured on them."""

    data: Data
    seed: int
    compute: Compute

    @classmethod
    @functools.cache
    def of(cls, data: str, seed: int) -> Bench:
        return cls(load_data(data, validation=0.1, seed=seed), seed, Compute(amp=Amp.BF16, channels_last=True))

    @property
    def few(self) -> Data:
        """With every twentieth test image only."""
        assert isinstance(self.data.test, Images)
        return replace(self.data, test=self.data.test.take(torch.arange(0, len(self.data.test), EVERY)))

    def calibration(self, batches: int | None = None) -> Calibration:
        """What estimates batch-norm statistics."""
        loader = training_images(self.data, batch_size=BATCH, seed=self.seed, workers=0, augment=True)
        return Calibration(loader, self.compute, batches)

    def network(self, path: Path) -> nn.Module:
        """As saved."""
        model = build_model(MODEL)
        load_(model, path)
        self.compute.place_(model)
        return model

    def measure(self, networks: Mapping[str, nn.Module], together: int) -> list[dict[str, Any]]:
        """A row a network, and one of the ensemble of the first ones; on validation, test and corrupted images.

        Args:
            together: how many are the ensemble.
        """
        rows: dict[str, dict[str, Any]] = {name: {"network": name} for name in (*networks, "ensemble")}
        for split in ("validation", "test"):
            loader = self.data.loader(split, batch_size=BATCH)
            each, joint = measure_together([*networks.values()], together, loader, self.compute)
            for row, one in zip(rows.values(), [*each, joint], strict=True):
                row |= {f"{split}_top1": one.top1, f"{split}_loss": one.loss}
        spoiled = measure_corrupted(networks, together, "ensemble", self.few, BATCH, self.compute)
        for name, top1 in spoiled.groupby("network")["top1"].mean().items():
            rows[str(name)]["corrupted_top1"] = float(top1)
        return list(rows.values())


def source(job: Job, folder: Path) -> Path:
    """The run that a job is measured on: three independent runs are the first three of five."""
    return folder / (job.name.replace("_3_", "_5_", 1) if _is_part(job) else job.name)


def _is_part(job: Job) -> bool:
    return (job.says["method"], job.says["m"]) == ("imp_reprune", 3)


def kept(job: Job, folder: Path) -> Path:
    """Where what was measured of a job is kept."""
    return source(job, folder) / f"measured_{job.says['m']}.json"


def measured(job: Job, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows for the tables, by table, of a finished run; made once, and kept in its folder."""
    run, path = source(job, folder), kept(job, folder)
    if not path.exists():
        bench = Bench.of(json.loads((run / "run.json").read_text())["settings"]["data"], job.says["seed"])
        found = _of_part(run, bench, job.says["m"]) if _is_part(job) else _measured(run, bench)
        path.write_text(json.dumps(found, indent=1))
    rows: dict[str, list[dict[str, Any]]] = json.loads(path.read_text())
    return rows


def _of_part(folder: Path, bench: Bench, m: int) -> dict[str, list[dict[str, Any]]]:
    """Of the first replicas of a run whose replicas have nothing to do with one another."""
    networks, pairs = _last(folder / "soups" / "imp-1", None, bench, m)
    soup = next(row for row in networks if row["network"] == "soup")
    own = {name: soup[name] for name in ("validation_top1", "test_top1", "test_loss", "corrupted_top1")}
    rows = pandas.read_csv(folder / "metrics.csv", dtype={"replica": str})
    ours = rows[rows["replica"].isin([str(number) for number in range(m)])]
    own |= {"achieved": float(ours["sparsity"].iloc[-1]), "epochs": len(ours), "seconds": float(ours["seconds"].sum())}
    return {"runs": [own], "soups": [], "networks": networks, "pairs": pairs}


def _measured(folder: Path, bench: Bench) -> dict[str, list[dict[str, Any]]]:
    result = json.loads((folder / "result.json").read_text())
    soups = [SoupScores.from_plain(one) for one in result.get("soups", ())]
    calibrate = bench.calibration()
    final = bench.network(folder / "model.safetensors")
    calibrate(final)
    if soups:
        networks, pairs = _last(folder / "soups" / soups[-1].title, final, bench)
    else:
        networks, pairs = bench.measure({"final": final}, 1)[:1], []
    found = next(row for row in networks if row["network"] in ("final", "soup"))
    trained = result["after"]["test"]
    own = {name: found[name] for name in ("validation_top1", "test_top1", "test_loss", "corrupted_top1")}
    own |= {"achieved": result["sparsity"], "trained_top1": trained["top1"], "trained_loss": trained["loss"]}
    return {
        "runs": [{**own, **_effort(folder)}],
        "soups": [_soup(one) for one in soups],
        "networks": networks if soups else [],
        "pairs": pairs,
    }


def _effort(folder: Path) -> dict[str, Any]:
    """Epochs and seconds, those of every replica counted."""
    rows = pandas.read_csv(folder / "metrics.csv", dtype={"replica": str})
    trained = rows[rows["replica"] != "soup"]
    return {"epochs": len(trained), "seconds": round(float(trained["seconds"].sum()), 1)}


def _soup(soup: SoupScores) -> dict[str, Any]:
    """An average as the run itself found it."""
    row: dict[str, Any] = {"title": soup.title, "epoch": soup.epoch, "sparsity": soup.sparsity}
    for split in ("validation", "test"):
        found = soup.soup[split]
        assert found is not None
        row |= {f"{split}_mean": soup.mean(split), f"{split}_best": soup.best(split), f"{split}_soup": found.top1}
    return row


def _last(
    folder: Path, final: nn.Module | None, bench: Bench, m: int | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the networks and the pairs of a run's last average.

    Args:
        final: the average; None to make it.
        m: of the first so many replicas; None for all.
    """
    paths = sorted(folder.glob("replica-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))[:m]
    members = {path.stem: bench.network(path) for path in paths}
    pairs = measure_distances(members, bench.network(folder / "parent.safetensors"))
    calibrate = bench.calibration()
    cuts = [] if _are_alike(members) else [cutter(members)]
    for member in members.values():
        calibrate(member)
    lines = walk_lines(
        dict(islice(members.items(), 3)),
        lambda network: evaluate(network, bench.few.loader("test", batch_size=BATCH), bench.compute),
        finish=bench.calibration(BATCHES),
        points=POINTS,
    )
    pot = Pot([*members.values()], [*cuts, calibrate])
    greedy, chosen = _greedy(pot, bench)
    others = {"soup": final or pot.mix(range(len(members)))} | (
        {} if len(chosen) == len(members) else {"greedy": greedy}
    )
    rows = bench.measure({**members, **others}, len(members))
    if "greedy" not in others:  # it is the soup
        rows.append({**next(row for row in rows if row["network"] == "soup"), "network": "greedy"})
    for row in rows:
        row["of"] = {"greedy": len(chosen)}.get(row["network"], 1 if row["network"] in members else len(members))
    both = pairs.merge(barriers(lines), on=["first", "second"], how="left")
    return rows, [{str(name): value for name, value in row.items()} for row in both.to_dict("records")]


def _are_alike(networks: Mapping[str, nn.Module]) -> bool:
    """Whether the same weights are 0 in all of them."""
    first, *others = ([weight == 0 for weight in one.parameters()] for one in networks.values())
    return all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


def _greedy(pot: Pot, bench: Bench) -> tuple[nn.Module, Sequence[int]]:
    """The average of those that help on the validation images, and which these are."""

    def score(numbers: Sequence[int]) -> dict[str, float]:
        loader = bench.data.loader("validation", batch_size=BATCH)
        return evaluate(pot.mix(numbers), loader, bench.compute).metrics()

    chosen = Greedy().choose(len(pot.networks), score)
    return pot.mix(chosen), chosen


def collect(every: list[Job], folder: Path, out: Path) -> dict[str, pandas.DataFrame]:
    """All that is measured, into the CSV files."""
    finished = [job for job in every if kept(job, folder).exists()]
    found: dict[str, pandas.DataFrame] = {}
    for name in TABLES if finished else ():
        rows = [{**job.says, **row} for job in finished for row in measured(job, folder)[name]]
        found[name] = pandas.DataFrame(rows).round(5)
        if rows:
            write(found[name], out / f"{name}.csv")
    if finished:
        epochs = [epochs_of(job, folder / job.name) for job in finished if not _is_part(job)]
        write(pandas.concat(epochs).round(6), out / "epochs.csv")
    return found


# --- tables ----------------------------------------------------------------------------------------------------------

KEYS = ["method", "m", "target"]
KINDS = ("mean", "best", "soup", "greedy", "ensemble")
NUMBERS = {"test_top1": "test", "corrupted_top1": "corrupted"}
PLAIN = {"sms_imp": "imp", "sms_bimp": "bimp", "sms_gmp": "gmp", "sms_dpf": "dpf"}
"""What each is without replicas."""


def wide(networks: pandas.DataFrame) -> pandas.DataFrame:
    """A row a kind of network of each last average: its candidates' mean and best (by validation), the soup, ...

    Returns:
        Columns: method, m, target, seed; kind (mean, best, soup, greedy, ensemble); those of ``NUMBERS``.
    """
    rows: list[dict[str, Any]] = []
    for key, group in networks.groupby([*KEYS, "seed"], sort=False):
        assert isinstance(key, tuple)
        found = {str(row["network"]): row for row in group.to_dict("records")}
        members = group[group["network"].str.startswith("replica-")]
        best = str(members.sort_values("validation_top1", ascending=False, kind="stable")["network"].iloc[0])
        found |= {"mean": dict(members[list(NUMBERS)].mean()), "best": found[best]}
        says = dict(zip([*KEYS, "seed"], key, strict=True))
        rows += [{**says, "kind": kind, **{name: found[kind][name] for name in NUMBERS}} for kind in KINDS]
    return pandas.DataFrame(rows)


def differences(networks: pandas.DataFrame, runs: pandas.DataFrame) -> pandas.DataFrame:
    """Soup minus others of the same seed, in points of top-1; a row each.

    Returns:
        Columns: method, m, target, seed, against, and those of ``NUMBERS``.
    """
    kinds = wide(networks)
    soups, others = kinds[kinds["kind"] == "soup"], kinds[kinds["kind"] != "soup"]
    against = [others.assign(against="soup - " + others["kind"])]
    for method, m in soups[["method", "m"]].drop_duplicates().itertuples(index=False):
        for name, times in _baselines(str(method), int(str(m))):
            found = runs[(runs["method"] == name) & (runs["m"] == times)]
            against.append(found.assign(method=str(method), m=int(str(m)), against=f"soup - {_title(name, times)}"))
    columns = [*KEYS, "seed", "against", *NUMBERS]
    both = pandas.concat([one[columns] for one in against]).merge(soups, on=[*KEYS, "seed"], suffixes=("", "_soup"))
    return both.assign(**{name: both[f"{name}_soup"] - both[name] for name in NUMBERS})[columns]


def _baselines(method: str, m: int) -> list[tuple[str, int]]:
    """What a soup is compared with beside its own candidates."""
    longer = [("imp_mx", m), ("imp_reprune", m)] if method == "sms_imp" else []
    return [(PLAIN[method], 1), *longer] if method in PLAIN else []


def shown(groups: Any, columns: Mapping[str, str], digits: int = 2, *, sign: str = "") -> pandas.DataFrame:
    """Mean and standard deviation over the seeds, as text; one seed has no deviation.

    Args:
        columns: of the table -> of the text.
    """
    mean, std = groups[list(columns)].mean(), groups[list(columns)].std()
    text = {"seeds": groups.size()}
    for name, title in columns.items():
        pairs = zip(mean[name], std[name], strict=True)
        text[title] = pandas.Series(
            [f"{m:{sign}.{digits}f}" + (f" ± {s:.{digits}f}" if s == s else "") for m, s in pairs], index=mean.index
        )
    return pandas.DataFrame(text)


def _flat(table: pandas.DataFrame) -> pandas.DataFrame:
    """With one index: the method, and its m where it has one."""
    named = [_title(str(method), int(m)) for method, m, *_ in table.index]
    rest = list(table.index.names[2:])
    return table.reset_index(level=rest).set_axis(named)


def _title(method: str, m: int) -> str:
    if method == "imp_mx":
        return f"imp_{m}x"
    return method if m == 1 else f"{method}, m = {m}"


def tables(found: Mapping[str, pandas.DataFrame]) -> str:
    """As Markdown."""
    return "\n\n".join(_tables(found))


def _tables(found: Mapping[str, pandas.DataFrame]) -> Iterator[str]:
    runs, networks, pairs = found["runs"], found["networks"], found["pairs"]
    for target in sorted(runs["target"].unique()):
        here = runs[runs["target"] == target].groupby(KEYS[:2], sort=False)
        names = {"test_top1": "test top-1", "corrupted_top1": "corrupted", "trained_top1": "test, as trained"}
        text = shown(here, names)
        text.insert(1, "epochs", here["epochs"].first())
        text["sparsity"] = here["achieved"].mean().map("{:.4f}".format)
        yield f"Final networks at {target:.0%}:\n\n{markdown(_flat(text))}"
    if networks.empty:
        return
    kinds = wide(networks)
    for target in sorted(networks["target"].unique()):
        here = kinds[kinds["target"] == target]
        for number, name in NUMBERS.items():
            flat = here.pivot(index=[*KEYS[:2], "seed"], columns="kind", values=number)[list(KINDS)]
            text = shown(flat.groupby(level=KEYS[:2], sort=False), {kind: kind for kind in KINDS})
            yield f"Last average at {target:.0%}, {name} top-1:\n\n{markdown(_flat(text))}"
        gains = differences(networks, runs)
        gains = gains[gains["target"] == target].sort_values([*KEYS[:2]], kind="stable")
        groups = gains.groupby([*KEYS[:2], "against"], sort=False)
        text = _flat(shown(groups, NUMBERS, sign="+"))
        yield f"Paired differences at {target:.0%}, points of top-1:\n\n{markdown(text)}"
    columns = {"relative": "distance / norm", "angle": "angle", "barrier_loss": "barrier", "barrier_top1": "points"}
    each = pairs.groupby([*KEYS, "seed"], sort=False)[list(columns)].mean()
    text = _flat(shown(each.groupby(level=KEYS, sort=False), columns, 3))
    yield f"Pairs of candidates, mean over pairs:\n\n{markdown(text)}"
    yield from _cycles(found["soups"])


def _cycles(soups: pandas.DataFrame) -> Iterator[str]:
    gains = soups.assign(mean=soups["test_soup"] - soups["test_mean"], best=soups["test_soup"] - soups["test_best"])
    groups = gains.groupby([*KEYS, "title"], sort=False)
    columns = {"test_soup": "soup", "mean": "soup - mean", "best": "soup - best"}
    text = _flat(shown(groups, columns))
    text.insert(1, "sparsity", groups["sparsity"].mean().map("{:.4f}".format).to_numpy())
    yield f"Every average, test top-1:\n\n{markdown(text)}"


# --- the figure ------------------------------------------------------------------------------------------------------

GROUPS = {
    ("sms_imp", 3): "IMP, m = 3",
    ("sms_imp", 5): "IMP, m = 5",
    ("sms_bimp", 3): "BIMP, m = 3",
    ("sms_gmp", 3): "GMP, m = 3",
}
DOTS = {
    "plain": "without replicas",
    "longer": "m times as long",
    "reprune": "m whole runs, averaged (RePrune)",
    "mean": "candidates, mean",
    "best": "best candidate (by validation)",
    "soup": "soup",
    "ensemble": "prediction ensemble",
}


@look()
def draw(networks: pandas.DataFrame, runs: pandas.DataFrame) -> Figure:
    """Accuracy of the soup, its candidates and its baselines: a column a sparsity, a row for clean and corrupted."""
    targets = [target for target in TARGETS if (networks["target"] == target).any()]
    picture, panels = grid(2 * len(targets), columns=len(targets), panel=(6.8 / len(targets), 2.7))
    for axes, (number, target) in zip(panels, product(NUMBERS, targets), strict=True):
        _panel(axes, networks[networks["target"] == target], runs[runs["target"] == target], number)
        images = "clean test images" if number == "test_top1" else "corrupted test images"
        axes.set_title(f"{target:.0%} removed, {images}")
        axes.set_ylabel("top-1 accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=4)
    return picture


def _panel(axes: Axes, networks: pandas.DataFrame, runs: pandas.DataFrame, number: str) -> None:
    kinds = wide(networks)
    for offset, (kind, label) in enumerate(DOTS.items()):
        places, middles, lows, highs = [], [], [], []
        for place, key in enumerate(GROUPS):
            found = _dots(kinds, runs, key, kind, number)
            if len(found):
                places.append(place + 0.11 * (offset - 3))
                middles.append(found.mean())
                lows.append(found.min())
                highs.append(found.max())
        looks = {"color": GREY} if kind == "plain" else {"color": style(offset - 1)["color"]}
        axes.vlines(places, lows, highs, linewidth=1.0, **looks)
        marker = "D" if kind == "soup" else "o"
        axes.plot(places, middles, linestyle="", marker=marker, label=label, zorder=3, **looks)
    axes.set_xticks(range(len(GROUPS)), list(GROUPS.values()))
    axes.set_xlim(-0.5, len(GROUPS) - 0.5)
    axes.grid(visible=False, axis="x")


def _dots(
    kinds: pandas.DataFrame, runs: pandas.DataFrame, key: tuple[str, int], kind: str, number: str
) -> pandas.Series[float]:
    """One kind of network of a group, over the seeds."""
    method, m = key
    others = {"plain": (PLAIN[method], 1), "longer": ("imp_mx", m), "reprune": ("imp_reprune", m)}
    if kind in others:
        if kind != "plain" and method != "sms_imp":
            return pandas.Series(dtype=float)
        name, times = others[kind]
        found: pandas.Series[float] = runs[(runs["method"] == name) & (runs["m"] == times)][number]
        return found
    is_one = (kinds["method"] == method) & (kinds["m"] == m) & (kinds["kind"] == kind)
    column: pandas.Series[float] = kinds[is_one][number]
    return column


# --- the command -----------------------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """What is asked and not finished; the tables are of all that is."""
    arguments.runs = arguments.runs.resolve()
    folder, every = _folder(arguments), list(jobs(arguments))
    is_usual = arguments.epochs == EPOCHS and arguments.images == 1000
    out = arguments.results or (RESULTS if is_usual else folder / "results")
    names = {name for job in every for name in _names(job)}
    if unknown := set(arguments.only or ()) - names:
        raise SystemExit(f"no such method: {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    wanted = [job for job in every if not arguments.only or {"dense", *arguments.only} & _names(job)]
    print(f"{len(wanted)} runs, {sum(map(cost, wanted)):,} epochs at the usual length")
    for job in wanted if not arguments.collect else ():
        if not is_ready(job):
            print(f"{job.name}: its dense training is not finished; start again for it", flush=True)
        elif not _is_part(job):
            run(job, folder / job.name)
    for job in wanted:
        _keep(job, folder)
    found = collect(every, folder, out)
    done = len(found["runs"]) if found else 0
    print(f"{done} of {len(every)} runs finished\n{tables(found) if done else ''}")


def _names(job: Job) -> set[str]:
    """What ``--only`` may call it."""
    return {job.says["method"], f"{job.says['method']}_{job.says['m']}"}


def _keep(job: Job, folder: Path) -> None:
    """Measure a run that is finished, unless another process is at it."""
    run_of = source(job, folder)
    if kept(job, folder).exists() or not (run_of / "result.json").exists():
        return
    with claimed(run_of) as is_ours:
        if is_ours:
            measured(job, folder)


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="train what is not finished")
    showing = commands.add_parser("tables", help="print the tables")
    drawing = commands.add_parser("figure", help="draw them")
    drawing.add_argument("--out", type=Path, default=HERE.parent / "docs" / "figures")
    for command in (running, showing, drawing):
        default = None if command is running else RESULTS
        command.add_argument("--results", type=Path, default=default, help="folder of other tables, as of --epochs")
    running.add_argument("--data", required=True, help="imagefolder:PATH")
    running.add_argument("--runs", type=Path, default=Path("runs/soups"), help="where the run folders go")
    running.add_argument("--only", type=lambda text: text.split(","), help="imp,sms_imp_3: methods, or with their m")
    running.add_argument("--epochs", type=int, default=EPOCHS, help="of a cycle; others stay with their run folders")
    running.add_argument("--images", type=int, default=1000, help="of each class; likewise")
    running.add_argument("--collect", action="store_true", help="only collect what is finished")
    arguments = parser.parse_args()
    if arguments.command == "run":
        train(arguments)
        return
    paths = {name: arguments.results / f"{name}.csv" for name in TABLES}  # none of averages before the first one
    found = {name: pandas.read_csv(path) if path.exists() else pandas.DataFrame() for name, path in paths.items()}
    if any(found[name].empty for name in TABLES) and arguments.command == "figure":
        raise SystemExit(f"{arguments.results}: nothing to draw yet, there is no average")
    if arguments.command == "tables":
        print(tables(found))
    else:
        save(draw(found["networks"], found["runs"]), arguments.out / "soups.svg")


if __name__ == "__main__":
    main()
