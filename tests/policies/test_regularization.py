from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import pytest
import torch
from loops import sgd, step_once, train
from torch import Tensor, nn

from schedengine import PruningScheduler
from schedengine.errors import SchedEngineError
from schedengine.granularity import Element, Filter
from schedengine.masks import Applied, MaskStore
from schedengine.policies.regularization import RegularizationPolicy, last_step
from schedengine.progress import Moment, Occasions, Window
from schedengine.regularizers import PENALTIES, THRESHOLDS
from schedengine.regularizers.bound import BoundRegularizer
from schedengine.regularizers.penalties import L1, GroupLasso
from schedengine.regularizers.regularizer import Regularizer
from schedengine.regularizers.strengths import Constant
from schedengine.regularizers.thresholds import MeanAbs
from schedengine.selection import ParameterTable

EPOCHS = 4
FILTERS = "0.weight"


def model(seed: int = 0) -> nn.Sequential:
    """No normalisation: after a convolution of zeros it would make the next update a hundred times as large."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 5))


def epochs(start: int, stop: int, every: int = 1) -> Window:
    return Window(Moment(Fraction(start)), Moment(Fraction(stop)), Moment(Fraction(every)))


def strong(limit: float = 0.5, strength: float = 0.01) -> BoundRegularizer:
    """On the three filters of the model, whose weights are below 0.24: all go after every update."""
    spec = Regularizer(GroupLasso(), Constant(strength), granularity=Filter(), threshold=MeanAbs(limit))
    return BoundRegularizer("r", spec, [FILTERS], None)


class Run:
    """A model under one regularizer, trained by the plain loop; filters that are 0, after each step."""

    def __init__(self, regularizer: BoundRegularizer, *windows: Window, keep_mask: bool = False, seed: int = 0) -> None:
        self.model = model(seed)
        self.optimizer = sgd(self.model, lr=0.05)
        self.policy = RegularizationPolicy(regularizer, Occasions(windows), keep_mask=keep_mask)
        table = ParameterTable(self.model)
        parts: Any = (self.model, self.optimizer, [self.policy], {}, table, MaskStore(table))
        self.scheduler = PruningScheduler(*parts)
        self.gone: dict[tuple[int, int], int] = {}

    def train(self, *numbers: int) -> Run:
        def note(epoch: int, step: int) -> None:
            self.gone[epoch, step] = 3 - int(self.filters.flatten(1).any(dim=1).sum())

        for epoch in numbers or range(EPOCHS):
            train(self.scheduler, self.model, self.optimizer, epochs=range(epoch, epoch + 1), after_step=note)
        return self

    @property
    def filters(self) -> Tensor:
        return self.scheduler._context.table[FILTERS].detach()


def test_groups_are_0_after_every_update_of_the_window() -> None:
    run = Run(strong(), epochs(0, 2)).train(0, 1)
    assert run.gone[1, 3] == 3 and not run.scheduler.masks.names


def test_groups_grow_again_after_the_window() -> None:
    run = Run(strong(), epochs(0, 2)).train(0, 1, 2)
    assert run.gone[1, 3] == 3 and run.gone[2, 0] == 0


def test_with_keep_mask_they_stay_0() -> None:
    run = Run(strong(), epochs(0, 2), keep_mask=True).train()
    assert [run.gone[epoch, 3] for epoch in (1, 2, 3)] == [3, 3, 3]
    assert run.scheduler.masks.violations() == {}
    assert run.policy.regularizer.gone == {FILTERS: 3}


def test_a_mask_that_is_kept_holds_before_the_evaluation_of_its_epoch() -> None:
    run = Run(strong(), epochs(0, 1), keep_mask=True)
    run.scheduler.on_epoch_begin(0)
    owners = []
    for step in range(4):
        step_once(run.scheduler, run.model, run.optimizer, 0, step, 4)
        owners.append(run.scheduler.masks.owned("regularizers.r", FILTERS) is not None)
    assert owners == [False, False, False, True]
    assert not run.scheduler.masks.is_pending and not run.filters.any()


def test_what_is_kept_has_no_momentum() -> None:
    run = Run(strong(), epochs(0, 1), keep_mask=True)
    run.train(0)
    parameter = run.scheduler._context.table[FILTERS]
    assert not run.optimizer.state[parameter]["momentum_buffer"].any()


def test_a_group_above_its_limit_is_not_kept_at_0() -> None:
    """The first filter is above the limit, the others are 0."""
    run = Run(strong(strength=0.0), epochs(0, 1), keep_mask=True)
    with torch.no_grad():
        run.scheduler._context.table[FILTERS][0].fill_(1.0)
        run.scheduler._context.table[FILTERS][1:].fill_(0.0)
    run.optimizer.param_groups[0]["lr"] = 1e-6
    run.train()
    assert run.policy.regularizer.gone == {FILTERS: 2}
    assert run.filters.flatten(1).any(dim=1).tolist() == [True, False, False]


def test_each_of_several_windows_keeps_its_mask() -> None:
    run = Run(strong(), epochs(0, 1), epochs(2, 3), keep_mask=True).train(0)
    first = run.scheduler.masks.in_force(FILTERS)
    run.train(1, 2)
    assert not (run.scheduler.masks.in_force(FILTERS) & ~first).any()


@pytest.mark.parametrize(
    "window, expected",
    [
        (epochs(0, 3), 11),
        (epochs(1, 3, 1), 11),
        (epochs(0, 4, 3), 15),
        (epochs(0, 5, 3), 15),
        (Window(Moment(Fraction(0)), Moment(Fraction(5, 2)), Moment(Fraction(1))), 9),
        (Window(Moment(steps=2), Moment(steps=7), Moment(Fraction(1))), 6),
    ],
)
def test_the_last_step_is_that_of_the_last_active_epoch(window: Window, expected: int) -> None:
    """Four steps an epoch; every third of 5 epochs: 0 and 3, so epoch 4 is none of the window's."""
    assert last_step(window, 4) == expected


