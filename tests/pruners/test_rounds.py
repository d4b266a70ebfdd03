"""Many rounds at one instant: each chooses on the network that the one before has left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, train
from torch import Tensor, nn

from schedengine import ScheduleError
from schedengine.criteria.base import Facts
from schedengine.errors import EffectWarning
from schedengine.masks import MaskStore
from schedengine.progress import Progress
from schedengine.pruners.bound import BoundPruner
from schedengine.selection import ParameterTable

FIVE = [0.369, 0.6019, 0.7488, 0.8415, 0.9]
"""Targets on the way to a density of 0.1 in five rounds: 1 - 0.1 ** (k / 5)."""


class Watched:
    """A pruner on a model without a loop, and what it was shown of each round."""

    def __init__(self, model: nn.Module, **axes: Any) -> None:
        self.table = ParameterTable(model)
        self.masks = MaskStore(self.table)
        spec = one_pruner({"sparsity": 0.9, **axes}, {"at": "start"}).pruners["p"]
        self.pruner = BoundPruner(
            "p", spec, [name for name in self.table.names if "weight" in name], None, lenient=False
        )
        self.keeps: list[Mapping[str, Tensor] | None] = []

    def look(self, keep: Mapping[str, Tensor] | None) -> Mapping[str, Facts] | None:
        self.keeps.append(keep)
        return self.facts(keep)

    def facts(self, keep: Mapping[str, Tensor] | None) -> Mapping[str, Facts] | None:
        del keep
        return None

    def cut(self, number: int = 1, count: int = 1) -> None:
        self.pruner.cut_(self.masks, self.table, None, Progress(0, None, 1), number=number, count=count, look=self.look)

    def gone(self) -> list[list[float]]:
        """Of each round, the fraction of each parameter."""
        return [[1 - float(one.float().mean()) for one in keep.values()] for keep in self.keeps if keep is not None]


def line(size: int = 10_000) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(size, 1, bias=False)


def test_every_round_takes_the_same_share_of_what_is_left() -> None:
    watched = Watched(line(), rounds=5)
    watched.cut()
    assert watched.keeps[0] is None and len(watched.keeps) == 5
    assert [round(one[0], 4) for one in watched.gone()] == FIVE[:-1]
    assert int(watched.masks.in_force("weight").count_nonzero()) == 1000


def test_rounds_go_on_from_what_shrinking_masks_have_taken() -> None:
    """From half of 10,000: 1 - 0.5 * (0.1 / 0.5) ** (1 / 2) after the first of two rounds."""
    ramp = {"ramp": "list", "values": [0.5, 0.9]}
    watched = Watched(line(), rounds=2, sparsity=ramp)
    watched.cut(1, 2)
    watched.keeps.clear()
    watched.cut(2, 2)
    assert watched.gone()[0][0] == pytest.approx(1 - 0.5 * 0.2**0.5, abs=1e-4)


def test_rounds_that_reselect_begin_with_the_whole_network() -> None:
    watched = Watched(line(), rounds=5, update="reselect", pruned="hidden")
    watched.cut()
    watched.keeps.clear()
    watched.cut()
    assert [round(one[0], 4) for one in watched.gone()] == FIVE[:-1]


def test_zeros_before_the_first_cut_count_as_gone() -> None:
    model = line()
    model.weight.data[0, :5000] = 0
    watched = Watched(model, rounds=2)
    watched.cut()
    assert watched.gone()[0][0] == pytest.approx(1 - 0.5 * 0.2**0.5, abs=1e-4)


def test_scores_are_of_the_network_without_what_went() -> None:
    """Weights 1 to 4: at once 1 and 2 would go; without 1, the gradient of 2 has grown and that of 3 vanished."""

    class Changing(Watched):
        def facts(self, keep: Mapping[str, Tensor] | None) -> Mapping[str, Facts]:
            return {"weight": Facts(torch.tensor([[1.0, 1, 1, 1]] if keep is None else [[9.0, 9, 0, 1]]))}

    for rounds, kept in ((1, [2, 3]), (2, [1, 3])):
        model = nn.Linear(4, 1, bias=False)
        model.weight.data = torch.tensor([[1.0, 2, 3, 4]])
        watched = Changing(model, rounds=rounds, sparsity=0.5, criterion="gradient")
        watched.cut()
        assert watched.masks.in_force("weight")[0].nonzero().flatten().tolist() == kept


def test_what_went_stays_gone_whatever_its_score_becomes() -> None:
    class Reviving(Watched):
        def facts(self, keep: Mapping[str, Tensor] | None) -> Mapping[str, Facts]:
            return {"weight": Facts(torch.tensor([[0.1, 1, 1, 1]] if keep is None else [[99.0, 1, 1, 1]]))}

    watched = Reviving(nn.Linear(4, 1, bias=False), rounds=3, sparsity=0.5, criterion="gradient", update="reselect")
    watched.table["weight"].data.fill_(1.0)
    watched.cut()
    assert not bool(watched.masks.in_force("weight")[0, 0])
    assert watched.gone() == [[0.25], [0.25]]  # 1 - 0.5 ** (k / 3) of 4 weights: 0.8 and 1.5, but 2 exceed 1.48


@pytest.mark.parametrize("granularity", ["element", "row"])
@pytest.mark.parametrize("allocation", ["global", "uniform", "erk"])
@pytest.mark.parametrize("update", ["shrink", "reselect"])
def test_by_magnitude_rounds_end_where_one_cut_ends(granularity: str, allocation: str, update: str) -> None:
    """What goes does not change what the others score."""
    axes = {"granularity": granularity, "allocation": allocation, "update": update, "sparsity": 0.7}
    ends = []
    for rounds in (1, 7):
        torch.manual_seed(0)
        first, second = nn.Linear(30, 20), nn.Linear(20, 40)
        first.weight.data.mul_((30 / 20) ** 0.5)  # one scale, so that both have rows among the lowest
        watched = Watched(nn.Sequential(first, second), rounds=rounds, **axes)
        watched.cut()
        ends.append({name: watched.masks.in_force(name) for name in watched.masks.names})
    assert all(ends[0][name].equal(ends[1][name]) for name in ends[0])


def test_each_parameter_has_its_own_way_to_its_own_level() -> None:
    watched = Watched(
        nn.Sequential(nn.Linear(100, 10), nn.Linear(10, 100)), rounds=2, allocation="uniform", sparsity=0.75
    )
    watched.cut()
    assert watched.gone() == [[0.5, 0.5]]


def test_a_group_of_every_parameter_stays() -> None:
    watched = Watched(nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 1)), rounds=20, granularity="row", sparsity=0.8)
    with pytest.warns(EffectWarning, match="1 of its 9 groups left"):
        watched.cut()
    assert bool(watched.masks.in_force("1.weight").all())


def test_a_cut_in_rounds_is_one_cut() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner({"sparsity": 0.9, "rounds": 100}, {"at": "start"}).bind(model, optimizer, epochs=2)
    train(scheduler, model, optimizer)
    assert [(cut.number, cut.count, cut.removed) for cut in scheduler.cuts] == [(1, 1, 265)]  # 0.9 * 294 = 264.6


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"sparsity": None, "threshold": 0.1}, "they need 'sparsity'"),
        ({"sparsity": None, "granularity": {"keep": [2, 4]}}, "they need 'sparsity'"),
        ({"draw": "bernoulli", "criterion": "random", "allocation": "uniform", "update": "reselect"}, "remove one"),
        (
            {"criterion": "synflow", "update": "reselect", "pruned": "hidden"},
            "'pruned: hidden' keeps values.*'pruned: zero'",
        ),
        ({"rounds": 0}, "must be at least 1"),
    ],
    ids=str,
)
def test_what_rounds_do_not_go_with_is_said(axes: dict[str, Any], said: str) -> None:
    chosen = {key: value for key, value in {"sparsity": 0.5, "rounds": 5, **axes}.items() if value is not None}
    with pytest.raises(ScheduleError, match=said):
        one_pruner(chosen, {"at": "start"})
