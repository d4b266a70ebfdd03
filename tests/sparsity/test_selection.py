from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from schedengine.errors import SchedEngineError
from schedengine.sparsity import selection
from schedengine.sparsity.selection import Candidate, removal_count, select, threshold


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Thousands of tiny operations: threads that wait for each other would be all of the time on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def candidate(
    values: Sequence[float] | Tensor,
    *,
    size: int = 1,
    removed: Sequence[bool] | None = None,
    dtype: torch.dtype = torch.float32,
    name: str = "w",
) -> Candidate:
    scores = torch.as_tensor(values, dtype=dtype)
    gone = None if removed is None else torch.tensor(removed)
    return Candidate(name, len(scores), size, lambda start, stop: scores[start:stop], gone)


def kept(*candidates: Candidate, weights: int, min_keep: int = 1, ties: selection.Ties = "position") -> list[list[int]]:
    return [keep.int().tolist() for keep in select(candidates, weights, min_keep=min_keep, ties=ties)]


def brute_force(candidates: Sequence[Candidate], weights: int, min_keep: int, ties: str) -> list[list[int]]:
    """The definition: one stable sort, walked in order."""
    rows = [
        (float(c.scores(0, c.groups)[i]), number, i)
        for number, c in enumerate(candidates)
        for i in range(c.groups)
        if c.removed is None or not c.removed[i]
    ]
    keep = [[0 if c.removed is not None and c.removed[i] else 1 for i in range(c.groups)] for c in candidates]
    budget = weights - sum(c.size * (c.groups - sum(mask)) for c, mask in zip(candidates, keep, strict=True))
    order = sorted(rows)
    own = [[row for row in order if row[1] == number] for number in range(len(candidates))]
    protected = {row for mine in own for row in mine[max(0, len(mine) - min_keep) :]}
    last = None
    for row in order:
        if row in protected:
            continue
        budget -= candidates[row[1]].size
        if budget < 0:
            break
        keep[row[1]][row[2]], last = 0, row[0]
    for score, number, i in order:
        if ties == "all" and last is not None and score <= last and (score, number, i) not in protected:
            keep[number][i] = 0
    return keep


