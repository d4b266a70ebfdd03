"""One cut: from weights and a target, or a limit, to which groups are kept. Computes; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from schedengine.criteria.base import NOTHING, Criterion, Facts
from schedengine.granularity import Granularity, Keep
from schedengine.pruners.aim import staged
from schedengine.pruners.pruner import Pruner
from schedengine.pruners.updates import DropGrow
from schedengine.sparsity.allocation import Allocation, Global
from schedengine.sparsity.selection import Candidate, removal_count, select

Goal = float | Mapping[str, float]
"""Fraction removed: of all layers together, or of each."""
Look = Callable[[Mapping[str, Tensor] | None], Mapping[str, Facts] | None]
"""Gathers facts, by parameter, of the network without the weights that masks (bool, of the parameter's shape) remove;
given None, of the network as it is. Gives None where nothing has to be known."""


@dataclass(frozen=True)
class Layer:
    """One parameter as a cut sees it.

    Args:
        name: normalised.
        weight: the values to rank.
        granularity: what a group of it is.
        removed: bool (groups,), gone for good; None if none is.
        key: names this event, for random scores.
        keep: bool (groups,), what the last cut kept; None at the first.
        facts: what the criterion needs beside the values.
        joint: names those layers that lose the same groups; None for one that stands alone.
        unit: what one of its groups counts for; default: its weights. Of a thinned layer, those that it had before; 1
            where groups are counted.
    """

    name: str
    weight: Tensor
    granularity: Granularity
    removed: Tensor | None
    key: str
    keep: Tensor | None = None
    facts: Facts = NOTHING
    joint: str | None = None
    unit: int | None = None

    @property
    def worth(self) -> int:
        """What one of its groups counts for."""
        return self.counts[1] if self.unit is None else self.unit

    def scores(self, criterion: Criterion) -> Tensor:
        """(groups,)."""
        if not criterion.needs:  # one that looks at weights alone may leave the argument out
            return criterion.scores(self.weight, self.granularity, key=self.key)
        return criterion.scores(self.weight, self.granularity, key=self.key, facts=self.facts)

    def scores_left(self, criterion: Criterion) -> Tensor:
        """The same, 0 for what is gone: it must not weigh in what the others are compared with, whatever value is kept
        of it."""
        scores = self.scores(criterion)
        return scores if self.removed is None else scores.masked_fill(self.removed, 0.0)

    @property
    def counts(self) -> tuple[int, int]:
        """Its groups, and the weights in each."""
        shape = tuple(self.weight.shape)
        return self.granularity.groups(shape), self.granularity.size(shape)

    def gone(self, zeros: int) -> int:
        """Groups that are gone before the cut; before the first, those of ``zeros`` weights."""
        return zeros // self.counts[1] if self.removed is None else int(self.removed.count_nonzero())

    def expanded(self, keep: Tensor) -> Tensor:
        """A mask of groups as one of the weight's shape, on its device."""
        return self.granularity.expand(keep, tuple(self.weight.shape)).to(self.weight.device).contiguous()


@dataclass(frozen=True)
class Verdict:
    """What a cut decided.

    Args:
        keep: by parameter, bool (groups,).
        asked: what the rule asks to be gone, by parameter, in weights (or the layers' units); None where the rule is a
            limit or one total.
        total: the same of all parameters; None where the rule is a limit.
        slack: by which the total may be missed from below: a group that would exceed it is not taken.
    """

    keep: dict[str, Tensor]
    asked: dict[str, int] | None = None
    total: int | None = None
    slack: int = 0


class Scores:
    """Scores of whole layers, for what cannot be scored by chunks. The selection goes through layers several times, a
    layer's chunks in a row, so the last layer's are kept, and those of all layers whose groups are few."""

    def __init__(self, criterion: Criterion, allocation: Allocation) -> None:
        self._criterion = criterion
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
        elementwise = self._allocation.elementwise
        scores = layer.scores(self._criterion) if elementwise else layer.scores_left(self._criterion)
        return self._allocation.normalise(scores)


def candidates_of(layers: Sequence[Layer], pruner: Pruner, allocation: Allocation) -> list[Candidate]:
    """The layers' groups for the selection; scores come by chunks where criterion and allocation allow."""
    whole = Scores(pruner.criterion, allocation)
    return [_candidate(layer, pruner, allocation, whole) for layer in layers]


def _candidate(layer: Layer, pruner: Pruner, allocation: Allocation, whole: Scores) -> Candidate:
    groups, size = layer.counts

    def by_chunks(start: int, stop: int) -> Tensor:
        return pruner.criterion.slice_scores(layer.weight.reshape(-1)[start:stop])

    def by_layers(start: int, stop: int) -> Tensor:
        return whole.of(layer)[start:stop]

    # A weight in another layout (channels_last) would be copied as a whole for every chunk.
    is_flat = layer.weight.is_contiguous()
    is_chunked = pruner.criterion.elementwise and allocation.elementwise and size == 1 and is_flat
    return Candidate(layer.name, groups, layer.worth, by_chunks if is_chunked else by_layers, layer.removed)


def in_rounds(pruner: Pruner, layers: list[Layer], goal: Goal, zeros: Mapping[str, int], look: Look) -> Verdict:
    """``pruner.rounds`` selections one after another: what went in one is 0 for the next, and does not come back.

    Args:
        goal: what the last round reaches.
        zeros: of each layer, weights that are gone before the first cut of all.
        look: at the network as the round before has left it.

    Reference:
        Tanaka, Kunin, Yamins, Ganguli (2020), SynFlow, arXiv:2006.05467; de Jorge, Sanyal, Behl, Torr, Rogez, Dokania
        (2021), Progressive Skeletonization, arXiv:2006.09081 (FORCE lets groups come back).
    """
    gone = {layer.name: layer.gone(zeros[layer.name]) for layer in layers} if pruner.rounds > 1 else {}
    for number in range(1, pruner.rounds):
        keep = _towards(pruner, layers, _staged(goal, layers, gone, number, pruner.rounds)).keep
        facts = look({layer.name: layer.expanded(keep[layer.name]) for layer in layers})
        layers = [
            replace(layer, removed=~keep[layer.name], facts=NOTHING if facts is None else facts[layer.name])
            for layer in layers
        ]
    return _towards(pruner, layers, goal)


def _towards(pruner: Pruner, layers: list[Layer], goal: Goal) -> Verdict:
    return by_level(pruner, layers, goal) if isinstance(goal, Mapping) else by_total(pruner, layers, goal)


def _staged(goal: Goal, layers: list[Layer], gone: Mapping[str, int], number: int, rounds: int) -> Goal:
    if isinstance(goal, Mapping):
        shares = {layer.name: gone[layer.name] / layer.counts[0] for layer in layers}
        return {name: staged(goal[name], share, number, rounds) for name, share in shares.items()}
    weights = sum(layer.counts[0] * layer.worth for layer in layers)
    return staged(goal, sum(gone[layer.name] * layer.worth for layer in layers) / weights, number, rounds)


def by_growth(
    pruner: Pruner, update: DropGrow, layers: list[Layer], targets: Mapping[str, float], share: float
) -> Verdict:
    """Each layer at its target still, but of other groups: some of those that stayed go, others come; none where a
    gradient is not finite.

    Args:
        targets: of each layer, fraction removed.
        share: of the window that has passed, in [0, 1].
    """
    new = [layer for layer in layers if layer.keep is None]
    keep = dict(by_level(replace(pruner, criterion=update.first), new, targets).keep) if new else {}
    asked, is_blind = {}, any(update.is_blind(layer.facts) for layer in layers)
    for layer in layers:
        gone = removable_groups(pruner, layer.counts[0], targets[layer.name])
        asked[layer.name] = gone * layer.worth
        if layer.keep is not None:
            keep[layer.name] = layer.keep if is_blind else _regrown(pruner, update, layer, layer.keep, gone, share)
    return Verdict(keep, asked, sum(asked.values()))


def _regrown(pruner: Pruner, update: DropGrow, layer: Layer, keep: Tensor, gone: int, share: float) -> Tensor:
    """The best of the groups that stayed and, among all others, those that growth ranks highest; (groups,) bool."""
    groups = layer.counts[0]
    dropped = removal_count(update.dropped(share), groups - gone)
    (ranked,) = candidates_of([layer], pruner, Global())
    (stays,) = select([replace(ranked, size=1, removed=~keep)], gone + dropped, min_keep=0)
    growth = update.growth(layer.weight, layer.granularity, key=layer.key, facts=layer.facts)
    spared = stays.nonzero().flatten()
    grown = Candidate(layer.name, groups, 1, lambda start, stop: growth[start:stop], spared=spared)
    return select([grown], gone, min_keep=0)[0]


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
    if isinstance(pruner.granularity, Keep):
        return _by_pattern(pruner, layers)
    alone = [layer for layer in layers if layer.joint is None]
    chosen = {one.name: _chosen(pruner, one, targets[one.name]) for one in candidates_of(alone, pruner, Global())}
    for members in _joined(layers):
        chosen |= _together(pruner, members, targets[members[0].name])
    keep = {name: groups for name, (groups, _) in chosen.items()}
    asked = {layer.name: gone * layer.worth for layer in layers if (gone := chosen[layer.name][1]) is not None}
    return Verdict(keep, asked, sum(asked.values())) if asked else Verdict(keep)


def _joined(layers: list[Layer]) -> list[list[Layer]]:
    """Those that lose the same groups, together."""
    found: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.joint is not None:
            found.setdefault(layer.joint, []).append(layer)
    return list(found.values())


def _chosen(pruner: Pruner, one: Candidate, target: float) -> tuple[Tensor, int | None]:
    """The groups of one parameter that stay, and how many the target asks to be gone; None where draws decide."""
    if pruner.draw == "bernoulli":
        draws = one.scores(0, one.groups)
        return _at_least(pruner.min_keep, draws >= target, draws), None
    already = 0 if one.removed is None else int(one.removed.sum())
    groups = removable_groups(pruner, one.groups, target)
    (keep,) = select([one], groups * one.size, min_keep=pruner.min_keep, ties=pruner.ties)
    return keep, max(groups, already)


def _together(pruner: Pruner, layers: list[Layer], target: float) -> dict[str, tuple[Tensor, int | None]]:
    """One choice for all: by the scores of the first of the list, or by the mean of their shares."""
    first = layers[0]
    scores = first.scores(pruner.criterion)
    if pruner.together != "leader":
        all_scores = [layer.scores_left(pruner.criterion) for layer in layers]
        # Shares, so that no layer's scale matters.
        shares = [one / size if bool(size := one.abs().sum()) else one for one in all_scores]
        scores = torch.stack([one.to(scores) for one in shares]).mean(dim=0)
    one = Candidate(first.name, *first.counts, lambda start, stop: scores[start:stop], first.removed)
    keep, gone = _chosen(pruner, one, target)
    return {layer.name: (keep.to(layer.weight.device), gone) for layer in layers}


def _by_pattern(pruner: Pruner, layers: list[Layer]) -> Verdict:
    """N of every M stay: those of the highest score, at equal scores the last, as everywhere."""
    assert isinstance(pruner.granularity, Keep)
    least, most = pruner.granularity.pattern
    keep, asked = {}, {}
    for layer in layers:
        scores, shape = layer.scores(pruner.criterion), tuple(layer.weight.shape)
        if layer.removed is not None:
            scores = scores.masked_fill(layer.removed, -torch.inf)
        ranks = pruner.granularity.patterns(scores, shape).argsort(dim=1, stable=True)
        stays = torch.zeros_like(ranks, dtype=torch.bool).scatter_(1, ranks[:, most - least :], True)
        keep[layer.name] = pruner.granularity.flattened(stays, shape)
        asked[layer.name] = scores.numel() // most * (most - least)
    return Verdict(keep, asked, sum(asked.values()))


def removable_groups(pruner: Pruner, groups: int, level: float) -> int:
    """How many of a parameter's groups a level removes: rounded, and never those that must stay."""
    return min(removal_count(level, groups, pruner.rounding), max(0, groups - pruner.min_keep))


def by_limit(pruner: Pruner, layers: list[Layer], limits: Mapping[str, float]) -> Verdict:
    """Every group whose score is at most its layer's limit goes; ``min_keep`` of the best stay."""
    keep = {}
    for layer in layers:
        scores = layer.scores(pruner.criterion)
        stays = pruner.update.stays(scores, limits[layer.name], layer.keep)
        if layer.removed is not None:
            stays = stays & ~layer.removed
        # What is gone for good comes last: its kept value may be large.
        free = scores if layer.removed is None else scores.masked_fill(layer.removed, -torch.inf)
        keep[layer.name] = _at_least(pruner.min_keep, stays, free)
    return Verdict(keep)


def _at_least(count: int, stays: Tensor, scores: Tensor) -> Tensor:
    """The groups that stay, and of the best as many as must."""
    if not count or int(stays.sum()) >= count:
        return stays
    best = scores.sort(descending=True, stable=True).indices[:count]
    return torch.zeros_like(stays).index_fill_(0, best, True) | stays


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


def reachable(pruner: Pruner, counts: Mapping[str, tuple[int, int]], target: float | Mapping[str, float]) -> Reach:
    """What protected groups leave of a target: one for all weights together, or one for each parameter.

    Args:
        counts: of each parameter, its groups and the weights in each.
        target: fraction removed.
    """
    asked = most = 0
    weights = sum(groups * size for groups, size in counts.values())
    for name, (groups, size) in counts.items():
        if isinstance(target, Mapping):
            asked += removal_count(target[name], groups, pruner.rounding) * size
            most += removable_groups(pruner, groups, target[name]) * size
        else:
            most += max(0, groups - pruner.min_keep) * size
    if not isinstance(target, Mapping):
        asked = removal_count(target, weights, pruner.rounding)
    return Reach(asked / weights, min(asked, most) / weights)
