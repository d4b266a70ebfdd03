from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from schedengine import dump, load_schedule
from schedengine.errors import ScheduleError
from schedengine.granularity import Channel, Column, Element, Filter, Granularity, Kernel, Row, Whole
from schedengine.masks import Applied, MaskStore
from schedengine.regularizers import PENALTIES, THRESHOLDS
from schedengine.regularizers.bound import BoundRegularizer
from schedengine.regularizers.penalties import L1, GroupLasso
from schedengine.regularizers.regularizer import Regularizer
from schedengine.regularizers.strengths import Constant, Linear
from schedengine.regularizers.thresholds import Max, MeanAbs, Threshold
from schedengine.selection import ParameterTable

COUNTING = torch.arange(1.0, 13.0).reshape(4, 3)


class Layer(nn.Module):
    """One weight."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())


def bound(granularity: Granularity, threshold: Threshold, strength: float = 0.0) -> BoundRegularizer:
    spec = Regularizer(GroupLasso(), Constant(strength), granularity=granularity, threshold=threshold)
    return BoundRegularizer("r", spec, ["weight"], None)


def after(weight: Tensor, granularity: Granularity, threshold: Threshold, strength: float = 0.0) -> Tensor:
    model = Layer(weight)
    table = ParameterTable(model)
    bound(granularity, threshold, strength).threshold_(table, MaskStore(table), 0.0)
    return model.weight.detach()


def stays(weight: Tensor, granularity: Granularity, threshold: Threshold) -> list[int]:
    table = ParameterTable(Layer(weight))
    return [int(one) for one in bound(granularity, threshold).threshold_(table, MaskStore(table), 0.0)[0]]


def channels(*sizes: float) -> Tensor:
    """A weight of two filters of 3x3 with one value for each channel; signs alternate between filters."""
    return torch.tensor(sizes).reshape(1, -1, 1, 1) * torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, 3, 3, 3)


def test_rows_go_by_their_largest_weight() -> None:
    assert stays(COUNTING, Row(), Max(7.0)) == [0, 0, 1, 1]


def test_columns_go_by_their_largest_weight() -> None:
    assert stays(COUNTING, Column(), Max(11.0)) == [0, 0, 1]


def test_channels_go_by_the_mean_of_their_sizes() -> None:
    assert stays(channels(1.0, 0.8, 0.5), Channel(), MeanAbs(0.7)) == [1, 1, 0]


def test_kernels_go_one_by_one() -> None:
    weight = channels(1.0, 0.8, 0.5)
    weight[0, 0] /= 10
    assert stays(weight, Kernel(), MeanAbs(0.7)) == [0, 1, 0, 1, 1, 0]


def test_filters_go_whole() -> None:
    weight = channels(1.0, 0.8, 0.5)
    weight[1] /= 10
    assert after(weight, Filter(), Max(0.2)).flatten(1).any(dim=1).tolist() == [True, False]


@pytest.mark.parametrize("limit, expected", [(6.4, True), (6.5, False)])
def test_a_whole_tensor_goes_by_its_mean(limit: float, expected: bool) -> None:
    """1 to 12 have a mean of 6.5."""
    assert bool(after(COUNTING, Whole(), MeanAbs(limit)).any()) is expected


def test_a_score_at_its_limit_goes() -> None:
    assert after(torch.tensor([0.25, -0.5, 0.75]), Element(), MeanAbs(), strength=0.5).tolist() == [0.0, 0.0, 0.75]


@pytest.mark.parametrize("granularity", [Row(), Column()])
def test_the_mean_of_a_row_or_column_is_over_its_own_weights(granularity: Granularity) -> None:
    weight = torch.full((2, 4), 3.0)
    assert after(weight, granularity, MeanAbs(2.99)).all()
    assert not after(weight, granularity, MeanAbs(3.0)).any()


@pytest.mark.parametrize("threshold", [MeanAbs(), Max()])
def test_for_single_weights_both_words_are_the_size_of_the_weight(threshold: Threshold) -> None:
    weight = torch.tensor([[-0.3, 0.1], [0.2, -0.05]])
    table = ParameterTable(Layer(weight))
    spec = Regularizer(L1(), Constant(0.1), threshold=threshold)
    BoundRegularizer("r", spec, ["weight"], None).threshold_(table, MaskStore(table), 0.0)
    assert (table["weight"] != 0).tolist() == [[True, False], [True, False]]


def test_the_limit_is_the_strength_of_the_moment() -> None:
    rising = Regularizer(L1(), Linear(to=4.0), threshold=Max())
    assert BoundRegularizer("r", rising, ["a", "b"], None).limits(0.25) == [1.0, 1.0]


def test_the_limit_is_the_strength_of_the_parameter() -> None:
    spec = Regularizer(L1(), {"*": 0.5, "b": 0.25}, threshold=Max())
    assert BoundRegularizer("r", spec, ["a", "b"], {"a": 0.5, "b": 0.25}).limits(0.0) == [0.5, 0.25]


def test_a_limit_of_its_own_is_not_the_strength() -> None:
    assert bound(Row(), Max(2.0), strength=0.5).limits(0.0) == [2.0]


def test_half_precision_weights_are_summed_in_single_precision() -> None:
    """4096 * 2**-9: in half precision the sum of 2**-9 stops at 1."""
    weight = torch.full((1, 4096), 2.0**-9, dtype=torch.bfloat16)
    assert after(weight, Row(), MeanAbs(2.0**-9 * 0.99)).all()
    assert not after(weight, Row(), MeanAbs(2.0**-9)).any()


def test_a_weight_that_is_not_a_number_is_not_hidden() -> None:
    assert after(torch.tensor([[float("nan"), 1.0]]), Row(), MeanAbs(5.0)).isnan().any()


@pytest.mark.parametrize("mode", ["hidden", "dense"])
def test_kept_values_are_what_is_scored_and_set_to_0(mode: Any) -> None:
    """0.9 is pruned and stays kept; 0.05 is pruned and small, 0.1 is shown and small: both are 0 from here."""
    table = ParameterTable(Layer(torch.tensor([0.9, 0.05, 0.1, 0.7])))
    masks = MaskStore(table)
    masks.set_("p", "weight", torch.tensor([False, False, True, True]), Applied(mode))
    masks.apply_()
    bound(Element(), MeanAbs(0.2)).threshold_(table, masks, 0.0)
    assert masks.weight("weight").tolist() == pytest.approx([0.9, 0.0, 0.0, 0.7])
    assert table["weight"].tolist() == pytest.approx([0.0, 0.0, 0.0, 0.7])


@pytest.mark.parametrize("mode", ["zero", "hidden", "dense", "forward"])
def test_the_mask_of_a_pruner_is_left_alone(mode: Any) -> None:
    table = ParameterTable(Layer(torch.tensor([[2.0, 2.0], [0.3, 0.1]])))
    masks = MaskStore(table)
    masks.set_("p", "weight", torch.tensor([[False, True], [True, True]]), Applied(mode))
    masks.apply_()
    bound(Row(), MeanAbs(0.2)).threshold_(table, masks, 0.0)
    assert masks.in_force("weight").tolist() == [[False, True], [True, True]]
    assert table["weight"].tolist() == [[0.0, 2.0], [0.0, 0.0]]
    assert masks.violations() == {}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("granularity", [Element(), Filter(), Channel(), Kernel(), Whole()])
def test_every_granularity_serves_every_layout(granularity: Granularity, layout: torch.memory_format) -> None:
    weight = torch.randn(4, 6, 3, 3).contiguous(memory_format=layout)
    limit = float(granularity.group(weight.abs()).mean(dim=1).quantile(0.5))
    expected = weight * granularity.expand(granularity.group(weight.abs()).mean(dim=1) > limit, (4, 6, 3, 3))
    assert after(weight, granularity, MeanAbs(limit + 1e-6)).count_nonzero() == expected.count_nonzero()


@pytest.mark.parametrize("penalty", PENALTIES.names())
@pytest.mark.parametrize("word", THRESHOLDS.names())
@pytest.mark.parametrize("limit", [None, 0.01])
def test_every_threshold_reads_back_from_its_dump(penalty: str, word: str, limit: float | None) -> None:
    fields = {"penalty": penalty, "granularity": "filter", "strength": 0.1}
    fields["threshold"] = word if limit is None else {word: limit}
    schedule = load_schedule(
        {"version": 2, "regularizers": {"r": fields}, "policies": [{"regularizer": "r", "during": "run"}]}
    )
    assert schedule.regularizers["r"].threshold == THRESHOLDS.get(word)(limit)
    assert load_schedule(dump(schedule)) == schedule


def test_an_unknown_word_gets_the_nearest() -> None:
    fields = {"penalty": "l1", "strength": 0.1, "threshold": "mean"}
    with pytest.raises(ScheduleError, match="mean_abs"):
        load_schedule({"version": 2, "regularizers": {"r": fields}, "policies": []})


class Operations(TorchDispatchMode):
    """Records the name of every operation that is dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


SYNCHRONISING = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "_to_copy", "unique", "masked_select")


@pytest.mark.parametrize("threshold", [MeanAbs(), Max(0.1)])
@pytest.mark.parametrize("granularity", [Element(), Row(), Column(), Whole()])
@pytest.mark.parametrize("mode", ["zero", "hidden"])
def test_a_threshold_never_waits_for_the_device(threshold: Threshold, granularity: Granularity, mode: Any) -> None:
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(5)))
    table = ParameterTable(model)
    masks = MaskStore(table)
    masks.set_("p", "1.weight", torch.ones(8, 8, dtype=torch.bool), Applied(mode))
    spec = Regularizer(GroupLasso(), Constant(0.1), granularity=granularity, threshold=threshold)
    regularizer = BoundRegularizer("r", spec, [f"{number}.weight" for number in range(5)], None)
    with Operations() as operations:
        regularizer.threshold_(table, masks, 0.0)
    assert not [name for name in operations.names if any(word in name for word in SYNCHRONISING)]
    assert operations.names.count("aten::_foreach_mul_.List") == 2