def test_keep_mask_needs_a_threshold() -> None:
    spec = Regularizer(L1(), Constant(0.1))
    with pytest.raises(SchedEngineError, match="'r' has none; add 'threshold: mean_abs'"):
        RegularizationPolicy(BoundRegularizer("r", spec, [FILTERS], None), Occasions(()), keep_mask=True)


def test_a_regularizer_that_set_nothing_to_0_says_so_and_how_near_it_came() -> None:
    run = Run(strong(limit=1e-6, strength=0.0), epochs(0, 2), keep_mask=True).train()
    message = run.policy.shortfall()
    assert message is not None and "'r' set nothing to 0" in message
    assert f"nearest was {FILTERS}, with 0." in message and "a limit of 1e-06" in message
    assert not run.scheduler.masks.names


def test_a_window_that_does_not_end_within_the_run_is_told() -> None:
    message = Run(strong(), epochs(0, 9), keep_mask=True).train().policy.shortfall()
    assert message is not None and "kept no mask: the run ended before its window did" in message


@pytest.mark.parametrize("keep_mask", [True, False])
def test_a_regularizer_that_did_its_work_has_nothing_to_say(keep_mask: bool) -> None:
    assert Run(strong(), epochs(0, 2), keep_mask=keep_mask).train().policy.shortfall() is None


@pytest.mark.parametrize("mode", ["hidden", "dense"])
def test_keeping_a_mask_drops_the_values_that_a_pruner_kept(mode: Any) -> None:
    run = Run(strong(), epochs(0, 1), keep_mask=True)
    mask = torch.ones(3, 2, 3, 3, dtype=torch.bool)
    mask[:, :, 0] = False
    run.scheduler.masks.set_("p", FILTERS, mask, Applied(mode))
    run.train()
    assert run.scheduler.masks.owned("p", FILTERS) is mask
    assert run.gone[0, 3] == run.gone[3, 3] == 3
    assert not run.scheduler.masks.weight(FILTERS).any() and run.scheduler.masks.violations() == {}


@pytest.mark.parametrize("mode", ["zero", "hidden", "dense"])
def test_the_pruned_weights_of_another_stay_0_while_groups_regrow(mode: Any) -> None:
    run = Run(strong(), epochs(0, 2))
    mask = torch.ones(3, 2, 3, 3, dtype=torch.bool)
    mask[:, :, 0] = False
    run.scheduler.masks.set_("p", FILTERS, mask, Applied(mode))
    run.train(0, 1, 2)
    assert run.gone[1, 3] == 3 and run.gone[2, 3] == 0
    assert not run.filters[:, :, 0].any()


def saved(run: Run) -> list[Any]:
    file = io.BytesIO()
    torch.save([part.state_dict() for part in (run.model, run.optimizer, run.scheduler)], file)
    file.seek(0)
    parts: list[Any] = torch.load(file, weights_only=True)
    return parts


@pytest.mark.parametrize("penalty", PENALTIES.names())
@pytest.mark.parametrize("word", THRESHOLDS.names())
@pytest.mark.parametrize("stop_after", [1, 3])
def test_a_resumed_run_ends_where_the_whole_run_ends(penalty: str, word: str, stop_after: int) -> None:
    def make(seed: int = 0) -> Run:
        threshold = THRESHOLDS.get(word)(0.12)
        parts = (PENALTIES.get(penalty)(), Constant(0.01))
        spec = Regularizer(*parts, granularity=Filter(), threshold=threshold)
        return Run(BoundRegularizer("r", spec, [FILTERS, "4.weight"], None), epochs(0, 3), keep_mask=True, seed=seed)

    whole, stopped, resumed = make().train(), make().train(*range(stop_after)), make(seed=9)
    for part, state in zip((resumed.model, resumed.optimizer, resumed.scheduler), saved(stopped), strict=True):
        part.load_state_dict(state)
    resumed.train(*range(stop_after, EPOCHS))
    for name, value in whole.model.state_dict().items():
        assert value.equal(resumed.model.state_dict()[name]), name
        assert value.isfinite().all()
    assert resumed.policy.regularizer.gone == whole.policy.regularizer.gone
    assert resumed.policy.shortfall() == whole.policy.shortfall()


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("penalty", PENALTIES.names())
def test_every_penalty_survives_awkward_weights(penalty: str, value: float) -> None:
    """All equal, all 0, and a single weight; no gradient is nan."""
    layers = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False))
    for parameter in layers.parameters():
        nn.init.constant_(parameter, value)
    spec = Regularizer(PENALTIES.get(penalty)(), Constant(1.0), granularity=Element(), threshold=MeanAbs())
    regularizer = BoundRegularizer("r", spec, ["0.weight", "1.weight"], None)
    table = ParameterTable(layers)
    regularizer.penalty(table, 0.0).backward()
    regularizer.threshold_(table, MaskStore(table), 0.0)
    assert all(one.grad is None or bool(one.grad.isfinite().all()) for one in layers.parameters())
    assert not any(one.any() for one in layers.parameters())
