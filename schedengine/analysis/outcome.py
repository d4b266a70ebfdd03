"""What is left of each parameter at the end of a run, as far as it can be known before it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from types import MappingProxyType

import pandas
import torch

from schedengine.analysis.aims import exact_weights
from schedengine.analysis.events import LastCut
from schedengine.masks import MaskStore
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.updates import Shrink
from schedengine.selection import ParameterTable
from schedengine.training.sparsity import prunable

OPEN = "by the weights"
"""What ``decided`` begins with where no shape decides and no values are given."""


def outcome(
    table: ParameterTable,
    pruners: Mapping[str, BoundPruner],
    last_cuts: Mapping[str, LastCut],
    zeros: Mapping[str, int] | None,
    macs: Mapping[str, int] | None,
    released: Collection[str] = (),
    regularized: Mapping[str, str] = MappingProxyType({}),
) -> pandas.DataFrame:
    """A row a parameter that is pruned or could be.

    Args:
        table: the model's parameters.
        pruners: of the schedule, by name.
        last_cuts: of each pruner that cuts within the run, in order of time.
        zeros: of each parameter, counted after these cuts; None if there are no values to rank.
        macs: multiply-accumulates of one example by parameter; None if not known.
        released: pruners whose masks are taken away.
        regularized: parameters of which a regularizer keeps zero what it has made zero, and its name.

    Returns:
        ``parameter``, ``module``, ``shape``, ``weights``, ``pruners``, ``sparsity``, ``weights_left``, ``macs``,
        ``macs_left``, ``decided`` (by shapes, by the weights, ...); nan where it is open.
    """
    selected = {name for pruner in pruners.values() for name in pruner.names}
    rows = []
    for name in prunable(table, selected):
        weights = table[name].numel()
        own = [pruners[pruner] for pruner in last_cuts if name in pruners[pruner].names]
        gone, decided = (zeros[name], "by the weights given") if zeros and own else _gone(name, table, own, last_cuts)
        if not own and any(name in pruners[pruner].names for pruner in released):
            decided = "masks taken away"
        learning = next((one.name for one in pruners.values() if one.spec.is_learned and name in one.names), None)
        if learning is not None:
            gone, decided = math.nan, f"learned by {learning}"
        if name in regularized:
            gone, decided = math.nan, f"{OPEN}: regularizer {regularized[name]}"
        dense = math.nan if macs is None else macs.get(name, math.nan)
        rows.append(
            {
                "parameter": name,
                "module": type(table.layer(name)).__name__,
                "shape": "x".join(map(str, table[name].shape)),
                "weights": weights,
                "pruners": ", ".join(filter(None, [*(one.name for one in own), learning, regularized.get(name)])),
                "sparsity": gone / weights,
                "weights_left": weights - gone,
                "macs": dense,
                "macs_left": dense * (weights - gone) / weights,
                "decided": decided,
            }
        )
    return pandas.DataFrame(rows)


def _gone(
    name: str, table: ParameterTable, own: list[BoundPruner], last_cuts: Mapping[str, LastCut]
) -> tuple[float, str]:
    """Weights that are gone at the end, and what says so; ``own`` pruners in the order of their last cuts.

    Whatever is 0 before the first cut is not known here.
    """
    if not own:
        return 0, "not pruned"
    if len(own) > 1 and (own[-1].spec.masks == "combine" or isinstance(own[-1].spec.update, Shrink)):
        return math.nan, f"{OPEN}: masks of several pruners"
    if own[-1].spec.lasts == "step":
        return 0, "not pruned: masks last a step"
    if own[-1].spec.draw == "bernoulli":
        return math.nan, "drawn"
    last, shapes = last_cuts[own[-1].name], own[-1].shapes(table)
    aim = own[-1].aim(shapes, last.number, last.count)
    exact = None if aim is None else exact_weights(own[-1], shapes, aim, name)
    if exact is None:
        return math.nan, OPEN
    return exact, "by shapes" if own[-1].spec.ties == "position" else "by shapes, and more where scores are equal"


@torch.no_grad()
def try_last_cuts_(
    masks: MaskStore,
    table: ParameterTable,
    pruners: Mapping[str, BoundPruner],
    last_cuts: Mapping[str, LastCut],
) -> dict[str, int]:
    """Make each pruner's last cut, in order of time, on the weights as they are, and count.

    With weights that stay as they are, cuts before the last make no difference.

    Returns:
        Zeros by parameter.

    Raises:
        SchedEngineError: the weights cannot be ranked: no values (meta device), or nan.
    """

    for name, last in last_cuts.items():
        pruners[name].cut_(masks, table, None, last.at, number=last.number, count=last.count)
    found = {}
    for name in table.names:
        weight, mask = masks.weight(name), masks.mask(name)
        found[name] = int((weight == 0).sum() if mask is None else ((weight == 0) | ~mask).sum())
    return found
