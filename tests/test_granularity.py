from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schedengine.errors import SchedEngineError
from schedengine.granularity import GRANULARITIES, Block, Consecutive, Granularity, Keep, oriented

ARGUMENTS: dict[str, dict[str, Any]] = {
    "block": {"shape": [2, 1]},
    "consecutive": {"length": 2},
    "keep": {"pattern": [1, 2]},
}
MEMBERS = [GRANULARITIES.get(name)(**ARGUMENTS.get(name, {})) for name in GRANULARITIES.names()]
CONV = (4, 3, 2, 2)


def member(name: str) -> Granularity:
    found: Granularity = GRANULARITIES.get(name)(**ARGUMENTS.get(name, {}))
    return found


@pytest.mark.parametrize(
    ("name", "groups", "size"),
    [
        ("element", 48, 1),
        ("row", 4, 12),
        ("column", 3, 16),
        ("kernel", 12, 4),
        ("filter", 4, 12),
        ("channel", 3, 16),
        ("block", 24, 2),
        ("consecutive", 24, 2),
        ("keep", 48, 1),
        ("tensor", 1, 48),
    ],
)
def test_a_convolution_has_so_many_groups_of_such_a_size(name: str, groups: int, size: int) -> None:
    assert (member(name).groups(CONV), member(name).size(CONV)) == (groups, size)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(MEMBERS), st.lists(st.integers(1, 4), min_size=3, max_size=4), st.integers(0, 99))
def test_zeroing_groups_is_multiplying_by_the_expanded_mask(which: Granularity, dims: list[int], seed: int) -> None:
    shape = (2 * dims[0], *dims[1:])
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    keep = torch.rand(which.groups(shape), generator=generator) < 0.5
    mask = which.expand(keep, shape)
    assert mask.shape == weight.shape and mask.dtype == torch.bool
    assert torch.equal(which.group(weight * mask), which.group(weight) * keep[:, None])
    assert int(mask.sum()) == int(keep.sum()) * which.size(shape)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(MEMBERS), st.lists(st.integers(1, 3), min_size=3, max_size=4))
def test_groups_hold_every_weight_once(which: Granularity, dims: list[int]) -> None:
    shape = (2 * dims[0], *dims[1:])
    weight = torch.arange(torch.Size(shape).numel()).reshape(shape)
    assert which.group(weight).flatten().sort().values.tolist() == list(range(weight.numel()))


def test_rows_are_dimension_0_and_columns_dimension_1() -> None:
    weight = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert member("row").group(weight).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert member("column").group(weight).tolist() == [[1, 4], [2, 5], [3, 6]]


def test_a_block_of_4_filters_sits_at_one_channel_and_position() -> None:
    weight = torch.zeros(8, 2, 3, 3)
    weight[4:, 1, 0, 2] = 1
    groups = Block((4, 1)).group(weight)
    assert groups[18 + 9 + 2].tolist() == [1, 1, 1, 1]
    assert int(groups.sum()) == 4


def test_a_block_of_a_matrix_is_a_tile() -> None:
    weight = torch.arange(16).reshape(4, 4)
    assert Block((2, 2)).group(weight).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize("name", ["element", "row", "filter", "kernel", "tensor"])
def test_groups_are_a_view_of_a_convolution(name: str) -> None:
    weight = torch.zeros(CONV)
    member(name).group(weight).fill_(1)
    assert weight.all()


def test_columns_of_a_matrix_are_a_view() -> None:
    weight = torch.zeros(2, 3)
    member("column").group(weight)[1] = 1
    assert weight.tolist() == [[0, 1, 0], [0, 1, 0]]


def test_an_expanded_mask_may_be_written_to() -> None:
    mask = member("filter").expand(torch.tensor([True, False]), (2, 3))
    mask[0, 0] = False
    assert mask.tolist() == [[False, True, True], [False, False, False]]


@pytest.mark.parametrize("shape", [(), (5,)])
@pytest.mark.parametrize("name", ["element", "tensor"])
def test_scalars_and_vectors_can_be_pruned_by_element_or_whole(name: str, shape: tuple[int, ...]) -> None:
    which = member(name)
    which.check(shape)
    assert which.group(torch.ones(shape)).shape == (which.groups(shape), which.size(shape))
    assert which.expand(torch.ones(which.groups(shape), dtype=torch.bool), shape).shape == shape


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("filter", (4,)),
        ("row", (4,)),
        ("channel", (4,)),
        ("column", ()),
        ("kernel", (4, 4)),
        ("block", (3, 4)),
        ("block", (2,)),
        ("consecutive", (3, 3)),
        ("consecutive", (4,)),
        ("keep", (4, 3)),
        ("keep", (4,)),
        ("element", (0, 3)),
    ],
)
def test_a_shape_without_such_groups_is_an_error_that_shows_it(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(SchedEngineError, match=r"got shape \(.*needs"):
        member(name).check(shape)


def test_channels_last_gives_the_same_groups() -> None:
    weight = torch.randn(CONV)
    for which in MEMBERS:
        assert torch.equal(which.group(weight.to(memory_format=torch.channels_last)), which.group(weight))


@pytest.mark.parametrize("shape", [[], [0, 1], [1.5], [True]])
def test_a_block_is_a_list_of_whole_numbers_above_zero(shape: list[Any]) -> None:
    with pytest.raises(ValidationError):
        Block(shape)  # type: ignore[arg-type]


def test_a_run_goes_on_in_the_next_filter() -> None:
    weight = torch.arange(12).reshape(2, 3, 2)  # 2 filters, 3 channels, 2 positions: kernels 0 to 5 in a row
    assert Consecutive(2).group(weight).tolist() == [[0, 2], [1, 3], [4, 6], [5, 7], [8, 10], [9, 11]]


def test_patterns_lie_along_the_channels_at_each_position() -> None:
    weight = torch.arange(16).reshape(2, 4, 2)
    assert Keep((2, 4)).patterns(weight.flatten(), (2, 4, 2)).tolist() == [
        [0, 2, 4, 6],
        [1, 3, 5, 7],
        [8, 10, 12, 14],
        [9, 11, 13, 15],
    ]
    there = Keep((2, 4)).patterns(weight.flatten(), (2, 4, 2))
    assert torch.equal(Keep((2, 4)).flattened(there, (2, 4, 2)), weight.flatten())


def test_a_transposed_convolution_has_its_filters_along_dimension_1() -> None:
    layer = torch.nn.ConvTranspose2d(3, 5, 2)  # stores (in, out, 2, 2)
    weight = tuple(layer.weight.shape)
    assert oriented(member("filter"), layer).groups(weight) == 5
    assert oriented(member("channel"), layer).groups(weight) == 3
    assert oriented(member("kernel"), layer) == member("kernel")


def test_a_grouped_transposed_convolution_has_no_filters() -> None:
    with pytest.raises(SchedEngineError, match="with groups"):
        oriented(member("filter"), torch.nn.ConvTranspose2d(4, 4, 2, groups=2))
