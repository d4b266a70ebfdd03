from __future__ import annotations

import pytest
import torch
from loops import one_pruner
from torch import Tensor, nn

from schedengine.criteria.base import Facts
from schedengine.criteria.fisher import Fisher
from schedengine.criteria.information import blocks
from schedengine.criteria.network import Network
from schedengine.criteria.obs import Obs
from schedengine.errors import SchedEngineError, ScheduleError
from schedengine.granularity import Element, Row
from schedengine.selection import ParameterTable

BATCH = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0], [0.0]])


def line() -> nn.Linear:
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[2.0, -1.0]]))
    return model


def wide(seed: int = 0) -> tuple[nn.Linear, list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(seed)
    return nn.Linear(7, 3, bias=False), [(torch.randn(40, 7), torch.randint(0, 3, (40,)))]


def network(model: nn.Module, data: list[tuple[Tensor, Tensor]], loss: object = nn.functional.cross_entropy) -> Network:
    return Network(model, ParameterTable(model), ["weight"], data=data, loss=loss)  # type: ignore[arg-type]


def scores(criterion: Obs | Fisher) -> list[float]:
    model, data = wide()
    facts = Facts(measured=criterion.measure(network(model, data))["weight"])
    found: list[float] = criterion.scores(model.weight, Element(), key="w", facts=facts).tolist()
    return found


def test_it_is_worked_by_hand() -> None:
    model = line()
    found = Obs(block=2).measure(network(model, [BATCH], nn.functional.mse_loss))["weight"]
    assert found.tolist() == [[[650, 4], [4, 8]]]  # gradients (-2, -4), (36, 0); inverse [[8, -4], [-4, 650]] / 5184
    facts, criterion = Facts(measured=found), Obs(block=2, damp=1e-12)
    expected = [4 * 5184 / (2 * 8), 5184 / (2 * 650)]
    assert criterion.scores(model.weight, Element(), key="w", facts=facts).tolist() == pytest.approx(expected)
    assert criterion.scores(model.weight, Row(), key="w", facts=facts).tolist() == pytest.approx([sum(expected)])


def test_blocks_are_of_consecutive_weights_and_the_last_has_the_rest() -> None:
    model, data = wide()
    found = blocks(network(model, data), 40, 8)["weight"]  # 21 weights: 8, 8 and 5
    (inputs, labels), slopes = data[0], []
    for image, label in zip(inputs, labels):
        model.zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()  # type: ignore[no-untyped-call]
        assert model.weight.grad is not None
        slopes.append(torch.nn.functional.pad(model.weight.grad.flatten().double(), (0, 3)).view(3, 8))
    expected = torch.stack([one[:, :, None] * one[:, None, :] for one in slopes]).mean(dim=0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)
    assert not found[2, 5:].any() and not found[2, :, 5:].any()


def test_the_inverse_is_that_of_example_by_example_updates() -> None:
    """Sherman and Morrison's: F^-1 of one more gradient."""
    model, data = wide()
    inverse = torch.eye(21, dtype=torch.float64) / 1e-3
    for image, label in zip(*data[0]):
        model.zero_grad()
        nn.functional.cross_entropy(model(image[None]), label[None]).backward()  # type: ignore[no-untyped-call]
        assert model.weight.grad is not None
        along = inverse @ model.weight.grad.flatten().double()
        inverse -= torch.outer(along, along) / (40 + model.weight.grad.flatten().double() @ along)
    expected = model.weight.detach().double().flatten().square() / (2 * inverse.diagonal())
    assert scores(Obs(block=50, damp=1e-3)) == pytest.approx(expected.tolist(), rel=1e-3)


def test_blocks_of_one_score_as_the_diagonal_does() -> None:
    assert scores(Obs(block=1, damp=1e-3)) == pytest.approx(scores(Fisher(damp=1e-3)))


def test_damping_that_is_lost_in_rounding_does_no_harm() -> None:
    facts = Facts(measured=torch.full((1, 2, 2), 1e10, dtype=torch.float64))  # of rank one: no inverse of its own
    high, low = Obs(block=2, damp=1e-7).scores(line().weight, Element(), key="w", facts=facts).tolist()
    assert high == pytest.approx(4 * low) and 0 < low < 1


def test_information_that_is_not_finite_is_an_error() -> None:
    facts = Facts(measured=torch.full((1, 2, 2), torch.inf, dtype=torch.float64))
    with pytest.raises(SchedEngineError, match="look for nan or inf"):
        Obs(block=2).scores(line().weight, Element(), key="w", facts=facts)


def test_a_cut_is_made_up_for_where_the_file_says_so() -> None:
    model = line()
    axes = {"criterion": {"obs": {"block": 2, "damp": 1e-9}}, "sparsity": 0.5, "compensate": "obs"}
    scheduler = one_pruner(axes, {"at": 0}).bind(model, epochs=1, data=[BATCH], loss=nn.functional.mse_loss)
    scheduler.on_epoch_begin(0)
    assert model.weight.tolist()[0] == pytest.approx([2 - 4 / 650, 0])


def test_compensation_goes_with_the_criterion_that_measures_for_it() -> None:
    with pytest.raises(ScheduleError, match="'compensate: obs' goes with 'criterion: obs'"):
        one_pruner({"criterion": "fisher", "sparsity": 0.5, "compensate": "obs"}, {"at": 0})
