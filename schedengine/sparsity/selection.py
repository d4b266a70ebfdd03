"""Which groups go: exactly as many as asked, in the order of scores, over one parameter or many.

The order is score, then parameter, then position: first removed first. The threshold in it is found without sorting and
without a copy of the model. A float's bit pattern, read as an integer, has the order of the floats; weights are counted
by its high 16 bits, the one bucket that the threshold lies in is counted by the next 16, and so on. Counts of several
ranks may be summed in between. Scores are computed by chunks, once a pass, and never kept.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from schedengine.errors import SchedEngineError

Ties = Literal["position", "all"]
_CHUNK = 1 << 18  # a few temporaries of a megabyte each: they stay in the cache
_DIGITS = 1 << 16
_HALF = _DIGITS >> 1


@dataclass(frozen=True)
class Candidate:
    """The groups of one parameter, as selection sees them.

    Args:
        name: for messages.
        groups: how many, 1 or more.
        size: weights in each.
        scores: the scores of groups [start, stop), (stop - start,) floating; called again in every pass.
        removed: (groups,) bool, True where a group is gone and stays gone: it counts toward the target and goes first.
        spared: (n,) indices of groups that stay whatever their score; ``select`` adds those that ``min_keep`` protects.
    """

    name: str
    groups: int
    size: int
    scores: Callable[[int, int], Tensor]
    removed: Tensor | None = None
    spared: Tensor | None = None


@dataclass(frozen=True)
class Threshold:
    """Where the order is cut.

    Args:
        value: groups with a lower score go; infinite where all do.
        rest: weights that may still go among the groups with exactly this score.
    """

    value: float
    rest: int


def removal_count(target: float, groups: int, rounding: Literal["nearest", "floor"] = "nearest") -> int:
    """How many groups a target sparsity removes.

    Args:
        target: fraction removed, [0, 1).
        groups: how many there are (for a global target: weights).
        rounding: ``nearest``, halves up, blind to the noise of computed targets; ``floor`` as in Distiller:
            ``int(target * groups)``, noise and all.

    Example:
        >>> removal_count(0.29, 100), removal_count(0.29, 100, "floor")
        (29, 28)
    """
    if rounding == "floor":
        return int(target * groups)
    return math.floor(round(target * groups, 6) + 0.5)


@torch.no_grad()
def select(
    candidates: Sequence[Candidate], weights: int, *, min_keep: int = 1, ties: Ties = "position"
) -> list[Tensor]:
    """Remove groups in order until ``weights`` weights would be exceeded; the first that would exceed ends it.

    Args:
        candidates: the parameters that compete; a single one, where each has a level of its own.
        weights: how many go, those already gone included.
        min_keep: so many groups of each candidate stay, the last of its order; the others fill the target instead.
        ties: ``all``: groups that score the same as the last one removed go too.

    Returns:
        The keep mask of each candidate, (groups,) bool on the device of its scores.

    Raises:
        SchedEngineError: a score is not finite.
    """
    # Protected groups are few and rarely reached: they are looked for only where a cut may come near them. What the
    # counts by the high bits show already saves cutting twice; sparing groups that would have stayed changes nothing.
    contest = [replace(c, spared=_alive(c)) if _alive_count(c) <= min_keep else c for c in candidates]
    contest, counts = _spare_low(contest, weights, min_keep)
    keeps = _cut(contest, weights, ties, counts)
    while any(near := [_is_near(c, keep, min_keep) for c, keep in zip(contest, keeps, strict=True)]):
        del keeps
        contest = [replace(c, spared=_last(c, min_keep)) if here else c for c, here in zip(contest, near, strict=True)]
        keeps = _cut(contest, weights, ties)
    return keeps


def _spare_low(candidates: list[Candidate], weights: int, min_keep: int) -> tuple[list[Candidate], Tensor]:
    """Protect those candidates whose best scores lie no higher than the threshold, by the high bits.

    Returns:
        The candidates, and their counts by the high 16 bits.
    """
    dtype = _common_dtype(candidates)
    shift = torch.finfo(dtype).bits - 16
    counts, tops = torch.zeros(_DIGITS, dtype=torch.int64), []
    for candidate in candidates:
        own = _count([candidate], dtype, None, shift)
        counts += own
        tops.append(int(own.nonzero().amax()) if bool(own.any()) else -1)
    rest = weights - sum(_removed_count(c) * c.size for c in candidates)
    contest = list(candidates)
    while min_keep:
        edge = int(torch.searchsorted(counts.cumsum(0), max(0, rest), right=True))
        low = [number for number, top in enumerate(tops) if contest[number].spared is None and top <= edge]
        if not low:
            break
        for number in low:
            before, contest[number] = contest[number], replace(contest[number], spared=_last(contest[number], min_keep))
            counts += _count([contest[number]], dtype, None, shift) - _count([before], dtype, None, shift)
    return contest, counts


@torch.no_grad()
def threshold(
    candidates: Sequence[Candidate],
    weights: int,
    *,
    counts: Tensor | None = None,
    reduce: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> Threshold:
    """Find where ``weights`` weights are used up.

    Args:
        candidates: see ``select``; of sharded parameters, this rank's part.
        weights: see ``select``; over all ranks.
        counts: of this rank, by the high 16 bits, if they are known already.
        reduce: sums int64 counts on the CPU over ranks.

    Raises:
        SchedEngineError: a score is not finite.
    """
    dtype = _common_dtype(candidates)
    gone = torch.tensor(sum(_removed_count(c) * c.size for c in candidates))
    rest = max(0, weights - int(reduce(gone)))
    prefix = None
    for shift in range(torch.finfo(dtype).bits - 16, -1, -16):
        known = counts if prefix is None and counts is not None else _count(candidates, dtype, prefix, shift)
        upto = reduce(known).cumsum(0)
        digit = int(torch.searchsorted(upto, rest, right=True))
        if digit == _DIGITS:
            return Threshold(math.inf, rest)
        rest -= int(upto[digit - 1]) if digit else 0
        prefix = digit - _HALF if prefix is None else (prefix << 16) + digit
    assert prefix is not None
    return Threshold(_float(prefix, dtype), rest)


def _cut(candidates: Sequence[Candidate], weights: int, ties: Ties, counts: Tensor | None = None) -> list[Tensor]:
    dtype, edge = _common_dtype(candidates), threshold(candidates, weights, counts=counts)
    keeps = [_compare(operator.ge, candidate, edge.value, dtype) for candidate in candidates]
    _mark_spared_(keeps, candidates, False)
    if _drop_ties_(keeps, candidates, edge, dtype) and ties == "all":
        keeps = [_compare(operator.gt, candidate, edge.value, dtype) for candidate in candidates]
    _mark_spared_(keeps, candidates, True)
    return keeps


def _compare(operation: Callable[[Any, Any], Any], candidate: Candidate, value: float, dtype: torch.dtype) -> Tensor:
    """Which groups are alive and score above ``value`` (or at it, as the operation says); (groups,) bool."""
    keep = candidate.scores(0, 1).new_empty(candidate.groups, dtype=torch.bool)
    for span, scores in _chunks(candidate, dtype):
        keep[span] = operation(scores, value)
        if candidate.removed is not None:
            keep[span] &= ~candidate.removed[span]
    return keep


def _mark_spared_(keeps: Sequence[Tensor], candidates: Sequence[Candidate], is_kept: bool) -> None:
    for keep, candidate in zip(keeps, candidates, strict=True):
        if candidate.spared is not None:
            keep[candidate.spared] = is_kept


def _drop_ties_(keeps: Sequence[Tensor], candidates: Sequence[Candidate], edge: Threshold, dtype: torch.dtype) -> bool:
    """Use up the rest on kept groups exactly at the edge, by position. Returns whether any went."""
    rest = edge.rest
    if all(rest < candidate.size for candidate in candidates):
        return False
    for candidate, keep in zip(candidates, keeps, strict=True):
        for span, scores in _chunks(candidate, dtype):
            tied = ((scores == edge.value) & keep[span]).nonzero().flatten()
            fitting = tied[: rest // candidate.size]
            keep[span][fitting] = False
            rest -= len(fitting) * candidate.size
            if len(fitting) < len(tied):
                return rest < edge.rest
    return rest < edge.rest


def _is_near(candidate: Candidate, keep: Tensor, min_keep: int) -> bool:
    """Whether a cut took, or ended at, groups that ``min_keep`` protects."""
    return min_keep > 0 and candidate.spared is None and int(keep.count_nonzero()) <= min_keep


def _last(candidate: Candidate, count: int) -> Tensor:
    """Indices of the ``count`` groups alive that come last in the order."""
    keeps = _cut([candidate], (candidate.groups - count) * candidate.size, "position")
    return keeps[0].nonzero().flatten()


def _count(candidates: Sequence[Candidate], dtype: torch.dtype, prefix: int | None, shift: int) -> Tensor:
    """How many weights may go, by the 16 bits at ``shift`` of those keys that begin with ``prefix``; (65536,) int64."""
    counts = torch.zeros(_DIGITS, dtype=torch.int64)
    for candidate in candidates:
        for keys in _contesting_keys(candidate, dtype):
            if prefix is None:
                _check_finite(keys, dtype, candidate.name)
            counts.add_(torch.bincount(_digits(keys, prefix, shift), minlength=_DIGITS).cpu(), alpha=candidate.size)
    if not prefix:  # the digit of key 0, which stands for groups out of the contest
        counts[_HALF if prefix is None else 0] -= sum(_outside_count(c) * c.size for c in candidates)
    return counts


def _contesting_keys(candidate: Candidate, dtype: torch.dtype) -> Iterator[Tensor]:
    """Keys by chunks; those of groups out of the contest are 0, which is cheaper than leaving them out."""
    for span, scores in _chunks(candidate, dtype):
        keys = _keys(scores)
        if candidate.removed is not None:
            keys = keys * ~candidate.removed[span]
        if candidate.spared is not None:
            spared = candidate.spared - span.start
            keys = keys.index_fill(0, spared[(spared >= 0) & (spared < len(keys))], 0)
        yield keys


def _digits(keys: Tensor, prefix: int | None, shift: int) -> Tensor:
    if prefix is None:
        return (keys >> shift).add_(_HALF)
    return (keys[(keys >> (shift + 16)) == prefix] >> shift) & (_DIGITS - 1)


def _keys(scores: Tensor) -> Tensor:
    """Integers in the order of the floats, both zeros 0; may share memory with the scores."""
    kind = _integer(scores.dtype)
    bits = scores.view(kind)
    if int(bits.amin()) >= 0:
        return bits
    sign = bits >> (torch.iinfo(kind).bits - 1)
    keys = bits & torch.iinfo(kind).max
    return keys.bitwise_xor_(sign).sub_(sign)


def _float(key: int, dtype: torch.dtype) -> float:
    """The float that has this key."""
    return math.copysign(torch.tensor(abs(key), dtype=_integer(dtype)).view(dtype).item(), key)


def _check_finite(keys: Tensor, dtype: torch.dtype, name: str) -> None:
    infinity = int(torch.tensor(math.inf, dtype=dtype).view(_integer(dtype)))
    lowest, highest = keys.aminmax()
    if int(highest) >= infinity or int(lowest) <= -infinity:
        raise SchedEngineError(f"{name}: found scores that are not finite; look for nan or inf in the weights")


def _integer(dtype: torch.dtype) -> torch.dtype:
    return torch.int64 if dtype == torch.float64 else torch.int32


def _common_dtype(candidates: Sequence[Candidate]) -> torch.dtype:
    """Double if anyone's scores are, else single: half precision converts without loss."""
    is_double = any(candidate.scores(0, 1).dtype == torch.float64 for candidate in candidates)
    return torch.float64 if is_double else torch.float32


def _chunks(candidate: Candidate, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, candidate.groups, _CHUNK):
        stop = min(start + _CHUNK, candidate.groups)
        yield slice(start, stop), candidate.scores(start, stop).to(dtype)


def _alive(candidate: Candidate) -> Tensor:
    if candidate.removed is None:
        return torch.arange(candidate.groups, device=candidate.scores(0, 1).device)
    return (~candidate.removed).nonzero().flatten()


def _alive_count(candidate: Candidate) -> int:
    return candidate.groups - _removed_count(candidate)


def _removed_count(candidate: Candidate) -> int:
    return 0 if candidate.removed is None else int(candidate.removed.count_nonzero())


def _outside_count(candidate: Candidate) -> int:
    return _removed_count(candidate) + (0 if candidate.spared is None else len(candidate.spared))
