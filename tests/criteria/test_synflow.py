from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from loops import one_pruner
from torch import Tensor, nn

from schedengine.criteria.base import Facts
from schedengine.criteria.network import Network
from schedengine.criteria.synflow import Synflow
from schedengine.errors import EffectError, SchedEngineError
from schedengine.granularity import Filter, Row
from schedengine.selection import ParameterTable


def flow(model: nn.Module, *shape: int, keep: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    table = ParameterTable(model)
    names = [name for name in table.names if table[name].dim() > 1]
    network = Network(model, table, names, keep=keep, example_inputs=torch.zeros(3, *shape))
    return Synflow().measure(network)


def two_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    model[0].weight.data.copy_(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))  # type: ignore[union-attr, operator]
    model[1].weight.data.copy_(torch.tensor([[5.0, -6.0]]))  # type: ignore[union-attr, operator]
    return model


def test_an_edge_scores_the_products_of_all_paths_through_it() -> None:
    found = flow(two_layers(), 2)
    assert found["0.weight"].tolist() == [[5, 10], [18, 24]]
    assert found["1.weight"].tolist() == [[15, 42]]


def test_what_went_carries_nothing() -> None:
    found = flow(two_layers(), 2, keep={"0.weight": torch.tensor([[True, False], [False, False]])})
    assert found["0.weight"].tolist() == [[5, 0], [0, 0]]
    assert found["1.weight"].tolist() == [[5, 0]]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Identity])
def test_every_layer_of_a_network_without_biases_carries_all_of_the_flow(activation: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    convs = [nn.Conv2d(2, 4, 3, bias=False), activation(), nn.Conv2d(4, 3, 3, bias=False), activation()]
    model = nn.Sequential(*convs, nn.Flatten(), nn.Linear(12, 5, bias=False))
    found = {name: float(one.sum()) for name, one in flow(model, 2, 6, 6).items()}
    total = next(iter(found.values()))
    assert total > 0 and all(one == pytest.approx(total, rel=1e-12) for one in found.values())


def test_a_deep_network_does_not_leave_the_range() -> None:
    layers = [nn.Linear(64, 64, bias=False) for _ in range(60)]
    for layer in layers:
        nn.init.constant_(layer.weight, 2.0)
    found = flow(nn.Sequential(*layers), 64)
    assert all(bool(one.isfinite().all()) for one in found.values())  # 128**60 is beyond single precision
    assert float(found["0.weight"].sum()) == pytest.approx(64 * 128.0**60)


def test_normalisation_runs_by_the_absolute_values_of_its_statistics() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1, eps=0.0))
    nn.init.constant_(model[0].weight, -3.0)  # type: ignore[arg-type]
    nn.init.constant_(model[1].weight, -2.0)  # type: ignore[arg-type]
    model[1].running_var.fill_(4.0)  # type: ignore[union-attr, operator]
    assert flow(model, 1)["0.weight"].tolist() == [[3]]  # 3 * 2 / sqrt(4)


def test_a_group_scores_the_sum_of_its_weights() -> None:
    facts = Facts(measured=torch.tensor([[5.0, 10.0], [18.0, 24.0]]))
    assert Synflow().scores(torch.zeros(2, 2), Row(), key="w", facts=facts).tolist() == [15, 42]
    facts = Facts(measured=torch.ones(2, 3, 1, 1))
    assert Synflow().scores(torch.zeros(2, 3, 1, 1), Filter(), key="w", facts=facts).tolist() == [3, 3]


def test_the_shape_may_be_that_of_the_data() -> None:
    model = two_layers()
    schedule = one_pruner({"criterion": "synflow", "sparsity": 0.5}, {"at": 0})
    schedule.bind(model, epochs=1, data=[torch.zeros(8, 2)]).on_epoch_begin(0)
    assert model[0].weight.tolist() == [[0, 0], [3, 4]]  # 5, 10 and 15 go; 18, 24 and 42 stay
    assert model[1].weight.tolist() == [[0, -6]]


def test_without_a_shape_nothing_is_cut() -> None:
    schedule = one_pruner({"criterion": "synflow", "sparsity": 0.5}, {"at": 0})
    with pytest.raises(EffectError, match="'p', epoch 0: no cut: criterion synflow needs the shape of the inputs"):
        schedule.bind(two_layers(), epochs=1).on_epoch_begin(0)


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        made: Tensor = self.layer(inputs.float())
        return made


def test_a_network_that_insists_on_single_precision_is_told() -> None:
    with pytest.raises(SchedEngineError, match="synflow runs the network in double precision"):
        flow(Single(), 2)
