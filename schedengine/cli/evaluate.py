"""``schedengine evaluate``: measure saved weights."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schedengine.cli import options

if TYPE_CHECKING:
    from torch import nn

    from schedengine.training.compute import Compute
    from schedengine.zoo.loader import Loader


class SplitChoice(str, Enum):
    """The parts of a data set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def evaluate(
    model: Annotated[str, typer.Option("--model", help="As in `train`.")],
    weights: Annotated[Path, typer.Option("--weights", help="safetensors, a state dict, or a Distiller checkpoint.")],
    data: options.Data = "digits",
    split: Annotated[SplitChoice, typer.Option("--split", help="Which part of the data.")] = SplitChoice.TEST,
    batch_size: options.BatchSize = 64,
    validation: options.Validation = 0.1,
    seed: options.Seed = 0,
    root: options.Root = None,
    download: options.Download = False,
    image_size: options.ImageSize = None,
    workers: options.Workers = 0,
    classes: options.Classes = None,
    is_corrupted: Annotated[
        bool,
        typer.Option("--corrupted", help="Besides, top-1 under noise, blur, fog, ...: five severities of each."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Measure saved weights: loss, accuracy, samples, sparsity."""
    from schedengine.export.pruned import load_
    from schedengine.reports.tables import to_json
    from schedengine.training.compute import Compute
    from schedengine.training.evaluate import evaluate as measure
    from schedengine.training.session import build
    from schedengine.training.trial import check_fits
    from schedengine.zoo.data import load_data

    loaded = load_data(
        data,
        root=root,
        download=download,
        validation=validation,
        seed=seed,
        image_size=image_size,
    )
    network, compute = build(model, loaded, classes), Compute()
    load_(network, weights)
    compute.place_(network)
    check_fits(network, model, loaded, data, classes, compute)
    loader = loaded.loader(split.value, batch_size=batch_size, seed=seed, workers=workers)
    corrupted = _corrupted(network, loader, compute, seed) if is_corrupted else {}
    found = {"split": split.value, **measure(network, loader, compute).plain(), **_zeros(network), **corrupted}
    if as_json:
        typer.echo(to_json(found))
    else:
        _show(found)


def _zeros(network: nn.Module) -> dict[str, Any]:
    from schedengine.selection import ParameterTable
    from schedengine.training.sparsity import count_zeros, prunable

    table = ParameterTable(network)
    counts = count_zeros(table, prunable(table))
    weights, zeros = sum(count.weights for count in counts), sum(count.zeros for count in counts)
    return {"weights": weights, "zeros": zeros, "sparsity": zeros / weights if weights else 0.0}


def _corrupted(network: nn.Module, loader: Loader, compute: Compute, seed: int) -> dict[str, Any]:
    from schedengine.analysis.robustness import by_severity, measure_robustness

    top1 = by_severity(measure_robustness(network, loader, compute, seed=seed))
    return {"corrupted": {"seed": seed, "top1": top1.to_dict("index")}}


def _show(found: dict[str, Any]) -> None:
    from schedengine.reports.tables import fraction, percent, show_table

    row = [
        found["split"],
        f"{found['samples']:,}",
        f"{found['loss']:.4f}",
        percent(found["top1"]),
        percent(found["top5"]),
    ]
    show_table(
        "Evaluation",
        ["split", "images", "loss", "top-1", "top-5", "weights", "zeros", "sparsity"],
        [[*row, f"{found['weights']:,}", f"{found['zeros']:,}", fraction(found["sparsity"])]],
        "weights, zeros, sparsity (fraction that is 0): of all Conv and Linear weights",
    )
    if "corrupted" in found:
        _show_corrupted(found["corrupted"], found["top1"])


def _show_corrupted(corrupted: dict[str, Any], clean: float) -> None:
    from schedengine.reports.tables import percent, show_table
    from schedengine.zoo.corruptions import CORRUPTIONS

    rows = corrupted["top1"]
    left_out = [name for name in CORRUPTIONS if name not in rows]
    unfit = f"\nleft out, images of this shape do not allow it: {', '.join(left_out)}" if left_out else ""
    show_table(
        f"Top-1 of the same images, corrupted (clean: {percent(clean)})",
        ["corruption", *(head if head == "mean" else f"severity {head}" for head in rows["mean"])],
        [[name, *(percent(top1) for top1 in row.values())] for name, row in rows.items()],
        f"mean: over the severities, and over the {len(rows) - 1} corruptions, of the 15 of CIFAR-10-C "
        f"(Hendrycks and Dietterich, 2019); drawn with seed {corrupted['seed']}{unfit}",
    )
