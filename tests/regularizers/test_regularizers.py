from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import sgd, small_model, train
from torch import nn

from schedengine import PruningScheduler, load_schedule
from schedengine.errors import SchedEngineError
from schedengine.granularity import Channel, Row, Whole
from schedengine.regularizers.penalties import L1, L2, GroupLasso, GroupVariance


def bound(
    model: nn.Module, fields: dict[str, Any], policy: dict[str, Any] | None = None, epochs: int = 2
) -> PruningScheduler:
    document = {
        "version": 2,
        "regularizers": {"r": fields},
        "policies": [{"regularizer": "r", **(policy or {"during": "run"})}],
    }
    scheduler = load_schedule(document).bind(model, epochs=epochs)
    scheduler.on_epoch_begin(0)
    return scheduler


def added(scheduler: PruningScheduler, epoch: int = 0, step: int = 0, steps: int = 2) -> torch.Tensor:
    return scheduler.before_backward_pass(epoch, step, steps, torch.zeros(()))


def linear(values: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(values[0]), len(values))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(values))
    return layer


def test_l1_is_the_sum_of_absolute_values() -> None:
    scheduler = bound(linear([[3.0, -4.0]]), {"penalty": "l1", "strength": 0.5})
    assert float(added(scheduler).detach()) == pytest.approx(3.5)


def test_the_gradient_of_l2_is_that_of_weight_decay() -> None:
    model = linear([[3.0, -4.0]])
    added(bound(model, {"penalty": "l2", "strength": 0.5})).backward()
    assert model.weight.grad is not None and model.weight.grad.tolist() == [[1.5, -2.0]]
    assert model.bias.grad is None


@pytest.mark.parametrize("granularity, expected", [("row", 5.0 + 1.0), ("column", 10**0.5 + 4.0), ("tensor", 26**0.5)])
def test_group_lasso_is_the_sum_of_group_norms(granularity: str, expected: float) -> None:
    """Rows (3, 4) and (1, 0)."""
    fields = {"penalty": "group_lasso", "granularity": granularity, "strength": 1.0}
    assert float(added(bound(linear([[3.0, 4.0], [1.0, 0.0]]), fields)).detach()) == pytest.approx(expected)


def test_a_zero_group_has_a_zero_gradient() -> None:
    model = linear([[0.0, 0.0]])
    added(bound(model, {"penalty": "group_lasso", "granularity": "row", "strength": 1.0})).backward()
    assert model.weight.grad is not None and model.weight.grad.tolist() == [[0.0, 0.0]]


def test_group_variance_is_one_over_the_unbiased_variance_of_the_group_norms() -> None:
    """Rows (3, 4) and (1, 0): norms 5 and 1, variance 8."""
    fields = {"penalty": "group_variance", "granularity": "row", "strength": 0.5}
    assert float(added(bound(linear([[3.0, 4.0], [1.0, 0.0]]), fields)).detach()) == pytest.approx(0.5 / 8)


def test_the_gradient_of_group_variance_pulls_norms_apart() -> None:
    """1 / v with v = (n1 - n2)^2 / 2: d/dn1 = -(n1 - n2) / v^2 = -4 / 64, along (3, 4) / 5."""
    model = linear([[3.0, 4.0], [1.0, 0.0]])
    added(bound(model, {"penalty": "group_variance", "granularity": "row", "strength": 1.0})).backward()
    assert model.weight.grad is not None
    assert model.weight.grad.flatten().tolist() == pytest.approx([-0.0375, -0.05, 0.0625, 0.0])


@pytest.mark.parametrize("values", [[[0.0, 0.0], [0.0, 0.0]], [[3.0, 4.0], [5.0, 0.0]]])
def test_groups_of_one_norm_cost_nothing_and_have_no_gradient(values: list[list[float]]) -> None:
    model = linear(values)
    cost = added(bound(model, {"penalty": "group_variance", "granularity": "row", "strength": 1.0}))
    cost.backward()
    assert model.weight.grad is not None and float(cost.detach()) == 0.0 and not model.weight.grad.any()


