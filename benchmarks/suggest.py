"""Suggested levels against the usual ways to share a total sparsity: one cut, no retraining.

    python benchmarks/suggest.py --weights FILE --data imagefolder:PATH [--model resnet20_cifar] [--images 2000]
                                 [--targets 0.5,0.7,0.8,0.9] [--out CSV]

The sweep is made on images of the training set, and everything is judged on all test images: no level was chosen on
what it is judged by. Suggested twice: from the sweep alone, and with the levels tried together on its images.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas
import torch
from torch import Tensor, nn

from schedengine.analysis.sensitivity.asked import Asked
from schedengine.analysis.sensitivity.cells import network_cells
from schedengine.analysis.sensitivity.images import from_split
from schedengine.analysis.sensitivity.joint import joint_drop, pruned
from schedengine.analysis.sensitivity.plain import replaced
from schedengine.analysis.sensitivity.study import Study
from schedengine.analysis.sensitivity.suggest import suggest_levels
from schedengine.analysis.sensitivity.table import Swept
from schedengine.selection import ParameterTable
from schedengine.training.compute import Compute
from schedengine.training.evaluate import evaluate
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.loader import Loader, Split
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import load_weights

BATCH = 100
ALLOCATIONS = ("uniform", "uniform_plus", "erk", "lamp", "global")


class Judge:
    """Top-1 on the test images of a network with other weights, and the sparsity that these are."""

    def __init__(self, model: nn.Module, data: Data) -> None:
        self._model = model
        self._table = ParameterTable(model)
        self._loader = data.loader("test", batch_size=BATCH)
        self._compute = Compute(torch.device("cpu"))

    def __call__(self, values: Mapping[str, Tensor], names: list[str]) -> tuple[float, float]:
        with replaced(self._table, values):
            top1 = evaluate(self._model, self._loader, self._compute).top1
            zeros = sum(int((self._table[name] == 0).sum()) for name in names)
        return top1, zeros / sum(self._table[name].numel() for name in names)


def swept(model: nn.Module, data: Data, images: int) -> tuple[pandas.DataFrame, list[tuple[Tensor, Tensor]]]:
    """The sweep of the layers on training images, and these."""

    def loader(split: Split, size: int) -> Loader:
        return Loader(split, size, data.mean, data.std)

    shown = from_split(loader, data.train, batch_size=BATCH, subset=images, random_order=0)
    frame = Study(model, Asked().cells(model), shown, Swept("element", "magnitude", "", {})).run()
    return frame, list(shown.batches())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20_cifar")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--targets", default="0.5,0.7,0.8,0.9")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    data = load_data(options.data)
    model = build_model(options.model, classes=data.classes, channels=data.shape[0])
    load_weights(model, options.weights)
    table, judge = ParameterTable(model), Judge(model, data)
    frame, batches = swept(model, data, options.images)
    names = list(dict.fromkeys(frame["parameter"]))
    measure = joint_drop(model, batches)
    rows: list[dict[str, Any]] = []

    def note(target: float, way: str, values: Mapping[str, Tensor], **more: Any) -> None:
        top1, sparsity = judge(values, names)
        rows.append({"target": target, "way": way, "sparsity": round(sparsity, 4), "top1": round(top1, 2), **more})
        print(rows[-1], flush=True)

    note(0.0, "dense", {})
    for target in map(float, options.targets.split(",")):
        for allocation in ALLOCATIONS:
            try:
                (cell,) = network_cells(table, [target], Asked(allocation=allocation).pruner())
            except Exception as error:  # an allocation that cannot reach the target says so
                print(f"{allocation}: {error}")
                continue
            note(target, allocation, cell.pruned(table))
        for way, tried in (("suggested", None), ("suggested, tried together", measure)):
            found = suggest_levels(frame, target=target, measure=tried)
            said = {"predicted": found.predicted, "measured": found.measured}
            note(target, way, pruned(table, found.levels), **said)
    if options.out:
        pandas.DataFrame(rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
