"""One cut: from weights and a target, or a limit, to which groups are kept. Computes; changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


class Scores:
    """Scores of whole layers, for what cannot be scored by chunks. The selection goes through layers several times, a
    layer's chunks in a row, so the last layer's are kept, and those of all layers whose groups are few."""

    def __init__(self, criterion: Criterion, granularity: Granularity, allocation: Allocation) -> None:
        self._criterion = criterion
        self._granularity = granularity
        self._allocation = allocation
        self._last: tuple[str, Tensor] | None = None
        self._kept: dict[str, Tensor] = {}

    def of(self, layer: Layer) -> Tensor:
        """(groups,), normalised."""
        if layer.name in self._kept:
            return self._kept[layer.name]
        if self._last is None or self._last[0] != layer.name:
            self._last = None
            self._last = (layer.name, self._computed(layer))
        scores = self._last[1]
        if scores.numel() * 4 <= layer.weight.numel():
            self._kept[layer.name] = scores
        return scores

    def _computed(self, layer: Layer) -> Tensor:
        scores = self._criterion.scores(layer.weight, self._granularity, key=layer.key)
        if layer.removed is not None and not self._allocation.elementwise:
            # What is gone must not weigh in what the others are compared with, whatever value is kept of it.
            scores = scores.masked_fill(layer.removed, 0.0)
        return self._allocation.normalise(scores)


def candidates_of(layers: Sequence[Layer], pruner: Pruner, allocation: Allocation) -> list[Candidate]:
    """The layers' groups for the selection; scores come by chunks where criterion and allocation allow."""
    whole = Scores(pruner.criterion, pruner.granularity, allocation)
    return [_candidate(layer, pruner, allocation, whole) for layer in layers]


def _candidate(layer: Layer, pruner: Pruner, allocation: Allocation, whole: Scores) -> Candidate:
    shape = tuple(layer.weight.shape)
    groups, size = pruner.granularity.groups(shape), pruner.granularity.size(shape)

    def by_chunks(start: int, stop: int) -> Tensor:
        return pruner.criterion.slice_scores(layer.weight.reshape(-1)[start:stop])

    def by_layers(start: int, stop: int) -> Tensor:
        return whole.of(layer)[start:stop]

    # A weight in another layout (channels_last) would be copied as a whole for every chunk.
    is_flat = layer.weight.is_contiguous()
    is_chunked = pruner.criterion.elementwise and allocation.elementwise and size == 1 and is_flat
    return Candidate(layer.name, groups, size, by_chunks if is_chunked else by_layers, layer.removed)


def by_total(pruner: Pruner, layers: list[Layer], target: float) -> Verdict:
    """One order over all layers, until the total is reached."""
    assert isinstance(pruner.allocation, Allocation)
    candidates = candidates_of(layers, pruner, pruner.allocation)
    weights = sum(one.groups * one.size for one in candidates)
    removable = sum(max(0, one.groups - pruner.min_keep) * one.size for one in candidates)
    total = min(removal_count(target, weights, pruner.rounding), removable)
    kept = select(candidates, total, min_keep=pruner.min_keep, ties=pruner.ties)
    already = sum(int(one.removed.sum()) * one.size for one in candidates if one.removed is not None)
    keep = {layer.name: mask for layer, mask in zip(layers, kept)}
    return Verdict(keep, None, max(total, already), max(one.size for one in candidates) - 1)


def by_level(pruner: Pruner, layers: list[Layer], targets: Mapping[str, float]) -> Verdict:
    """Each layer to its own target."""
    keep, asked = {}, {}
    for one in candidates_of(layers, pruner, Global()):
        already = 0 if one.removed is None else int(one.removed.sum())
        groups = removable_groups(pruner, one.groups, targets[one.name])
        (keep[one.name],) = select([one], groups * one.size, min_keep=pruner.min_keep, ties=pruner.ties)
        asked[one.name] = max(groups, already) * one.size
    return Verdict(keep, asked, sum(asked.values()))


def removable_groups(pruner: Pruner, groups: int, level: float) -> int:
    """How many of a parameter's groups a level removes: rounded, and never those that must stay."""
    return min(removal_count(level, groups, pruner.rounding), max(0, groups - pruner.min_keep))


def by_limit(pruner: Pruner, layers: list[Layer], limits: Mapping[str, float]) -> Verdict:
    """Every group whose score is at most its layer's limit goes; ``min_keep`` of the best stay."""
    keep = {}
    for layer in layers:
        scores = pruner.criterion.scores(layer.weight, pruner.granularity, key=layer.key)
        stays = scores > limits[layer.name]
        if layer.removed is not None:
            stays = stays & ~layer.removed
        if pruner.min_keep and int(stays.sum()) < pruner.min_keep:
            # What is gone for good comes last: its kept value may be large.
            free = scores if layer.removed is None else scores.masked_fill(layer.removed, -torch.inf)
            best = free.sort(descending=True, stable=True).indices[: pruner.min_keep]
            stays = torch.zeros_like(stays).index_fill_(0, best, True) | stays
        keep[layer.name] = stays
    return Verdict(keep)


@dataclass(frozen=True)
class Reach:
    """How far a target can be met.

    Args:
        asked: fraction of the weights that it asks to be gone.
        most: fraction that can go.
    """

    asked: float
    most: float

    @property
    def shortfall(self) -> float:
        """Fraction of the weights by which the target must be missed."""
        return max(0.0, self.asked - self.most)


def reachable(pruner: Pruner, shapes: Mapping[str, tuple[int, ...]], target: float | Mapping[str, float]) -> Reach:
    """What protected groups leave of a target: one for all weights together, or one for each parameter."""
    asked = most = 0
    weights = sum(math.prod(shape) for shape in shapes.values())
    for name, shape in shapes.items():
        groups, size = pruner.granularity.groups(shape), pruner.granularity.size(shape)
        if isinstance(target, Mapping):
            asked += removal_count(target[name], groups, pruner.rounding) * size
            most += removable_groups(pruner, groups, target[name]) * size
        else:
            most += max(0, groups - pruner.min_keep) * size
    if not isinstance(target, Mapping):
        asked = removal_count(target, weights, pruner.rounding)
    return Reach(asked / weights, min(asked, most) / weights)
