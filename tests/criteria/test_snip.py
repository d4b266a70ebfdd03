from __future__ import annotations

import torch
from loops import one_pruner
from torch import Tensor, nn

from schedengine.criteria.base import Facts
from schedengine.criteria.network import Network
from schedengine.criteria.snip import Snip
from schedengine.granularity import Element, Row
from schedengine.selection import ParameterTable

EXAMPLES = (torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0], [0.0]]))


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def line(*weights: float) -> nn.Linear:
    """y = w x, without a bias."""
    model = nn.Linear(len(weights), 1, bias=False)
    model.weight.data.copy_(torch.tensor([weights]))
    return model


def gradient(data: list[tuple[Tensor, Tensor]], **fields: int) -> list[float]:
    model = line(2, -1)
    network = Network(model, ParameterTable(model), ["weight"], data=data, loss=squared)
    found: list[float] = Snip(**fields).measure(network)["weight"].flatten().tolist()  # type: ignore[arg-type]
    return found


def test_the_gradient_is_of_the_mean_loss() -> None:
    # outputs 0 and 6, errors -1 and 6: 2 * error * x is (-2, -4) and (36, 0)
    assert gradient([EXAMPLES]) == [17, -2]


def test_batches_count_by_their_examples() -> None:
    inputs, targets = EXAMPLES
    three = torch.cat([inputs[:1], inputs[:1], inputs[1:]]), torch.cat([targets[:1], targets[:1], targets[1:]])
    one = inputs[1:], targets[1:]
    assert gradient([three, one]) == [17, -2]


def test_only_as_many_batches_are_taken_as_asked() -> None:
    first, second = ((EXAMPLES[0][at : at + 1], EXAMPLES[1][at : at + 1]) for at in (0, 1))
    assert gradient([first, second], batches=1) == [-2, -4]
    assert Snip(batches=1).takes == "1 batch of the data" and Snip().takes == "10 batches of the data"


def test_a_weight_scores_its_absolute_product_and_a_group_their_sum() -> None:
    weight, facts = torch.tensor([[2.0, -1.0]]), Facts(measured=torch.tensor([[17.0, 2.0]]))
    assert Snip().scores(weight, Element(), key="w", facts=facts).tolist() == [34, 2]
    assert Snip().scores(weight, Row(), key="w", facts=facts).tolist() == [36]


def test_of_a_normalised_filter_the_sum_of_products_would_be_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5))
    data = [(torch.randn(16, 2, 6, 6), torch.arange(16) % 5)]
    network = Network(model, ParameterTable(model), ["0.weight"], data=data, loss=nn.functional.cross_entropy)
    product = (model[0].weight * Snip().measure(network)["0.weight"]).flatten(1)  # type: ignore[operator]
    assert product.sum(dim=1).abs().max() < 1e-3 * product.abs().sum(dim=1).min()


def test_a_cut_removes_the_lowest() -> None:
    model = line(2, -1)
    schedule = one_pruner({"criterion": "snip", "sparsity": 0.5}, {"at": 0})
    schedule.bind(model, epochs=1, data=[EXAMPLES], loss=squared).on_epoch_begin(0)
    assert model.weight.tolist() == [[2, 0]]
