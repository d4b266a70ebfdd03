"""Drop and grow: SET, RigL, static sparse training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, step_once, train
from torch import Tensor, nn

from schedengine import EffectError, PruningScheduler, ScheduleError
from schedengine.errors import EffectWarning
from schedengine.policies.pruning import PruningPolicy
from schedengine.progress import Progress
from schedengine.pruners.updates import DropGrow

CONV, FC = "0.weight", "5.weight"  # 54 and 240 weights
AXES = {"sparsity": 0.5, "allocation": "uniform", "mask_gradients": True}


def growing(policy: dict[str, Any] | None = None, *, axes: dict[str, Any] | None = None, **update: Any) -> Any:
    spec = {**AXES, "update": {"drop_grow": update}, **(axes or {})}
    return one_pruner(spec, policy or {"during": "run", "every": "2st"})


def line(**update: Any) -> tuple[nn.Linear, torch.optim.SGD, PruningScheduler]:
    """Ten weights 1 to 10, of which the five largest stay; then a cut at every step."""
    model = nn.Linear(10, 1, bias=False)
    model.weight.data = torch.arange(1.0, 11.0).view(1, 10)
    optimizer = sgd(model, lr=0.0)
    schedule = growing({"during": "run", "every": "1st"}, first="magnitude", fraction=0.4, anneal="constant", **update)
    return model, optimizer, schedule.bind(model, optimizer, epochs=1)


def one_step(model: nn.Linear, scheduler: PruningScheduler, step: int, gradient: list[float], steps: int = 3) -> Tensor:
    """A step with this gradient, and the beginning of the next; returns what is kept then."""
    scheduler.on_minibatch_begin(0, step, steps)
    model.weight.grad = torch.tensor([gradient])
    scheduler.before_parameter_optimization(0, step, steps)
    scheduler.on_minibatch_end(0, step, steps)
    scheduler.on_minibatch_begin(0, step + 1, steps)
    return scheduler.masks.in_force("weight").flatten()


GRADIENT = [5.0, -4.0, 3.0, 0.0, 0.0, -4.5, 0.0, 9.0, 0.0, 0.0]


def test_the_smallest_go_and_those_of_the_largest_gradient_come() -> None:
    """6 and 7 go; 6 stays after all, since its gradient is the second largest of those that are not kept."""
    model, _, scheduler = line()
    scheduler.on_epoch_begin(0)
    kept = one_step(model, scheduler, 0, GRADIENT)
    assert kept.nonzero().flatten().tolist() == [0, 5, 7, 8, 9]
    assert model.weight.flatten().tolist() == [0, 0, 0, 0, 0, 6, 0, 8, 9, 10]  # what is grown begins at 0


def test_the_gradient_is_that_before_masks_multiply_it() -> None:
    model, _, scheduler = line()
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 3)
    model.weight.grad = torch.tensor([GRADIENT])
    scheduler.before_parameter_optimization(0, 0, 3)
    assert model.weight.grad.flatten().tolist() == [*[0.0] * 5, *GRADIENT[5:]]
    policy = scheduler.policies[0]
    assert isinstance(policy, PruningPolicy)
    assert policy.evidence.state_dict()["gradients"]["weight"].flatten().tolist() == GRADIENT


def test_a_loop_without_the_callback_before_the_update_grows_by_the_gradient_that_it_left() -> None:
    model, _, scheduler = line()
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 3)
    model.weight.grad = torch.tensor([GRADIENT])
    scheduler.on_minibatch_end(0, 0, 3)
    scheduler.on_minibatch_begin(0, 1, 3)
    assert scheduler.masks.in_force("weight").flatten().nonzero().flatten().tolist() == [0, 5, 7, 8, 9]


def test_the_fraction_follows_a_cosine_or_stays() -> None:
    cosine, constant = DropGrow(fraction=0.3), DropGrow(fraction=0.3, anneal="constant")
    assert [cosine.dropped(share) for share in (0, 0.5, 1)] == pytest.approx([0.3, 0.15, 0.0])
    assert [constant.dropped(share) for share in (0, 0.5, 1)] == [0.3, 0.3, 0.3]


@pytest.mark.parametrize(
    ("policy", "instants", "shares"),
    [
        ({"during": "run"}, [(0, None), (1, None), (3, None)], [0, 0.25, 0.75]),
        ({"during": "run", "until": 2, "every": "2st"}, [(0, 2), (1, 1)], [0.25, 0.625]),
        ({"during": "run", "from": "1st", "until": "9st", "every": "2st"}, [(0, 1), (1, 1)], [0, 0.5]),
        ({"at": [0, 1, 3]}, [(0, None), (1, None), (3, None)], [0, 0.25, 0.75]),
        ({"at": [{"end": "run"}]}, [(3, None)], [0]),
    ],
    ids=str,
)
def test_the_share_of_the_window_is_counted_in_steps(
    policy: dict[str, Any], instants: list[tuple[int, int | None]], shares: list[float]
) -> None:
    scheduler = growing(policy).bind(small_model(), epochs=4, steps_per_epoch=4)
    acts = scheduler.policies[0]
    assert isinstance(acts, PruningPolicy)
    found = [acts.pace(acts.own.windows[0], Progress(epoch, step, 4)).share for epoch, step in instants]
    assert found == pytest.approx(shares)


@pytest.mark.parametrize("allocation", ["uniform", "erk", "uniform_plus", {CONV: 0.2, FC: 0.6}], ids=str)
@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_every_parameter_keeps_its_density(allocation: Any, grow: str) -> None:
    model = small_model()
    optimizer = sgd(model)
    ramp = {"ramp": "constant"} if isinstance(allocation, dict) else 0.5
    scheduler = growing(axes={"allocation": allocation, "sparsity": ramp}, grow=grow).bind(model, optimizer, epochs=3)
    seen: list[dict[str, Tensor]] = []

    def look(epoch: int, step: int) -> None:
        seen.append({name: scheduler.masks.in_force(name) for name in (CONV, FC)})

    train(scheduler, model, optimizer, after_step=look)
    assert len(scheduler.cuts) == 6
    for name in (CONV, FC):
        assert len({int(masks[name].count_nonzero()) for masks in seen}) == 1
    assert not seen[0][FC].equal(seen[2][FC])


def test_the_first_mask_is_random_and_needs_no_gradient() -> None:
    kept = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = small_model()
        scheduler = growing({"during": "run"}).bind(model, sgd(model), epochs=3)
        scheduler.on_epoch_begin(0)
        kept.append(scheduler.masks.in_force(FC))
    assert kept[0].equal(kept[1]) and int(kept[0].count_nonzero()) == 120
    lowest = dict(model.named_parameters())[FC].detach()[kept[0]].abs().min()
    assert float(lowest) < 0.05  # by magnitude no weight so small would stay


def test_random_growth_is_drawn_by_the_event_and_the_seed() -> None:
    gradient = [0.0] * 10

    def grown(seed: int, noise: int) -> list[int]:
        model, _, scheduler = line(grow="random", seed=seed)
        torch.manual_seed(noise)
        scheduler.on_epoch_begin(0)
        kept: list[int] = one_step(model, scheduler, 0, gradient).nonzero().flatten().tolist()
        return kept

    assert grown(0, 1) == grown(0, 2)
    assert len({tuple(grown(seed, 1)) for seed in range(6)}) > 1
    assert all({7, 8, 9} <= set(grown(seed, 1)) for seed in range(6))


def test_what_is_grown_has_no_momentum_and_what_is_kept_has() -> None:
    model = small_model()
    weight = dict(model.named_parameters())[FC]
    optimizer = sgd(model, weight_decay=0.01)
    scheduler = growing(fraction=0.5).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    for step in range(2):
        step_once(scheduler, model, optimizer, 0, step, 4)
    before, momentum = scheduler.masks.in_force(FC), optimizer.state[weight]["momentum_buffer"].clone()
    scheduler.on_minibatch_begin(0, 2, 4)
    after, now = scheduler.masks.in_force(FC), optimizer.state[weight]["momentum_buffer"]
    assert bool((after & ~before).any()) and not bool(now[after & ~before].any())
    assert not bool(weight[after & ~before].any())
    assert now[after & before].equal(momentum[after & before]) and bool(now[after & before].all())


def test_fraction_0_is_static_sparse_training() -> None:
    """The same as a random mask that is chosen once."""
    ends = []
    static = {**AXES, "criterion": "random"}
    for schedule in (growing({"during": "run"}, fraction=0), one_pruner(static, {"at": "start"})):
        model = small_model()
        optimizer = sgd(model)
        train(schedule.bind(model, optimizer, epochs=3), model, optimizer)
        ends.append(model.state_dict())
    assert all(ends[0][key].equal(ends[1][key]) for key in ends[0])


def test_whole_filters_are_dropped_and_grown() -> None:
    model = nn.Sequential(nn.Conv2d(2, 8, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    optimizer, kept = sgd(model), list[Tensor]()
    axes = {"granularity": "filter", "parameters": CONV}
    scheduler = growing(axes=axes, fraction=0.5, anneal="constant").bind(model, optimizer, epochs=2)
    train(scheduler, model, optimizer, after_step=lambda epoch, step: kept.append(scheduler.masks.in_force(CONV)))
    assert all(int(one.flatten(1).any(1).sum()) == int(one.flatten(1).all(1).sum()) == 4 for one in kept)
    assert not kept[0].equal(kept[2])


def test_a_criterion_of_the_first_cut_is_checked_and_obeyed() -> None:
    model, _, scheduler = line()
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 3)
    assert scheduler.masks.in_force("weight").flatten().tolist() == [False] * 5 + [True] * 5
    with pytest.raises(ScheduleError, match="it scores the outputs of a layer"):
        growing(first="apoz").bind(small_model(), epochs=1)
    assert model.weight.count_nonzero() == 5


def test_growth_without_a_gradient_is_an_error() -> None:
    scheduler = growing({"during": "run"}).bind(small_model(), epochs=3)
    scheduler.on_epoch_begin(0)
    with pytest.raises(EffectError, match="0.weight has no gradient"):
        scheduler.on_epoch_begin(1)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_leaves_the_mask_as_it_is_and_that_is_told(bad: float) -> None:
    """Mixed precision skips such an update; the cut after it counts, and the next one grows again."""
    model, _, scheduler = line()
    scheduler.on_epoch_begin(0)
    with pytest.warns(EffectWarning, match="'p', 1 steps: the masks stay as they are: the gradient of weight at"):
        kept = one_step(model, scheduler, 0, [bad, *GRADIENT[1:]])
    assert kept.nonzero().flatten().tolist() == [5, 6, 7, 8, 9] and scheduler.cuts[-1].number == 2
    model.weight.grad = torch.tensor([GRADIENT])
    scheduler.before_parameter_optimization(0, 1, 3)
    scheduler.on_minibatch_end(0, 1, 3)
    scheduler.on_minibatch_begin(0, 2, 3)
    assert scheduler.masks.in_force("weight").flatten().nonzero().flatten().tolist() == [0, 5, 7, 8, 9]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"sparsity": {"ramp": "cubic", "to": 0.5}}, "keeps its sparsity; write a number"),
        ({"sparsity": None, "threshold": 0.1, "allocation": "global"}, "write 'sparsity' instead of 'threshold'"),
        ({"allocation": "global"}, "write 'allocation: erk'"),
        ({"allocation": "lamp"}, "write 'allocation: erk'"),
        ({"together": "mean", "granularity": "row"}, "remove 'together'"),
        ({"draw": "bernoulli", "criterion": "random"}, "remove 'draw: bernoulli'"),
        ({"ties": "all"}, "remove 'ties: all'"),
        ({"pruned": "hidden"}, "write 'pruned: zero'"),
        ({"pruned": "forward"}, "write 'pruned: zero'"),
        ({"lasts": "step"}, "remove 'lasts: step'"),
        ({"mask_gradients": False}, "write 'mask_gradients: true'"),
        ({"optimizer_state": "keep"}, "remove 'optimizer_state: keep'"),
        ({"granularity": {"keep": [2, 4]}, "sparsity": None, "allocation": "global"}, "use another granularity"),
        ({"rounds": 2}, "remove 'rounds'"),
        ({"compensate": "least_squares", "granularity": "channel"}, "remove 'compensate'"),
    ],
    ids=str,
)
def test_what_drop_and_grow_does_not_go_with_is_said(axes: dict[str, Any], said: str) -> None:
    chosen = {key: value for key, value in {**AXES, "update": "drop_grow", **axes}.items() if value is not None}
    with pytest.raises(ScheduleError, match=said) as caught:
        one_pruner(chosen, {"during": "run"})
    assert "pruners.p" in str(caught.value)
