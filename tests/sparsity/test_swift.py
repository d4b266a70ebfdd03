from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from schedengine.criteria.base import Criterion, Facts
from schedengine.criteria.gradient import Gradient
from schedengine.criteria.magnitude import Magnitude
from schedengine.criteria.random import Random
from schedengine.errors import SchedEngineError
from schedengine.granularity import Element
from schedengine.sparsity import swift
from schedengine.sparsity.selection import Candidate, select
from schedengine.sparsity.swift import Swift

WAITING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "unique", "bincount", "masked_select")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tensors(values: Sequence[Sequence[float]], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.tensor(one, dtype=dtype) for one in values]


def fast(scores: Sequence[Tensor], gone: Sequence[int] | int, min_keep: int) -> list[list[bool]]:
    made = Swift([one.numel() for one in scores], "cpu", by_layer=not isinstance(gone, int))
    stays = [one.flatten().tolist() for one in made.stays(scores, gone, min_keep=min_keep)]
    made.check_()
    return stays


def slow(scores: Sequence[Tensor], gone: int, min_keep: int) -> list[list[bool]]:
    def candidate(flat: Tensor) -> Candidate:
        return Candidate("w", flat.numel(), 1, lambda start, stop: flat[start:stop])

    return [one.tolist() for one in select([candidate(one.flatten()) for one in scores], gone, min_keep=min_keep)]


some = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, -1e-42, 3e38, -3.4e38, 1.0000001])
single = some | st.floats(width=32, allow_nan=False, allow_infinity=False)
double = some | st.sampled_from([1e300, -1e300, 1.7e308, 5e-324, 1.00000000001]) | st.floats(-1e308, 1e308)
half = st.sampled_from([0.0, -0.0, 1.0, 1.0009765625]) | st.floats(width=16, allow_nan=False, allow_infinity=False)


def scores_of(value: st.SearchStrategy[float], dtype: torch.dtype) -> st.SearchStrategy[list[Tensor]]:
    layers = st.lists(st.lists(value, min_size=1, max_size=9), min_size=1, max_size=4)
    return layers.map(lambda found: tensors(found, dtype))


contests = scores_of(single, torch.float32) | scores_of(double, torch.float64) | scores_of(half, torch.float16)


@settings(max_examples=250, deadline=None)
@given(contests, st.integers(0, 40), st.integers(0, 1))
def test_one_order_over_all_is_that_of_select(scores: list[Tensor], gone: int, min_keep: int) -> None:
    assert fast(scores, gone, min_keep) == slow(scores, gone, min_keep)


@settings(max_examples=150, deadline=None)
@given(contests, st.lists(st.integers(0, 10), min_size=4, max_size=4), st.integers(0, 1))
def test_an_order_of_each_layer_is_that_of_select(scores: list[Tensor], gone: list[int], min_keep: int) -> None:
    expected = [slow([one], count, min_keep)[0] for one, count in zip(scores, gone)]
    assert fast(scores, gone[: len(scores)], min_keep) == expected


