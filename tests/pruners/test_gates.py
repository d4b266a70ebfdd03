"""Learned gates: formulas against autograd and the papers' numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from schedengine.pruners.gates import Gate, SigmoidGate, SoftThreshold, StepThreshold, step_slope
from schedengine.pruners.learned import Learned

W = torch.tensor([0.5, -0.3, 0.1, -0.05, 0.9, 0.0], dtype=torch.float64)
G = torch.tensor([1.0, 2.0, -1.0, 0.5, -2.0, 3.0], dtype=torch.float64)
SHAPES = {"a": (2, 2), "b": (1, 2)}


def learned(gate: Gate, dtype: torch.dtype = torch.float64) -> Learned:
    return Learned(gate, SHAPES, {"a": 0, "b": 0}, torch.zeros(1, dtype=dtype))


def parameters(values: Tensor = W, gradients: Tensor | None = None) -> list[Tensor]:
    found = [values[:4].view(2, 2).clone(), values[4:].view(1, 2).clone()]
    for one, own in zip(found, (gradients[:4], gradients[4:]) if gradients is not None else ()):
        one.requires_grad_().grad = own.view_as(one).clone()
    return found


@pytest.mark.parametrize("gate", [SoftThreshold(init=-1.0), SigmoidGate(init=0.2, penalty_=0.0, temperature=50.0)])
def test_the_chain_rule_is_autograds(gate: Gate) -> None:
    one, share = learned(gate), 0.3
    one.share = share
    kept, shown = parameters(), parameters(gradients=G)
    one.backward_(shown, kept)
    w, s = W.clone().requires_grad_(), one.values.detach().clone().requires_grad_()
    spread = s if gate.unit == "element" else s[torch.tensor([0, 0, 0, 0, 1, 1])]
    if isinstance(gate, SoftThreshold):
        shown_by_autograd = w.sign() * torch.relu(w.abs() - spread.sigmoid())
    else:
        shown_by_autograd = w * (50.0**share * spread).sigmoid() / torch.tensor(0.2, dtype=torch.float64).sigmoid()
    shown_by_autograd.backward(G)
    torch.testing.assert_close(torch.cat([one.grad.flatten() for one in shown]), w.grad)
    torch.testing.assert_close(one.values.grad, s.grad)


def test_a_soft_threshold_of_a_quarter_by_hand() -> None:
    gate = SoftThreshold()
    s = torch.full_like(W, -1.0986122886681098)  # sigmoid: 1/4
    torch.testing.assert_close(
        gate.deployed(W, s, 0.0), torch.tensor([0.25, -0.05, 0, 0, 0.65, 0], dtype=torch.float64)
    )
    of_weights, of_thresholds = gate.gradients(W, s, G, 0.0)
    assert of_weights.tolist() == [1, 2, 0, 0, -2, 0]
    # -sigmoid'(s) sum sign(w) g over survivors, sigmoid' = 3/16: (1 - 2 - 2) survive
    assert float(of_thresholds.sum()) == pytest.approx(3 / 16 * 3)


def test_the_slope_of_a_step_is_the_papers() -> None:
    found = step_slope(torch.tensor([0.0, 0.2, 0.4, 0.5, 1.0, 1.1])).tolist()
    assert found == pytest.approx([2, 1.2, 0.4, 0.4, 0.4, 0])


def test_a_step_threshold_by_hand() -> None:
    gate = StepThreshold(penalty_=0.01)
    w, t, g = torch.tensor([0.5, -0.1]), torch.tensor([0.3, 0.3]), torch.tensor([2.0, 3.0])
    assert gate.deployed(w, t, 0.0).tolist() == pytest.approx([0.5, 0.0])
    of_weights, of_thresholds = gate.gradients(w, t, g, 0.0)
    # x = |w| - t: 0.2 (slope 1.2) and -0.2 (slope 1.2); dw = M + |w| slope; dt = -w slope
    assert of_weights.tolist() == pytest.approx([2 * (1 + 0.5 * 1.2), 3 * (0.1 * 1.2)])
    assert of_thresholds.tolist() == pytest.approx([-2 * 0.5 * 1.2, 3 * 0.1 * 1.2])
    assert gate.penalty(torch.tensor([0.0, 1.0]), 0.0).tolist() == pytest.approx([-0.01, -0.01 * 0.36787944])


def test_each_output_has_a_step_threshold_of_its_own() -> None:
    one = learned(StepThreshold(init=0.2))
    assert one.values.shape == (3,)
    with torch.no_grad():
        one.values.copy_(torch.tensor([0.4, 0.0, 0.95]))
    shown = parameters()
    one.show_(shown, parameters(), in_training=True)
    torch.testing.assert_close(shown[0], torch.tensor([[0.5, 0], [0.1, -0.05]], dtype=torch.float64))
    assert not shown[1].any()


def test_thresholds_that_leave_nothing_of_a_parameter_begin_anew() -> None:
    one = learned(StepThreshold(init=0.2))
    with torch.no_grad():
        one.values.copy_(torch.tensor([2.0, 2.0, 0.5]))
    one.guard_(parameters())
    assert one.values.tolist() == [0, 0, 0.5]


def test_gates_that_are_not_open_are_zero_when_deployed_and_soft_in_training() -> None:
    gate = SigmoidGate(init=0.0)
    s = torch.tensor([1.0, -1.0])
    w = torch.ones(2)
    assert gate.shown(w, s, 0.0).tolist() == pytest.approx([1.4621172, 0.5378828])
    assert gate.deployed(w, s, 0.0).tolist() == pytest.approx([1.4621172, 0.0])
    assert gate.shown(w, s, 1.0).tolist() == pytest.approx([2.0, 0.0], abs=1e-6)


def test_another_round_of_gates_begins_at_the_smaller_of_heated_and_initial() -> None:
    one = learned(SigmoidGate(init=0.1, temperature=200.0))
    with torch.no_grad():
        one.values.copy_(torch.tensor([0.5, -0.01, 0.0001, 0.0, -1.0, 0.01]))
    one.next_round_()
    assert one.values.tolist() == pytest.approx([0.1, -2.0, 0.02, 0.0, -200.0, 0.1])


def test_a_penalty_on_gates_is_the_gradient_of_the_sum_of_sigmoids() -> None:
    gate, s = SigmoidGate(penalty_=0.5, temperature=100.0), torch.tensor([0.02, -0.3], requires_grad=True)
    (0.5 * (100.0**0.5 * s).sigmoid().sum()).backward()
    torch.testing.assert_close(gate.penalty(s.detach(), 0.5), s.grad)


def test_one_threshold_can_serve_all_parameters() -> None:
    one = learned(SoftThreshold(per="all"))
    one.backward_(parameters(gradients=G), parameters())
    assert one.values.shape == (1,) and one.values.grad is not None


def test_half_precision_weights_keep_single_precision_thresholds() -> None:
    one = learned(SoftThreshold(init=-1.0), torch.bfloat16)
    kept, shown = ([one.bfloat16() for one in parameters()] for _ in range(2))
    one.show_(shown, kept, in_training=True)
    assert one.values.dtype == torch.float32 and shown[0].dtype == torch.bfloat16
