"""What sharing makes of a sensitivity sweep: the naive sweep, as Distiller does it, against the exact one.

    python benchmarks/sweep.py [--model resnet20_cifar] [--weights FILE] [--data imagefolder:PATH] [--images 1000]
                               [--levels 0:0.95:0.05] [--every 1] [--threads 1] [--image-size N] [--batch-size N]
                               [--within 0.5 --within 1] [--out CSV]

Naive: a copy of the model for each parameter, the dense network evaluated again for each, every level a whole
evaluation, in the batches that suit it best. Both sweeps go through the same batches in turn, so that whatever else the
machine does hits both, and must count the same. The limit by operations is what reuse alone can give: operations of the
naive sweep by those of the exact one, were every operation as fast in both.

Adaptive: cells stop when their drop is known to ``--within`` points, on all test images in random order; its time, the
evaluation of the dense network on all of them included, is set against that of the naive sweep on as many images.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from schedengine.analysis.sensitivity.adaptive import Adaptive
from schedengine.analysis.sensitivity.cells import Cell, layer_cells
from schedengine.analysis.sensitivity.counts import Counts, judge
from schedengine.analysis.sensitivity.images import from_split
from schedengine.analysis.sensitivity.levels import parse_levels
from schedengine.analysis.sensitivity.study import Study
from schedengine.analysis.sensitivity.sweep import Engine
from schedengine.analysis.sensitivity.table import Swept
from schedengine.selection import DEFAULT_TYPES, ParameterTable
from schedengine.training.evaluate import evaluating
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.loader import Loader, Split
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import load_weights

BATCHES = (16, 32, 64, 128, 256)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def fastest_batch(model: nn.Module, images: Tensor) -> int:
    """The batch size that suits a plain evaluation best, of those that fit the images given."""
    sizes = [size for size in BATCHES if size <= len(images)] or [len(images)]
    speed = {size: min(seconds(lambda: model(images[:size])) for _ in range(4)) / size for size in sizes}  # noqa: B023
    return min(speed, key=speed.__getitem__)


def naive(model: nn.Module, cells: Sequence[Cell], images: Tensor, labels: Tensor) -> dict[Cell, tuple[int, int]]:
    """Right at first and within five; a copy for each parameter, a whole evaluation for each level."""
    found = {}
    for parameter in dict.fromkeys(cell.parameter for cell in cells):
        pruned = copy.deepcopy(model)
        table = ParameterTable(pruned)
        for cell in (one for one in cells if one.parameter == parameter):
            for name, value in cell.pruned(ParameterTable(model)).items():
                table[name].data.copy_(value)
            verdicts = judge(pruned(images), labels)
            found[cell] = int(verdicts.top1.sum()), int(verdicts.top5.sum())
    return found


def operations(call: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


class Live(TorchDispatchMode):
    """The most bytes that results of operations hold at once."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: dict[str, Any] | None = None
    ) -> Any:
        made = function(*arguments, **(keywords or {}))
        for one in made if isinstance(made, (list, tuple)) else [made]:
            if isinstance(one, Tensor):
                self._take(one.untyped_storage())
        return made

    def _take(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.bytes -= size


def peak(call: Callable[[], object]) -> int:
    with Live() as live:
        call()
    return live.peak


def adaptive(
    model: nn.Module, cells: Sequence[Cell], data: Data, within: float, batch_size: int
) -> tuple[float, float, int]:
    """Seconds, the share of images that the cells needed, and how many images there are."""

    def loader(split: Split, size: int) -> Loader:
        return Loader(split, size, data.mean, data.std)

    everything = from_split(loader, data.test, batch_size=batch_size)
    shown = from_split(loader, data.test, batch_size=batch_size, random_order=0)
    rule = partial(Adaptive, within=within)
    study = Study(model, cells, shown, Swept("element", "magnitude", "", {}), everything=everything, adaptive=rule)
    found: list[Any] = []
    taken = seconds(lambda: found.append(study.run()))
    return taken, found[0]["samples"].sum() / (len(cells) * len(data.test)), len(data.test)


def rounds(
    model: nn.Module, cells: Sequence[Cell], engine: Engine, batches: Iterator[tuple[Tensor, Tensor]]
) -> tuple[float, float, int]:
    """Seconds of the naive and of the exact sweep, and cells on batches whose counts differ."""
    times, different = [0.0, 0.0], 0
    found: list[dict[Cell, tuple[int, int]]] = [{}, {}]

    def exact(images: Tensor, labels: Tensor) -> dict[Cell, tuple[int, int]]:
        measured: dict[Cell, Counts] = engine.measure(images, labels)
        return {cell: (counts.top1, counts.top5) for cell, counts in measured.items()}

    for number, (images, labels) in enumerate(batches):
        for which in (0, 1) if number % 2 else (1, 0):
            start = time.perf_counter()
            found[which] = exact(images, labels) if which else naive(model, cells, images, labels)
            times[which] += time.perf_counter() - start
        different += sum(found[0][cell] != found[1][cell] for cell in cells)
    return times[0], times[1], different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet20_cifar")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", default="fake")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--levels", default="0:0.95:0.05")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th parameter")
    parser.add_argument("--batch-size", type=int, help="of the naive sweep; by default the fastest, tried out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--within", type=float, action="append", help="points; again for more")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    data = load_data(options.data, image_size=options.image_size)
    model = build_model(options.model)
    if options.weights:
        load_weights(model, options.weights)
    with evaluating(model), torch.no_grad():
        rows = measured(model, data, options)
    for what, value in rows.items():
        print(f"{what:<52}{value}")
    if options.out:
        with options.out.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["model", "what", "value"])
            writer.writerows([options.model, what, value] for what, value in rows.items())


