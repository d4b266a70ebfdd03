from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from schedengine.criteria import examples
from schedengine.criteria.base import Facts
from schedengine.criteria.fisher import Fisher
from schedengine.criteria.magnitude import Magnitude
from schedengine.criteria.network import Network
from schedengine.errors import SchedEngineError
from schedengine.granularity import Element, Row
from schedengine.selection import ParameterTable


def network(model: nn.Module, data: list[tuple[Tensor, Tensor]]) -> Network:
    table = ParameterTable(model)
    names = [name for name in table.names if table[name].dim() > 1]
    return Network(model, table, names, data=data, loss=nn.functional.cross_entropy)


def small() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten(), nn.Linear(48, 5)
    )
    model[1].running_var.fill_(3.0)  # type: ignore[union-attr, operator]
    return model


def data() -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(count, 2, 6, 6), torch.randint(0, 5, (count,))) for count in (4, 4)]


def looped(model: nn.Module, count: int) -> dict[str, Tensor]:
    """Squares of the gradients of one example after another."""
    table, sums = ParameterTable(model), dict[str, Tensor]()
    pairs = [(image, label) for images, labels in data() for image, label in zip(images, labels)][:count]
    for image, label in pairs:
        model.eval().zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()  # type: ignore[no-untyped-call]
        for name in ("0.weight", "5.weight"):
            slope = table[name].grad
            assert slope is not None
            sums[name] = sums.get(name, torch.zeros(())) + slope.double().square() / count
    return sums


@pytest.mark.parametrize("samples", [1, 6, 8])
@pytest.mark.parametrize("at_once", [1, 1 << 23])
def test_the_information_is_the_mean_square_of_single_gradients(
    samples: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "AT_ONCE", at_once)
    found = Fisher(samples=samples).measure(network(small(), data()))
    for name, expected in looped(small(), samples).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-9)


def test_it_is_worked_by_hand() -> None:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[2.0, -1.0]]))
    batch = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0], [0.0]])
    facts = Facts(measured=torch.tensor([[650.0, 8.0]]))
    seen = Network(model, ParameterTable(model), ["weight"], data=[batch], loss=nn.functional.mse_loss)
    assert Fisher().measure(seen)["weight"].tolist() == [[650, 8]]  # gradients (-2, -4) and (36, 0)
    assert Fisher().scores(model.weight, Element(), key="w", facts=facts).tolist() == [1300, 4]
    assert Fisher().scores(model.weight, Row(), key="w", facts=facts).tolist() == [1304]
    assert Fisher(damp=2.0).scores(model.weight, Element(), key="w", facts=facts).tolist() == [1304, 5]


def test_where_the_information_is_one_number_the_order_is_that_of_magnitudes() -> None:
    weight = torch.randn(7, 5)
    scores = Fisher().scores(weight, Element(), key="w", facts=Facts(measured=torch.full_like(weight, 3.0)))
    assert scores.argsort().tolist() == Magnitude().scores(weight, Element(), key="w").argsort().tolist()


def test_fewer_examples_than_asked_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Fisher(samples=9).measure(network(small(), data()))
    assert "the data gave 8 examples of the 9 that were asked for" in caplog.text
    assert Fisher().takes == "1,024 examples of the data"


class Counts(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * 2 if values.sum().item() > 0 else values


def test_a_module_that_cannot_be_mapped_is_named() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(72, 5), Counts()))
    with pytest.raises(SchedEngineError, match=r"module '1\.1' \(Counts\): vmap"):
        Fisher().measure(network(model, data()))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
