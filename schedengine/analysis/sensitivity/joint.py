"""Levels for several parameters, tried together on the network itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from schedengine.analysis.sensitivity.cells import MAGNITUDE
from schedengine.analysis.sensitivity.counts import judge
from schedengine.analysis.sensitivity.plain import replaced, unchanged
from schedengine.analysis.sensitivity.sizes import find
from schedengine.errors import DataError
from schedengine.granularity import oriented
from schedengine.pruners.cutting import Layer, by_level
from schedengine.pruners.pruner import Pruner
from schedengine.selection import ParameterTable


def joint_drop(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], pruner: Pruner = MAGNITUDE
) -> Callable[[Mapping[str, float]], float]:
    """What ``suggest`` measures with: points of top-1 that the network loses with levels together, without retraining.

    Args:
        model: images (B, ...) -> scores (B, classes); after each call it is as before, to the last bit.
        batches: (images, labels), gone through once a call, the same each time; those of the sweep, or others.
        pruner: that of the sweep; its target and allocation are replaced by the levels.

    Returns:
        levels by parameter -> points.
    """
    table, dense = ParameterTable(model), list[float]()

    def top1(values: Mapping[str, Tensor]) -> float:
        right, samples = 0, 0
        with unchanged(model), replaced(table, values):
            for images, labels in batches:
                device = table[table.names[0]].device
                right += int(judge(model(images.to(device)), labels.to(device)).top1.sum())
                samples += len(labels)
        if not samples:
            raise DataError("no images to try levels on")
        return 100.0 * right / samples

    def measure(levels: Mapping[str, float]) -> float:
        if not dense:
            dense.append(top1({}))
        return dense[0] - top1(pruned(table, levels, pruner))

    return measure


def pruned(table: ParameterTable, levels: Mapping[str, float], pruner: Pruner = MAGNITUDE) -> dict[str, Tensor]:
    """The parameters as the first cut of a run would leave them; the table's are left alone.

    Args:
        levels: name, wrapped or not -> fraction of its groups that goes, [0, 1).

    Raises:
        ModelError: a name that the model has not.
    """
    asked = {find(table, name): level for name, level in levels.items()}
    # The key of the first cut at the start of a run, as for the cells of a sweep.
    layers = [
        Layer(name, table[name].detach(), oriented(pruner.granularity, table.layer(name)), None, f"{name}/1/0/None")
        for name in asked
    ]
    keep = by_level(pruner, layers, asked).keep
    return {one.name: one.weight * one.granularity.expand(keep[one.name], tuple(one.weight.shape)) for one in layers}