@settings(max_examples=80, deadline=None)
@given(contests, st.integers(0, 40), st.integers(0, 1), st.booleans())
def test_the_length_of_chunks_does_not_matter(scores: list[Tensor], gone: int, min_keep: int, by_layer: bool) -> None:
    asked = [gone // len(scores)] * len(scores) if by_layer else gone
    whole = fast(scores, asked, min_keep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(swift, "_CHUNK", 3)
        assert fast(scores, asked, min_keep) == whole


def test_the_lowest_scores_go() -> None:
    assert fast(tensors([[0.3, 0.1, 0.9], [0.2, 0.8]]), 3, 0) == [[False, False, True], [False, True]]


def test_equal_scores_go_by_position() -> None:
    assert fast(tensors([[1.0] * 3, [1.0] * 3]), 4, 0) == [[False] * 3, [False, True, True]]


def test_the_last_weight_stays_and_others_fill_the_count() -> None:
    assert fast(tensors([[0.1, 0.2], [1.0, 2.0, 3.0]]), 3, 1) == [[False, True], [False, False, True]]


def test_single_weights_stay_all() -> None:
    assert fast(tensors([[0.0], [5.0], [0.0]]), 3, 1) == [[True]] * 3


def test_all_go_where_none_has_to_stay() -> None:
    assert fast(tensors([[3.0e38, 0.0], [1.0]]), 9, 0) == [[False, False], [False]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
def test_exactly_as_many_go_as_asked_of_many_weights(sparsity: float, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(1)
    scores = [torch.randn(*shape, generator=draw).abs().to(dtype) for shape in ((64, 3, 3, 3), (300, 300), (10,))]
    gone = round(sparsity * sum(one.numel() for one in scores))
    stays = fast(scores, gone, 1)
    assert sum(one.count(False) for one in stays) == gone
    assert stays == slow(scores, gone, 1)


def test_a_weight_in_another_layout_is_read_in_the_order_of_its_shape() -> None:
    scores = torch.arange(24.0).view(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    assert fast([scores], 5, 0) == [[False] * 5 + [True] * 19]


def test_masks_have_the_shapes_of_their_scores() -> None:
    stays = Swift([6, 1], "cpu", by_layer=False).stays([torch.rand(2, 3), torch.rand(())], 2, min_keep=0)
    assert [one.shape for one in stays] == [(2, 3), ()]


def test_a_second_call_writes_into_the_same_memory() -> None:
    made = Swift([4], "cpu", by_layer=False)
    first = made.stays(tensors([[1, 2, 3, 4]]), 2, min_keep=0)[0]
    second = made.stays(tensors([[4, 3, 2, 1]]), 2, min_keep=0)[0]
    assert first.data_ptr() == second.data_ptr()
    assert second.tolist() == [True, True, False, False]


def test_scores_are_not_written_to() -> None:
    scores = tensors([[-1.0, -0.0, 2.0]])
    Swift([3], "cpu", by_layer=False).stays(scores, 1, min_keep=1)
    assert scores[0].tolist() == [-1.0, 0.0, 2.0]
    assert math.copysign(1, scores[0][1].item()) == -1


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("min_keep", [0, 1])
@pytest.mark.parametrize("by_layer", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_score_that_is_not_finite_is_told(value: float, min_keep: int, by_layer: bool, dtype: torch.dtype) -> None:
    made = Swift([2, 1], "cpu", by_layer=by_layer)
    bad = torch.tensor([value], dtype=dtype)
    signed = torch.where(torch.tensor([math.copysign(1, value) < 0]), -bad.abs(), bad.abs())
    made.stays([torch.ones(2, dtype=dtype), signed], [1, 0] if by_layer else 1, min_keep=min_keep)
    made.stays(tensors([[1, 2], [3]], dtype), [1, 0] if by_layer else 1, min_keep=min_keep)
    with pytest.raises(SchedEngineError, match="pruner 'p': found scores that are not finite"):
        made.check_("pruner 'p'")
    made.check_()


def test_the_greatest_finite_scores_are_no_error() -> None:
    for dtype in (torch.float32, torch.float64):
        most = torch.finfo(dtype).max
        assert fast(tensors([[most, -most], [most]], dtype), 1, 1) == [[True, False], [True]]


def test_scores_of_other_sizes_are_a_bug() -> None:
    with pytest.raises(ValueError, match="sizes"):
        Swift([2], "cpu", by_layer=False).stays([torch.ones(3)], 1, min_keep=0)


@pytest.mark.parametrize("gone", [1, [1]])
def test_one_count_does_not_serve_layers_nor_a_list_all(gone: int | list[int]) -> None:
    with pytest.raises(ValueError, match="by_layer"):
        Swift([2], "cpu", by_layer=isinstance(gone, int)).stays([torch.ones(2)], gone, min_keep=0)


def test_more_than_one_weight_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="min_keep: got 2"):
        Swift([3], "cpu", by_layer=False).stays([torch.ones(3)], 1, min_keep=2)


class Operations(TorchDispatchMode):
    """Records what is dispatched, and that nothing goes from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert not any(word in func.name().split("::")[1] for word in WAITING), func.name()
        assert (kwargs or {}).get("device", torch.device("cpu")) == torch.device("cpu")
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def operations(layers: int, by_layer: bool, min_keep: int) -> list[str]:
    scores = [torch.rand(8, 8) for _ in range(layers)]
    made, gone = Swift([64] * layers, "cpu", by_layer=by_layer), [32] * layers if by_layer else 32 * layers
    made.stays(scores, gone, min_keep=min_keep)
    with Operations() as recorded:
        made.stays(scores, gone, min_keep=min_keep)
    return recorded.names


@pytest.mark.parametrize("min_keep", [0, 1])
@pytest.mark.parametrize("by_layer", [False, True])
def test_operations_do_not_depend_on_the_number_of_layers_and_none_waits(by_layer: bool, min_keep: int) -> None:
    few, many = operations(3, by_layer, min_keep), operations(60, by_layer, min_keep)
    assert few == many
    assert len(many) <= 120


@pytest.mark.parametrize("by_layer", [False, True])
def test_everything_stays_on_the_device(by_layer: bool) -> None:
    scores = [torch.rand(4, 5, device="meta"), torch.rand(7, device="meta")]
    stays = Swift([20, 7], "meta", by_layer=by_layer).stays(scores, [9, 3] if by_layer else 12, min_keep=1)
    assert [(one.device.type, one.dtype) for one in stays] == [("meta", torch.bool)] * 2


@pytest.mark.parametrize("by_layer", [False, True])
def test_a_gpu_is_not_waited_for(by_layer: bool) -> None:
    with FakeTensorMode():  # refuses what needs a value, and mixed devices
        scores = [torch.rand(4, 5, device="cuda"), torch.rand(7, device="cuda", dtype=torch.float16)]
        made = Swift([20, 7], "cuda", by_layer=by_layer)
        stays = made.stays(scores, [9, 3] if by_layer else 12, min_keep=1)
        assert {one.device.type for one in stays} == {"cuda"}


@pytest.mark.parametrize("criterion", [Magnitude(), Magnitude(norm="max"), Gradient(), Gradient(sign="signed")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_fused_scores_are_those_of_the_criterion(criterion: Criterion, dtype: torch.dtype) -> None:
    weights = [nn.Parameter(torch.randn(3, 2, dtype=dtype)), nn.Parameter(torch.randn(5, dtype=dtype))]
    gradients = [torch.randn_like(one, requires_grad=False) for one in weights]
    fused = criterion.fused(list(weights), gradients)
    assert fused is not None
    for weight, gradient, scores in zip(weights, gradients, fused):
        facts = Facts(gradient=gradient)
        assert torch.equal(scores.flatten(), criterion.scores(weight, Element(), key="w", facts=facts))


@pytest.mark.parametrize("criterion", [Magnitude(folded=True), Gradient(of="norm"), Random()])
def test_a_criterion_without_a_fused_form_has_none(criterion: Criterion) -> None:
    assert criterion.fused([torch.ones(2)], [torch.ones(2)]) is None


def test_a_product_without_gradients_has_no_fused_form() -> None:
    assert Gradient().fused([torch.ones(2)], None) is None