@st.composite
def contests(draw: st.DrawFn) -> list[Candidate]:
    some = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, -3e38, 1.0000001])
    value = some | st.floats(width=32, allow_nan=False, allow_infinity=False)
    found = []
    for number in range(draw(st.integers(1, 4))):
        values = draw(st.lists(value, min_size=1, max_size=12))
        removed = draw(st.none() | st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
        dtype = draw(st.sampled_from([torch.float32, torch.float64]))
        found.append(candidate(values, size=draw(st.integers(1, 4)), removed=removed, dtype=dtype, name=str(number)))
    return found


@settings(max_examples=300, deadline=None)
@given(contests(), st.integers(0, 120), st.integers(0, 3), st.sampled_from(["position", "all"]))
def test_select_is_a_stable_sort(contest: list[Candidate], weights: int, min_keep: int, ties: selection.Ties) -> None:
    expected = brute_force(contest, weights, min_keep, ties)
    assert kept(*contest, weights=weights, min_keep=min_keep, ties=ties) == expected


@settings(max_examples=100, deadline=None)
@given(contests(), st.integers(0, 120))
def test_the_length_of_chunks_does_not_matter(contest: list[Candidate], weights: int) -> None:
    whole = kept(*contest, weights=weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "_CHUNK", 3)
        assert kept(*contest, weights=weights) == whole


def test_the_lowest_scores_of_all_parameters_go() -> None:
    assert kept(candidate([0.3, 0.1, 0.9]), candidate([0.2, 0.8]), weights=3) == [[0, 0, 1], [0, 1]]


def test_equal_scores_go_by_position() -> None:
    assert kept(candidate([1.0] * 3), candidate([1.0] * 3), weights=4, min_keep=0) == [[0, 0, 0], [0, 1, 1]]


def test_negative_zero_ties_with_zero() -> None:
    assert kept(candidate([0.0, -0.0, 1.0]), weights=1) == [[0, 1, 1]]


def test_all_ties_go_if_asked() -> None:
    assert kept(candidate([1.0, 2.0, 2.0, 3.0]), weights=2, ties="all") == [[0, 0, 0, 1]]


def test_no_tie_goes_if_the_target_ends_before_it() -> None:
    assert kept(candidate([1.0, 2.0, 2.0, 3.0]), weights=1, ties="all") == [[0, 1, 1, 1]]


def test_nothing_goes_at_zero_weights() -> None:
    assert kept(candidate([0.0, 0.0]), weights=0, ties="all") == [[1, 1]]


def test_no_candidates_give_no_masks() -> None:
    assert select([], 3) == []


def test_the_first_group_that_would_exceed_ends_it() -> None:
    assert kept(candidate([1.0, 4.0], size=2), candidate([2.0, 9.0], size=3), candidate([3.0, 9.0]), weights=4) == [
        [0, 1],
        [1, 1],
        [1, 1],
    ]


def test_removed_groups_stay_removed_and_count() -> None:
    assert kept(candidate([9.0, 1.0, 2.0, 3.0], removed=[True, False, False, False]), weights=2) == [[0, 0, 1, 1]]


def test_a_target_below_what_is_gone_removes_nothing() -> None:
    assert kept(candidate([1.0, 2.0, 3.0], removed=[True, True, False]), weights=1) == [[0, 0, 1]]


def test_the_last_group_stays_and_others_fill_the_target() -> None:
    assert kept(candidate([0.1, 0.2]), candidate([1.0, 2.0, 3.0]), weights=3) == [[0, 1], [0, 0, 1]]


def test_a_single_group_stays() -> None:
    assert kept(candidate([0.0]), candidate([1.0, 2.0]), weights=1) == [[1], [0, 1]]


def test_min_keep_zero_lets_a_parameter_go() -> None:
    assert kept(candidate([0.1, 0.2]), candidate([1.0, 2.0]), weights=2, min_keep=0) == [[0, 0], [1, 1]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_dtype_is_exact(dtype: torch.dtype) -> None:
    values = (torch.randperm(200, generator=torch.Generator().manual_seed(0)) - 100).to(dtype)
    (keep,) = select([candidate(values, dtype=dtype)], 77)
    assert torch.equal(keep, values >= values.sort().values[77])


def test_doubles_that_singles_cannot_tell_apart_are_ordered() -> None:
    assert kept(candidate([1 + 2e-15, 1 + 1e-15, 1.0], dtype=torch.float64), weights=2) == [[1, 0, 0]]


def test_dtypes_compete_in_one_order() -> None:
    half, single = candidate([0.5, 2.0], dtype=torch.bfloat16), candidate([0.4999, 0.5001])
    assert kept(half, single, weights=2, min_keep=0) == [[0, 1], [0, 1]]


def test_a_million_weights_lose_exactly_as_many_as_asked() -> None:
    values = torch.randn(1_000_003, generator=torch.Generator().manual_seed(1)).abs().half().float()
    (keep,) = select([candidate(values)], 900_001)
    assert int(keep.sum()) == 100_002
    assert values[keep].min() >= values[~keep].max()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_names_its_parameter(bad: float) -> None:
    with pytest.raises(SchedEngineError, match="fc.weight"):
        select([candidate([1.0, 2.0]), candidate([1.0, bad], name="fc.weight")], 1)


def test_scores_of_removed_groups_are_not_looked_at() -> None:
    assert kept(candidate([float("nan"), 1.0, 2.0], removed=[True, False, False]), weights=2) == [[0, 0, 1]]


def test_counts_summed_over_ranks_give_the_threshold_of_all() -> None:
    shard = candidate([0.5, 0.1, 0.9, 0.3])
    assert threshold([shard], 5, reduce=lambda counts: 2 * counts) == threshold([shard, shard], 5)


def test_spared_groups_do_not_take_part() -> None:
    spared = replace(candidate([0.1, 0.2, 0.3]), spared=torch.tensor([0]))
    assert kept(spared, weights=1) == [[1, 0, 1]]


@pytest.mark.parametrize(
    ("target", "groups", "nearest", "floor"),
    [(0.5, 3, 2, 1), (0.29, 100, 29, 28), (0.145, 100, 15, 14), (0.1, 16, 2, 1), (0.0, 7, 0, 0), (0.9, 1, 1, 0)],
)
def test_targets_round_half_up_or_down(target: float, groups: int, nearest: int, floor: int) -> None:
    assert removal_count(target, groups) == nearest
    assert removal_count(target, groups, "floor") == floor