def test_group_variance_takes_any_granularity() -> None:
    """Columns of norms 5, 1 and 0: mean 2, variance (9 + 1 + 4) / 2 = 7."""
    weight = torch.tensor([[3.0, 1.0, 0.0], [4.0, 0.0, 0.0]])
    assert float(GroupVariance().costs([weight], Channel())[0]) == pytest.approx(1 / 7)


@pytest.mark.parametrize("granularity, shape", [(Whole(), (4, 4)), (Row(), (1, 9))])
def test_one_group_has_no_variance(granularity: Whole | Row, shape: tuple[int, int]) -> None:
    GroupVariance().check((2, 2), Row())
    GroupLasso().check(shape, granularity)
    with pytest.raises(SchedEngineError, match="is one group of granularity .* needs two or more"):
        GroupVariance().check(shape, granularity)


def test_half_precision_norms_have_the_variance_of_single_precision() -> None:
    weight = torch.tensor([[1.0], [1.0 + 2**-7]])
    half = GroupVariance().costs([weight.to(torch.bfloat16)], Row())[0]
    assert float(half) == pytest.approx(2.0**15, rel=1e-5)


def test_an_input_channel_of_a_transposed_convolution_is_its_dimension_0() -> None:
    """Weight (in, out, 1, 1) of rows (3, 4) and (1, 0): the norms of the input channels are 5 and 1."""
    model = nn.ConvTranspose2d(2, 2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, 4.0], [1.0, 0.0]]).reshape(2, 2, 1, 1))
    fields = {"penalty": "group_lasso", "granularity": "channel", "strength": 1.0}
    assert float(added(bound(model, fields)).detach()) == pytest.approx(6.0)


def test_strength_by_name() -> None:
    model = small_model()
    scheduler = bound(model, {"penalty": "l1", "strength": {"0.*": 1.0, "5.weight": 0.0}})
    assert float(added(scheduler).detach()) == pytest.approx(float(model[0].weight.detach().abs().sum()), rel=1e-5)  # type: ignore[arg-type, operator, union-attr]


def test_strength_can_rise_over_the_window() -> None:
    scheduler = bound(linear([[1.0]]), {"penalty": "l1", "strength": {"ramp": "linear", "to": 1.0}})
    values = [float(added(scheduler, epoch, step).detach()) for epoch in range(2) for step in range(2)]
    assert values == pytest.approx([0.0, 0.25, 0.5, 0.75])


def test_a_penalty_ends_with_its_window() -> None:
    scheduler = bound(linear([[1.0]]), {"penalty": "l1", "strength": 1.0}, {"during": "run", "until": 1})
    assert [float(added(scheduler, epoch).detach()) for epoch in range(2)] == [1.0, 0.0]


def test_only_the_active_epochs_of_a_frequency_count() -> None:
    scheduler = bound(linear([[1.0]]), {"penalty": "l1", "strength": 1.0}, {"during": "run", "every": 2}, epochs=4)
    assert [float(added(scheduler, epoch).detach()) for epoch in range(4)] == [1.0, 0.0, 1.0, 0.0]


def test_group_lasso_shrinks_filters_in_training() -> None:
    model = small_model()
    optimizer = sgd(model, lr=0.05, momentum=0.0)
    document = {
        "version": 2,
        "regularizers": {
            "r": {"penalty": "group_lasso", "granularity": "filter", "strength": 1.0, "parameters": "0.weight"}
        },
        "policies": [{"regularizer": "r", "during": "run"}],
    }
    before = float(model[0].weight.detach().flatten(1).norm(dim=1).sum())  # type: ignore[operator, union-attr]
    train(load_schedule(document).bind(model, optimizer, epochs=10), model, optimizer)
    after = float(model[0].weight.detach().flatten(1).norm(dim=1).sum())  # type: ignore[operator, union-attr]
    assert after < 0.5 * before


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("penalty", "cost"), [(L1(), 2.0**18), (L2(), 2.0**17), (GroupLasso(), 2.0**17)])
def test_penalties_of_half_precision_weights_are_added_up_in_single(
    dtype: torch.dtype, penalty: Any, cost: float
) -> None:
    """2**16 rows of four ones: more than the largest number that a half holds, 65,504."""
    weight = torch.ones(2**16, 4, dtype=dtype, requires_grad=True)
    (found,) = penalty.costs([weight], Row())
    assert float(found.detach()) == cost