def measured(model: nn.Module, data: Data, options: argparse.Namespace) -> dict[str, object]:
    def loader(size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(data.loader("test", batch_size=size, seed=0))

    batch = options.batch_size or fastest_batch(model, next(loader(min(max(BATCHES), options.images)))[0])
    table = ParameterTable(model)
    names = table.of_types(DEFAULT_TYPES)[:: options.every]
    cells = layer_cells(table, parse_levels(options.levels), names=names)
    images = next(loader(batch))[0]
    engines: list[Engine] = []
    prepared = seconds(lambda: engines.append(Engine(model, cells, images)))
    engine, parts = engines[0], -(-options.images // batch)
    slow, fast, different = rounds(model, cells, engine, islice(loader(batch), parts))
    dense = operations(lambda: model(images))
    shared = operations(lambda: engine.measure(images, torch.zeros(len(images), dtype=torch.int64)))
    per_image = 1000 / (len(cells) * parts * batch)
    part, labels = images[: engine.path.batch], torch.zeros(len(images), dtype=torch.int64)
    memory = [peak(lambda: model(part)), peak(lambda: engine.measure(part, labels[: len(part)]))]
    rows: dict[str, object] = {}
    for within in options.within or []:
        taken, share, count = adaptive(model, cells, data, within, max(64, engine.path.batch))
        whole = slow / (parts * batch) * count
        rows[f"within {within:g} points: s, images needed"] = f"{taken:.1f}, {share:.1%} of {count:,}"
        rows[f"naive on {count:,} images (extrapolated) / within {within:g}"] = round(whole / taken, 1)
    return {
        "parameters, levels, images": f"{len(names)}, {len(cells) // len(names)}, {parts * batch}",
        "threads, batch of the naive sweep": f"{options.threads}, {batch}",
        "path of the exact sweep": engine.path,
        "preparing it, s": round(prepared, 2),
        "naive, s (ms a cell and image)": f"{slow:.1f} ({slow * per_image:.3f})",
        "exact, s (ms a cell and image)": f"{fast:.1f} ({fast * per_image:.3f})",
        "naive / exact, preparation left out": round(slow / fast, 2),
        "limit by operations": round(dense * len(cells) / shared, 2),
        "cells on batches whose counts differ": different,
        "live bytes of results, a batch of the path: plain": f"{memory[0]:,}",
        "the same of the exact sweep / plain": round(memory[1] / memory[0], 2),
        **rows,
    }


if __name__ == "__main__":
    main()
