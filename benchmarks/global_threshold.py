"""Global magnitude pruning of a ResNet-50 (25.5 million weights): ours, torch.nn.utils.prune, and torch.kthvalue.

Each makes the masks that remove 90 % of all convolution and linear weights; then again from 80 % already removed. Time
is the best of ``--repeats`` on the CPU (a single one of the slow ``global_unstructured``). Extra memory is the peak of
tensor storage allocated on the way, less the masks that are the result; buffers inside a kernel are not seen.
``a_schedules_cut`` is all that happens at a cut of a schedule: ours, and the masks set, counted and applied.

    python benchmarks/global_threshold.py [--repeats 3] [--out table.csv]
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils._python_dispatch import TorchDispatchMode

from schedengine import load_schedule
from schedengine.criteria.magnitude import Magnitude
from schedengine.sparsity.selection import Candidate, removal_count, select

TARGET, BEFORE = 0.9, 0.8
Masks = list[Tensor]


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers."""
    return {name: m.weight.detach() for name, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


def ours(weights: dict[str, Tensor], removed: Masks | None) -> Masks:
    """Exact selection by counting."""
    criterion = Magnitude()

    def candidate(number: int, name: str, flat: Tensor) -> Candidate:
        gone = None if removed is None else removed[number]
        return Candidate(name, len(flat), 1, lambda start, stop: criterion.slice_scores(flat[start:stop]), gone)

    candidates = [candidate(number, name, weight.flatten()) for number, (name, weight) in enumerate(weights.items())]
    return select(candidates, removal_count(TARGET, sum(candidate.groups for candidate in candidates)))


def kthvalue(weights: dict[str, Tensor], removed: Masks | None) -> Masks:
    """One threshold over a copy of all weights; ties go together, and what was removed must be zero."""
    del removed
    magnitudes = torch.cat([weight.flatten() for weight in weights.values()]).abs()
    edge = magnitudes.kthvalue(removal_count(TARGET, len(magnitudes))).values
    return [weight.flatten().abs() > edge for weight in weights.values()]


def global_unstructured(weights: dict[str, Tensor], removed: Masks | None) -> Masks:
    """PyTorch's own, on modules that hold the weights; its masks are float."""
    modules = [nn.Module() for _ in weights]
    for number, (module, weight) in enumerate(zip(modules, weights.values(), strict=True)):
        module.weight = nn.Parameter(weight)
        if removed is not None:
            prune.custom_from_mask(module, "weight", (~removed[number]).view_as(weight))  # type: ignore[no-untyped-call]
    amount = TARGET if removed is None else (TARGET - BEFORE) / (1 - BEFORE)
    prune.global_unstructured([(module, "weight") for module in modules], prune.L1Unstructured, amount=amount)
    return [module.weight_mask.flatten() for module in modules]  # type: ignore[operator]


class LiveStorage(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensor storage that appears while it is active: those live now, and the most at once."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._pointers = {tensor.untyped_storage().data_ptr() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self._enter(tensor.untyped_storage())
        return result

    def _enter(self, storage: torch.UntypedStorage) -> None:
        pointer, size = storage.data_ptr(), storage.nbytes()
        if size and pointer not in self._pointers:
            self._pointers.add(pointer)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._leave, pointer, size)

    def _leave(self, pointer: int, size: int) -> None:
        self._pointers.discard(pointer)
        self.live -= size


def a_schedules_cut(repeats: int) -> dict[str, str | float]:
    """A whole cut of a schedule, from the dense network."""
    document = {
        "version": 2,
        "pruners": {"p": {"sparsity": TARGET}},
        "policies": [{"pruner": "p", "at": "start"}],
    }
    seconds, removed = math.inf, 0
    for _ in range(repeats):
        torch.manual_seed(0)
        scheduler = load_schedule(document).bind(torchvision.models.resnet50(weights=None), epochs=1)
        begin = time.perf_counter()
        scheduler.on_epoch_begin(0)
        seconds = min(seconds, time.perf_counter() - begin)
        removed = scheduler.cuts[0].removed
    return {"method": "a_schedules_cut", "from": 0.0, "seconds": round(seconds, 3), "extra_MB": "", "removed": removed}


Method = Callable[[dict[str, Tensor], Masks | None], Masks]


def measure(method: Method, weights: dict[str, Tensor], removed: Masks | None, repeats: int) -> tuple[float, int, int]:
    """Seconds, extra bytes, and weights removed."""
    seconds = math.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        masks = method(weights, removed)
        seconds = min(seconds, time.perf_counter() - begin)
        gone = sum(len(mask) - int(mask.count_nonzero()) for mask in masks)
        del masks
    with LiveStorage([*weights.values(), *(removed or [])]) as storage:
        results = method(weights, removed)
    return seconds, storage.peak - sum(mask.nbytes for mask in results), gone


def table(repeats: int) -> list[dict[str, str | float]]:
    """All methods, from the dense network and from one that is sparse already."""
    torch.manual_seed(0)
    weights = weights_of(torchvision.models.resnet50(weights=None))
    everything = torch.cat([weight.flatten() for weight in weights.values()]).abs()
    edge = everything.kthvalue(removal_count(BEFORE, len(everything))).values
    del everything
    removed = [weight.flatten().abs() <= edge for weight in weights.values()]
    sparse = {name: weight * (weight.abs() > edge) for name, weight in weights.items()}
    rows: list[dict[str, str | float]] = []
    for start, state, gone in ((0.0, weights, None), (BEFORE, sparse, removed)):
        for method in (ours, kthvalue, global_unstructured):
            seconds, extra, count = measure(method, state, gone, 1 if method is global_unstructured else repeats)
            figures = {"seconds": round(seconds, 3), "extra_MB": round(extra / 1e6, 1), "removed": count}
            rows.append({"method": method.__name__, "from": start, **figures})
    return [*rows, a_schedules_cut(repeats)]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", help="write the table as CSV")
    options = parser.parse_args()
    rows = table(options.repeats)
    for cells in [list[object](rows[0]), *(list[object](row.values()) for row in rows)]:
        sys.stdout.write("".join(f"{cell!s:>20}" for cell in cells) + "\n")
    if options.out:
        with open(options.out, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
