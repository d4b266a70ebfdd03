from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, step_once, train
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from schedengine.criteria.base import Facts
from schedengine.criteria.movement import Movement, Movements
from schedengine.errors import EffectError, SchedEngineError
from schedengine.granularity import Element, Row
from schedengine.policies.pruning import PruningPolicy

NAME = "0.weight"


def test_a_step_adds_minus_weight_times_gradient() -> None:
    movements = Movements()
    for slope in (1.0, 3.0):
        movements.add_({"w": torch.tensor([[2.0, -1.0]])}, {"w": torch.tensor([[slope, 2.0]])})
    assert movements.read({"w": torch.zeros(1, 2)})["w"].tolist() == [[-8, 4]]


def test_a_weight_that_grows_stays_and_a_group_scores_the_sum() -> None:
    weight, facts = torch.tensor([[2.0, -1.0]]), Facts(movement=torch.tensor([[-8.0, 4.0]]))
    assert Movement().scores(weight, Element(), key="w", facts=facts).tolist() == [-8, 4]
    assert Movement().scores(weight, Row(), key="w", facts=facts).tolist() == [-4]
    with pytest.raises(SchedEngineError, match="needs the steps of a run"):
        Movement().scores(weight, Element(), key="w")


def test_a_step_without_a_gradient_moves_nothing() -> None:
    movements = Movements()
    movements.add_({"w": torch.ones(2)}, {"w": None})
    assert movements.read({"w": torch.ones(2)}) == {}


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_update_that_mixed_precision_skips_moves_nothing(bad: float) -> None:
    movements, weights = Movements(), {"v": torch.ones(2), "w": torch.full((2,), 2.0)}
    for slopes in ([1.0, 1.0], [bad, 1.0], [1.0, 3.0]):
        movements.add_(weights, {"v": torch.ones(2), "w": torch.tensor(slopes)})
    found = movements.read(weights)
    assert found["v"].tolist() == [-2, -2] and found["w"].tolist() == [-4, -8]


def test_half_precision_is_added_up_in_single() -> None:
    movements = Movements()
    for _ in range(300):
        movements.add_({"w": torch.ones(1).bfloat16()}, {"w": torch.ones(1).bfloat16()})
    assert movements.read({"w": torch.ones(1)})["w"].item() == -300  # bfloat16 stops at 256


def test_what_was_thinned_begins_anew() -> None:
    movements = Movements()
    movements.add_({"w": torch.ones(3)}, {"w": torch.ones(3)})
    assert movements.read({"w": torch.ones(2)}) == {}
    movements.add_({"w": torch.ones(2)}, {"w": torch.ones(2)})
    assert movements.read({"w": torch.ones(2)})["w"].tolist() == [-1, -1]


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layers", [1, 60])
def test_a_step_is_a_few_operations_whatever_the_number_of_layers(layers: int) -> None:
    movements, weights = Movements(), {str(at): torch.ones(2) for at in range(layers)}
    movements.add_(weights, dict(weights))
    with Operations() as operations:
        movements.add_(weights, dict(weights))
    names = [name for name in operations.names if name != "detach"]
    assert len(names) < 10 and (names[0], names[-1]) == ("_foreach_copy_", "_foreach_addcmul_")


def run(**axes: Any) -> tuple[Any, torch.nn.Sequential, Tensor]:
    """Two epochs with a cut after the first; what was added up by hand."""
    model = small_model()
    optimizer = sgd(model)
    spec = {"parameters": NAME, "criterion": "movement", "sparsity": {"ramp": "linear", "to": 0.5}, **axes}
    scheduler = one_pruner(spec, {"during": "run", "from": 1}).bind(model, optimizer, epochs=3)
    expected = torch.zeros_like(model[0].weight)  # type: ignore[arg-type]
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
        for step in range(4):
            before = scheduler.masks.weight(NAME).clone()
            step_once(scheduler, model, optimizer, epoch, step, 4)
            slope = model[0].weight.grad
            expected -= before * slope  # type: ignore[operator]
        scheduler.on_epoch_end(epoch)
    return scheduler, model, expected


@pytest.mark.parametrize("pruned", ["zero", "dense"])
def test_movement_goes_on_over_cuts_with_the_values_that_are_kept(pruned: str) -> None:
    update = "reselect" if pruned == "dense" else "shrink"
    scheduler, _, expected = run(pruned=pruned, update=update)
    assert 0 < scheduler.cuts[0].removed < 54
    policy = scheduler.policies[0]
    assert isinstance(policy, PruningPolicy)
    found = policy.evidence.state_dict()["movement"][NAME]
    torch.testing.assert_close(found, expected)


def test_nothing_is_added_up_after_the_last_cut() -> None:
    model = small_model()
    schedule = one_pruner({"parameters": NAME, "criterion": "movement", "sparsity": 0.5}, {"at": 1})
    scheduler, found = schedule.bind(model, sgd(model), epochs=3), []
    for epoch in scheduler.epochs():
        train(scheduler, model, sgd(model), epochs=range(epoch, epoch + 1))
        found.append(scheduler.policies[0].state_dict()["evidence"]["movement"][NAME])
    assert found[0].any() and torch.equal(found[1], found[0]) and torch.equal(found[2], found[0])


def test_before_the_first_step_there_is_none() -> None:
    model = small_model()
    schedule = one_pruner({"parameters": NAME, "criterion": "movement", "sparsity": 0.5}, {"at": 0})
    with pytest.raises(EffectError, match="0.weight has not moved: no step was made"):
        schedule.bind(model, sgd(model), epochs=1).on_epoch_begin(0)
