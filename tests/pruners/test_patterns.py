"""N of every M."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, train
from torch import Tensor, nn

from schedengine import PruningScheduler, ScheduleError


def begun(layer: nn.Module, pattern: tuple[int, int] = (2, 4), **axes: Any) -> PruningScheduler:
    scheduler = one_pruner({"granularity": {"keep": list(pattern)}, **axes}, {"at": "start"}).bind(layer, epochs=1)
    scheduler.on_epoch_begin(0)
    return scheduler


def mask_of(values: list[float], pattern: tuple[int, int] = (2, 4), **axes: Any) -> list[int]:
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values], dtype=torch.float)
    return begun(layer, pattern, **axes).masks.in_force("weight")[0].int().tolist()  # type: ignore[no-any-return]


def test_the_largest_two_of_every_four_stay() -> None:
    assert mask_of([1, -4, 3, 2, 5, 0, 0, -6]) == [0, 1, 1, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(("pattern", "kept"), [((1, 4), [0, 1, 0, 0]), ((3, 4), [0, 1, 1, 1]), ((1, 2), [0, 1, 1, 0])])
def test_any_n_of_any_m(pattern: tuple[int, int], kept: list[int]) -> None:
    assert mask_of([1, -4, 3, 2], pattern) == kept


def test_of_equal_weights_the_first_go() -> None:
    assert mask_of([1, 1, 1, 1, 0, 0, 0, 0]) == [0, 0, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("shape", [(6, 8), (3, 8, 5), (4, 16, 3, 3), (2, 4, 1, 2, 3)])
def test_every_pattern_along_the_inputs_keeps_two(shape: tuple[int, ...]) -> None:
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.randn(shape))
    scheduler = begun(layer, parameters="weight")
    kept = scheduler.masks.in_force("weight").movedim(1, -1).reshape(-1, 4).sum(dim=1)
    assert bool((kept == 2).all())
    assert scheduler.cuts[0].removed == scheduler.cuts[0].asked == layer.weight.numel() // 2
    assert scheduler.cuts[0].target == 0.5


def test_patterns_are_filled_by_any_criterion() -> None:
    first, second = (mask_of([1, -4, 3, 2] * 8, criterion={"random": {"seed": seed}}) for seed in (0, 1))
    assert first != second and all(sum(first[start : start + 4]) == 2 for start in range(0, 32, 4))


def test_patterns_that_shrink_stay_and_those_that_reselect_move() -> None:
    for update, moves in (("shrink", False), ("reselect", True)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(64, 5))
        axes = {"granularity": {"keep": [2, 4]}, "update": update, "pruned": "dense", "parameters": "2.weight"}
        optimizer = sgd(model, lr=0.5)
        scheduler = one_pruner(axes, {"during": "run", "every": "2st"}).bind(model, optimizer, epochs=3)
        seen: list[Tensor] = []
        train(
            scheduler,
            model,
            optimizer,
            after_step=lambda epoch, step, seen=seen, masks=scheduler.masks: seen.append(masks.in_force("2.weight")),  # type: ignore[misc]
        )
        assert any(not mask.equal(seen[0]) for mask in seen) == moves
        assert all(bool((mask.reshape(-1, 4).sum(dim=1) == 2).all()) for mask in seen)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"sparsity": 0.5}, "says itself how much goes; remove 'sparsity' or 'threshold'"),
        ({"threshold": 0.5}, "says itself how much goes"),
        ({"allocation": "uniform"}, "takes the same share of every parameter; remove 'allocation'"),
        ({"granularity": {"keep": [4, 4]}}, "keeps 4 of 4, which is all of them"),
        ({"granularity": {"keep": [0, 4]}}, r"granularity.keep.*must be at least 1"),
    ],
)
def test_what_contradicts_a_pattern_is_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        one_pruner({"granularity": {"keep": [2, 4]}, **axes}, {"at": "start"})


def test_inputs_that_no_pattern_divides_are_refused_with_the_parameter() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 2))
    with pytest.raises(ScheduleError, match=r"0.weight: granularity keep: got shape .*; needs .* a multiple of 4"):
        begun(model)
