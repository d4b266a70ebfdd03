"""Whether a cut did what its rule asked, and whether it left enough. Looks only; the pruner says it."""

from __future__ import annotations

from collections.abc import Mapping

from schedengine.granularity import Element
from schedengine.pruners.cutting import Layer, Verdict
from schedengine.pruners.pruner import Pruner
from schedengine.sparsity.allocation import Allocation

MANY = 8
"""Groups that a parameter must have had for it to be told when next to none of them are left."""


def misses(spec: Pruner, verdict: Verdict, removed: Mapping[str, int]) -> list[str]:
    """Where the count removed is not the one that the rule asked. With ``ties: all``, more may go.

    Args:
        spec: the pruner's axes.
        verdict: what was asked.
        removed: what is gone, by parameter, in weights (or the layers' units).
    """
    exceeds = spec.ties == "all"
    wrong = []
    for name, asked in (verdict.asked or {}).items():
        if removed[name] != asked and not (exceeds and removed[name] > asked > 0):
            wrong.append(f"{name}: {removed[name]:,} of {asked:,} weights are gone")
    if verdict.asked is None and verdict.total is not None:
        total = sum(removed.values())
        if total < verdict.total - verdict.slack or (total > verdict.total and not exceeds):
            wrong.append(f"{total:,} of {verdict.total:,} weights are gone")
    return wrong


def remnants(spec: Pruner, layers: list[Layer], removed: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The parameters of which one ranking has left next to no groups: the network may hang on them.

    Args:
        spec: the pruner's axes.
        layers: what was ranked.
        removed: groups that are gone, by parameter.

    Returns:
        Of each, the groups that are left and those that it has.
    """
    if not isinstance(spec.allocation, Allocation) or spec.allocation.scope != "global":
        return {}
    if spec.sparsity is None or isinstance(spec.granularity, Element):
        return {}
    found = {layer.name: (layer.counts[0] - removed[layer.name], layer.counts[0]) for layer in layers}
    return {name: (left, of) for name, (left, of) in found.items() if left <= max(1, spec.min_keep) < of / MANY}
