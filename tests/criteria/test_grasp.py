from __future__ import annotations

import torch
from torch import Tensor, nn

from schedengine.criteria.base import Facts
from schedengine.criteria.grasp import Grasp
from schedengine.criteria.network import Network
from schedengine.granularity import Element, Row
from schedengine.selection import ParameterTable

NAMES = ["0.weight", "2.weight"]


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def smooth() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def data() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(count, 4).double(), torch.randint(0, 2, (count,))) for count in (5, 3)]


def gradient(model: nn.Sequential, temperature: float) -> list[Tensor]:
    """Of the mean loss over all examples at once."""
    inputs, targets = (torch.cat(parts) for parts in zip(*data()))
    model.zero_grad()
    nn.functional.cross_entropy(model(inputs) / temperature, targets).backward()  # type: ignore[no-untyped-call]
    table = ParameterTable(model)
    return [table[name].grad.clone() for name in NAMES]  # type: ignore[union-attr]


def measured(model: nn.Sequential, **fields: float) -> dict[str, Tensor]:
    network = Network(model, ParameterTable(model), NAMES, data=data(), loss=nn.functional.cross_entropy)
    return Grasp(**fields).measure(network)  # type: ignore[arg-type]


def test_on_a_line_the_product_is_worked_by_hand() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[2.0, -1.0]]))
    batch = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0], [0.0]])
    network = Network(model, ParameterTable(model), ["weight"], data=[batch], loss=squared)
    found = Grasp(temperature=1.0).measure(network)["weight"]
    assert found.tolist() == [[166, 26]]  # H = [[10, 2], [2, 4]], g = (17, -2)
    facts = Facts(measured=found)
    assert Grasp().scores(model.weight, Element(), key="w", facts=facts).tolist() == [332, -26]
    assert Grasp().scores(model.weight, Row(), key="w", facts=facts).tolist() == [306]


def test_the_product_is_how_the_gradient_changes_along_itself() -> None:
    model, step = smooth(), 1e-4
    found, slope = measured(model, temperature=2.0), gradient(model, 2.0)
    table = ParameterTable(model)

    def moved(by: float) -> list[Tensor]:
        for name, one in zip(NAMES, slope):
            table[name].data.add_(one, alpha=by)
        return gradient(model, 2.0)

    above, below = moved(step), moved(-2 * step)
    for name, one, other in zip(NAMES, above, below):
        torch.testing.assert_close(found[name], (one - other) / (2 * step), rtol=1e-5, atol=1e-9)


def test_without_the_lowest_weight_the_gradient_is_larger() -> None:
    """To first order the squared norm changes by -2 w (H g); the weights are made small enough for that."""
    model = smooth()
    table = ParameterTable(model)
    for name in NAMES:
        table[name].data.mul_(1e-3)
    product = measured(model, temperature=1.0)["0.weight"] * table["0.weight"].detach()
    before = sum(float(one.square().sum()) for one in gradient(model, 1.0))
    lowest = int(product.argmin())
    table["0.weight"].data.view(-1)[lowest] = 0
    after = sum(float(one.square().sum()) for one in gradient(model, 1.0))
    assert product.min() < 0 < after - before


def test_the_temperature_of_the_paper_is_the_default() -> None:
    assert Grasp().temperature == 200 and Grasp().takes == "10 batches of the data"
    for name, one in measured(smooth()).items():
        torch.testing.assert_close(one, measured(smooth(), temperature=200.0)[name])


def test_a_loss_that_is_linear_in_the_weights_has_no_curvature() -> None:
    model = nn.Linear(2, 1, bias=False)
    batch = torch.ones(3, 2), torch.ones(3)
    network = Network(model, ParameterTable(model), ["weight"], data=[batch], loss=lambda made, _: made.sum())
    assert Grasp().measure(network)["weight"].tolist() == [[0, 0]]
