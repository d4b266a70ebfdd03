"""The tables and pictures of docs/retraining.md, from the tables in benchmarks/results/retraining.

    python benchmarks/retraining_figures.py [--out docs/figures]

Tables go to standard output as Markdown: mean and standard deviation over seeds of the top-1 on test images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas
from matplotlib.figure import Figure

from schedengine.lr.base import Clock
from schedengine.lr.retraining import ALLR, CLR, FT, LLR, LRW, SLR, LayerwiseALLR, Past, Retraining
from schedengine.lr.shapes import Shape
from schedengine.lr.trace import Trace
from schedengine.reports.canvas import GREY, axis_label, grid, label_ends, look, save, style

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "retraining"
NAMES = {
    "ft": "FT", "lrw": "LRW (linear trace)", "slr": "SLR", "clr": "CLR", "llr": "LLR", "allr": "ALLR",
    "layerwise_allr": "LayerwiseALLR",
}  # fmt: skip
DROPS = {0.5: (0.141, 0.365), 0.7: (0.224, 0.550), 0.9: (0.341, 0.784)}
"""Of one cut of the ResNet-20, by sparsity: d1 of ALLR and of LayerwiseALLR."""


def spread(table: pandas.DataFrame, rows: str, columns: str) -> pandas.DataFrame:
    """Mean and standard deviation, as text."""
    found = table.groupby([rows, columns])["top1"].agg(["mean", "std", "count"])
    text = found.apply(lambda row: f"{row['mean']:.2f} ± {row['std']:.2f} ({row['count']:.0f})", axis=1)
    return text.unstack(columns)


def markdown(table: pandas.DataFrame) -> str:
    """A table with its index as the first column."""
    lines = [["method", *map(str, table.columns)], ["---"] * (len(table.columns) + 1)]
    lines += [
        [str(name), *("" if cell != cell else str(cell) for cell in row)]
        for name, row in zip(table.index, table.to_numpy())
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@look()
def rules(table: pandas.DataFrame) -> Figure:
    """Top-1 over the budget, a curve a rule."""
    picture, (axes,) = grid(1, panel=(6.5, 3.6))
    for number, (method, name) in enumerate(NAMES.items()):
        found = table[table["method"] == method].groupby("budget")["top1"].agg(["mean", "min", "max"])
        if len(found):
            looks = style(number)
            axes.plot(found.index, found["mean"], **looks, label=name)
            axes.fill_between(found.index, found["min"], found["max"], color=looks["color"], alpha=0.15, linewidth=0)
    axes.set(xlabel="epochs of retraining", ylabel=axis_label("top1"), xticks=sorted(table["budget"].unique()))
    axes.set_title("ResNet-20, one cut to 90 %: test images, mean and range over seeds")
    label_ends(axes)
    return picture


@look()
def peaks(table: pandas.DataFrame) -> Figure:
    """Top-1 over the peak of a linear schedule, with the adaptive rules' peaks; a panel a setting of several peaks."""
    linear = table[table["method"] == "linear"]
    counts = linear.groupby(["sparsity", "budget"])["peak"].nunique()
    settings = sorted(setting for setting, peaks in counts.items() if peaks > 2)
    picture, panels = grid(len(settings), columns=2, panel=(3.3, 2.6))
    for axes, (sparsity, budget) in zip(panels, settings, strict=True):
        here = linear[(linear["sparsity"] == sparsity) & (linear["budget"] == budget)]
        found = here.groupby("peak")["top1"].mean()
        axes.plot(found.index, found, **style(0))
        for drop, name in zip(DROPS.get(sparsity, ()), ("ALLR", "Layerwise")):
            axes.axvline(0.1 * drop, color=GREY, linewidth=0.8, linestyle="--")
            axes.text(0.1 * drop, found.min(), f" {name}", fontsize=7, rotation=90, color=GREY, va="bottom", ha="left")
        axes.set(xscale="log", xlabel="peak of the linear schedule", ylabel=axis_label("top1"))
        axes.set_xticks(list(found.index), [f"{peak:g}" for peak in found.index])
        axes.minorticks_off()
        axes.set_title(f"{sparsity:.0%} in {budget} epoch{'s' * (budget != 1)}")
    return picture


@look()
def curves() -> Figure:
    """What the rules make of a step schedule of 40 epochs, in a phase of 5."""
    per_epoch, steps = 100, 500
    dense = Trace([0.1 * 0.1 ** ((step >= 2000) + (step >= 3000)) for step in range(40 * per_epoch)], per_epoch)
    past = Past(dense, *DROPS[0.9])
    falling = Past(Trace([0.1 * (1 - step / len(dense)) for step in range(len(dense))], per_epoch))
    picture, (axes,) = grid(1, panel=(6.5, 3.2))
    made: tuple[Retraining, ...] = (FT(), LRW(), SLR(), CLR(), LLR(), ALLR(), LayerwiseALLR())
    for number, rule in enumerate(made):
        curve = rule.after(falling if isinstance(rule, LRW) else past, steps)
        assert isinstance(curve, Shape)
        rates = [curve.rate(Clock(step, steps), 0.1) for step in range(steps)]
        looks = {**style(number), "marker": ""}
        axes.plot(
            [step / per_epoch for step in range(steps)],
            rates,
            **looks,
            label=f"{type(rule).__name__}{' (linear trace)' * isinstance(rule, LRW)}",
        )
    axes.set(xlabel="epochs of retraining", ylabel="learning rate")
    axes.legend(fontsize=7, frameon=False)
    axes.set_title("after 40 epochs at 0.1, 0.01 and 0.001, and a cut to 90 % of the ResNet-20")
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "figures")
    out: Path = parser.parse_args().out
    save(curves(), out / "retraining_curves.svg")
    for name, draw in (("rules", rules), ("peaks", peaks)):
        if (RESULTS / f"{name}.csv").exists():
            save(draw(pandas.read_csv(RESULTS / f"{name}.csv")), out / f"retraining_{name}.svg")
    for name, columns in (("rules", "budget"), ("cycles", "sparsity"), ("scratch", "sparsity")):
        if not (RESULTS / f"{name}.csv").exists():
            continue
        table = pandas.read_csv(RESULTS / f"{name}.csv")
        print(f"\n{name}: top-1, mean ± standard deviation (runs)\n\n{markdown(spread(table, 'method', columns))}")


if __name__ == "__main__":
    main()
