"""One cut: from weights and a target, or a limit, to which groups are kept. Computes; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from schedengine.criteria.base import Criterion
from schedengine.granularity import Granularity
from schedengine.pruners.pruner import Pruner
from schedengine.sparsity.allocation import Allocation, Global
from schedengine.sparsity.selection import Candidate, removal_count, select


@dataclass(frozen=True)
class Layer:
    """One parameter as a cut sees it.

    Args:
        name: normalised.
        weight: the values to rank.
        removed: bool (groups,), gone for good; None if none is.
        key: names this event, for random scores.
    """

    name: str
    weight: Tensor
    removed: Tensor | None
    key: str


@dataclass(frozen=True)
class Verdict:
    """What a cut decided.

    Args:
        keep: by parameter, bool (groups,).
        asked: weights that the rule asks to be gone, by parameter; None where the rule is a limit or one total.
        total: weights that the rule asks to be gone in all; None where the rule is a limit.
        slack: weights by which the total may be missed from below: a group that would exceed it is not taken.
    """

    keep: dict[str, Tensor]
    asked: dict[str, int] | None = None
    total: int | None = None
    slack: int = 0


def candidate(layer: Layer, criterion: Criterion, granularity: Granularity, allocation: Allocation) -> Candidate:
    """A layer's groups for the selection; scores are computed by chunks where criterion and allocation allow."""
    shape = tuple(layer.weight.shape)
    by_chunks = criterion.elementwise and allocation.elementwise and granularity.size(shape) == 1

    def chunk(start: int, stop: int) -> Tensor:
        return criterion.slice_scores(layer.weight.reshape(-1)[start:stop])

    return Candidate(
        layer.name,
        granularity.groups(shape),
        granularity.size(shape),
        chunk if by_chunks else _whole(layer, criterion, granularity, allocation),
        layer.removed,
    )


def _whole(
    layer: Layer, criterion: Criterion, granularity: Granularity, allocation: Allocation
) -> Callable[[int, int], Tensor]:
    """Scores of all groups at once, kept between the passes only where groups are fewer than weights."""
    kept: list[Tensor] = []

    def scores(start: int, stop: int) -> Tensor:
        found = kept[0] if kept else allocation.normalise(criterion.scores(layer.weight, granularity, key=layer.key))
        if not kept and granularity.size(tuple(layer.weight.shape)) > 1:
            kept.append(found)
        return found[start:stop]

    return scores


def by_total(pruner: Pruner, layers: list[Layer], target: float) -> Verdict:
    """One order over all layers, until the total is reached."""
    assert isinstance(pruner.allocation, Allocation)
    candidates = [candidate(layer, pruner.criterion, pruner.granularity, pruner.allocation) for layer in layers]
    weights = sum(one.groups * one.size for one in candidates)
    removable = sum(max(0, one.groups - pruner.min_keep) * one.size for one in candidates)
    total = min(removal_count(target, weights, pruner.rounding), removable)
    kept = select(candidates, total, min_keep=pruner.min_keep, ties=pruner.ties)
    already = sum(int(layer.removed.sum()) * one.size for layer, one in zip(layers, candidates) if layer.removed is not None)
    keep = {layer.name: mask for layer, mask in zip(layers, kept)}
    return Verdict(keep, None, max(total, already), max(one.size for one in candidates) - 1)


def by_level(pruner: Pruner, layers: list[Layer], targets: Mapping[str, float]) -> Verdict:
    """Each layer to its own target."""
    keep, asked = {}, {}
    for layer in layers:
        one = candidate(layer, pruner.criterion, pruner.granularity, Global())
        already = 0 if layer.removed is None else int(layer.removed.sum())
        groups = min(removal_count(targets[layer.name], one.groups, pruner.rounding), max(0, one.groups - pruner.min_keep))
        (keep[layer.name],) = select([one], groups * one.size, min_keep=pruner.min_keep, ties=pruner.ties)
        asked[layer.name] = max(groups, already) * one.size
    return Verdict(keep, asked, sum(asked.values()))


def by_limit(pruner: Pruner, layers: list[Layer], limits: Mapping[str, float]) -> Verdict:
    """Every group whose score is at most its layer's limit goes; ``min_keep`` of the best stay."""
    keep = {}
    for layer in layers:
        scores = pruner.criterion.scores(layer.weight, pruner.granularity, key=layer.key)
        stays = scores > limits[layer.name]
        if layer.removed is not None:
            stays = stays & ~layer.removed
        if pruner.min_keep and int(stays.sum()) < pruner.min_keep:
            best = scores.sort(descending=True, stable=True).indices[: pruner.min_keep]
            stays = torch.zeros_like(stays).index_fill_(0, best, True) | stays
        keep[layer.name] = stays
    return Verdict(keep)
