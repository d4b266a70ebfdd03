"""What pruners do in a loop: counts, nesting, updates, effects."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model, train
from torch import nn

from schedengine import EffectError, PruningScheduler, ScheduleError, load_schedule
from schedengine.errors import EffectWarning

CONV, FC = "0.weight", "5.weight"  # 54 and 240 weights


def run(
    axes: dict[str, Any], policy: dict[str, Any], epochs: int = 4, **sections: Any
) -> tuple[PruningScheduler, nn.Module]:
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner(axes, policy, **sections).bind(model, optimizer, epochs=epochs)
    train(scheduler, model, optimizer)
    return scheduler, model


def zeros(model: nn.Module, name: str) -> int:
    weight = dict(model.named_parameters())[name]
    return weight.numel() - int(weight.count_nonzero())


def test_a_global_cut_removes_exactly_the_target() -> None:
    scheduler, model = run({"sparsity": 0.5}, {"at": "start"})
    assert zeros(model, CONV) + zeros(model, FC) == 147
    assert scheduler.cuts[0].removed == scheduler.cuts[0].asked == 147


def test_a_uniform_cut_removes_the_target_of_each_parameter() -> None:
    _, model = run({"sparsity": 0.5, "allocation": "uniform"}, {"at": "start"})
    assert (zeros(model, CONV), zeros(model, FC)) == (27, 120)


def test_levels_by_name_are_met() -> None:
    axes = {"allocation": {CONV: 0.25, "5.*": 0.75}, "sparsity": {"ramp": "constant"}}
    _, model = run(axes, {"at": "start"})
    assert (zeros(model, CONV), zeros(model, FC)) == (14, 180)  # 13.5 rounds half up


def test_biases_and_normalisation_are_left_alone() -> None:
    _, model = run({"sparsity": 0.9}, {"at": "start"})
    assert zeros(model, "5.bias") == zeros(model, "1.weight") == 0


def test_a_cubic_ramp_follows_its_formula() -> None:
    scheduler, _ = run({"sparsity": {"ramp": "cubic", "to": 0.9}}, {"during": "run"}, epochs=5)
    assert [round(cut.target or 0, 4) for cut in scheduler.cuts] == [0.4392, 0.7056, 0.8424, 0.8928, 0.9]
    assert [cut.removed for cut in scheduler.cuts] == [129, 207, 248, 262, 265]


def test_shrinking_masks_are_nested() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = one_pruner({"sparsity": {"ramp": "linear", "to": 0.8}}, {"during": "run"}).bind(
        model, optimizer, epochs=4
    )
    seen: list[torch.Tensor] = []

    def look(epoch: int, step: int) -> None:
        mask = scheduler.masks.mask(FC)
        assert mask is not None
        assert not seen or not bool((mask & ~seen[-1]).any())
        seen.append(mask)

    train(scheduler, model, optimizer, after_step=look)


def test_pruned_weights_stay_zero_under_momentum_and_weight_decay() -> None:
    model = small_model()
    optimizer = sgd(model, weight_decay=0.1)
    scheduler = one_pruner({"sparsity": 0.5}, {"at": 1}).bind(model, optimizer, epochs=3)

    def look(epoch: int, step: int) -> None:
        assert epoch < 1 or zeros(model, CONV) + zeros(model, FC) == 147

    train(scheduler, model, optimizer, after_step=look)


def test_cuts_on_steps_are_counted_over_the_run() -> None:
    scheduler, _ = run({"sparsity": {"ramp": "linear", "to": 0.8}}, {"during": "run", "every": "3st"}, epochs=2)
    assert [(cut.epoch, cut.step, cut.number, cut.count) for cut in scheduler.cuts] == [
        (0, 0, 1, 3),
        (0, 3, 2, 3),
        (1, 2, 3, 3),
    ]


def test_a_ramp_can_move_more_slowly_than_the_cuts() -> None:
    axes = {"sparsity": {"ramp": "linear", "to": 0.8, "every": 2}, "update": "reselect", "pruned": "dense"}
    scheduler, _ = run(axes, {"during": "run", "every": "2st"}, epochs=4)
    assert [cut.target for cut in scheduler.cuts] == pytest.approx([0.4, 0.8])


def test_the_last_cut_reaches_the_target_though_the_ramp_would_have_moved_after_it() -> None:
    axes = {"sparsity": {"ramp": "linear", "to": 0.8, "every": 1}, "update": "reselect"}
    scheduler, _ = run(axes, {"during": "run", "every": "6st"}, epochs=4)  # cuts at steps 0, 6 and 12 of 16
    assert [cut.target for cut in scheduler.cuts] == pytest.approx([0.2, 0.4, 0.8])


def test_two_policies_of_a_pruner_are_counted_together() -> None:
    model = small_model()
    optimizer = sgd(model)
    schedule = one_pruner({"sparsity": {"ramp": "geometric", "to": 0.9}}, {"at": [0, 1]})
    schedule = type(schedule)(
        pruners=schedule.pruners,
        policies=(*schedule.policies, one_pruner({"sparsity": 0.1}, {"at": 3}).policies[0]),
    )
    scheduler = schedule.bind(model, optimizer, epochs=4)
    train(scheduler, model, optimizer)
    assert [(cut.epoch, cut.number, cut.count) for cut in scheduler.cuts] == [(0, 1, 3), (1, 2, 3), (3, 3, 3)]
    assert scheduler.cuts[-1].target == 0.9


def test_a_cut_at_the_end_of_the_run_comes_after_the_last_step() -> None:
    scheduler, model = run({"sparsity": 0.5}, {"at": "end"})
    assert [(cut.epoch, cut.step) for cut in scheduler.cuts] == [(3, None)]
    assert zeros(model, CONV) + zeros(model, FC) == 147


def test_dense_pruning_may_reselect() -> None:
    """With the gradient reaching pruned weights, some of them grow back."""
    axes = {"sparsity": 0.5, "update": "reselect", "pruned": "dense"}
    model = small_model()
    optimizer = sgd(model, lr=0.5)
    scheduler = one_pruner(axes, {"during": "run"}).bind(model, optimizer, epochs=5)
    masks = []
    for epoch in scheduler.epochs():
        train(scheduler, model, optimizer, epochs=range(epoch, epoch + 1))
        masks.append(scheduler.masks.mask(FC))
    assert bool((masks[-1] & ~masks[0]).any())  # type: ignore[operator]
    assert zeros(model, CONV) + zeros(model, FC) == 147


def test_the_std_threshold_is_measured_once() -> None:
    scheduler, _ = run({"threshold": {"std": 1.0}, "update": "reselect", "pruned": "dense"}, {"during": "run"})
    model = small_model()
    expected = sum(int((w.abs() <= w.std()).sum()) for w in (model[0].weight, model[5].weight))  # type: ignore[arg-type]
    assert scheduler.cuts[0].removed == expected
    state = scheduler.state_dict()["policies"][0]["measured"]
    assert state[CONV] == pytest.approx([float(model[0].weight.detach().std())])  # type: ignore[arg-type]


def test_an_absolute_threshold_removes_what_is_at_or_below_it() -> None:
    model = nn.Linear(4, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, -0.2, 0.3, -0.4]]))
    scheduler = one_pruner({"threshold": 0.2}, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    assert model.weight.tolist() == [[0.0, 0.0, pytest.approx(0.3), pytest.approx(-0.4)]]


def test_every_parameter_keeps_one_group() -> None:
    model = nn.Linear(1, 1, bias=False)
    scheduler = one_pruner({"sparsity": 0.9, "optional": True}, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    assert model.weight.count_nonzero() == 1 and scheduler.cuts[0].removed == 0


def test_targets_start_from_what_is_sparse_already() -> None:
    """1 - (1 - s0)((1 - s)/(1 - s0))^(j/J) with s0 = 0.5, s = 0.9, J = 2: 0.7764, 0.9."""
    model = nn.Linear(100, 10, bias=False)
    with torch.no_grad():
        model.weight[:, :50] = 0
    scheduler = one_pruner({"sparsity": {"ramp": "geometric", "to": 0.9}}, {"during": "run"}).bind(model, epochs=2)
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
    assert [cut.removed for cut in scheduler.cuts] == [776, 900]


def test_filters_go_as_a_whole() -> None:
    axes = {"parameters": CONV, "granularity": "filter", "sparsity": 0.34}
    _, model = run(axes, {"at": "start"})
    weight = dict(model.named_parameters())[CONV]
    assert sorted(int(row.count_nonzero()) for row in weight.flatten(1)) == [0, 18, 18]


def test_random_masks_are_the_same_for_the_same_seed() -> None:
    axes = {"criterion": {"random": {"seed": 3}}, "sparsity": 0.5}
    first, second = run(axes, {"at": "start"})[0], run(axes, {"at": "start"})[0]
    assert first.masks.mask(FC).equal(second.masks.mask(FC))  # type: ignore[union-attr, arg-type]
    other = run({**axes, "criterion": {"random": {"seed": 4}}}, {"at": "start"})[0]
    assert not first.masks.mask(FC).equal(other.masks.mask(FC))  # type: ignore[union-attr, arg-type]


def test_two_pruners_on_two_layers_do_not_meet() -> None:
    model = small_model()
    scheduler = one_pruner({"parameters": CONV, "sparsity": 0.5}, {"at": "start"})
    schedule = type(scheduler)(
        pruners={
            **scheduler.pruners,
            "q": one_pruner({"parameters": FC, "sparsity": 0.25}, {"at": "start"}).pruners["p"],
        },
        policies=(*scheduler.policies, type(scheduler.policies[0])(pruner="q", at=("start",))),
    )
    schedule.bind(model, epochs=1).on_epoch_begin(0)
    assert (zeros(model, CONV), zeros(model, FC)) == (27, 60)


def test_overlapping_policies_of_a_pruner_are_an_error() -> None:
    first = one_pruner({"sparsity": 0.5}, {"during": "run", "until": 5})
    second = one_pruner({"sparsity": 0.5}, {"during": "run", "from": 4})
    schedule = type(first)(pruners=first.pruners, policies=(*first.policies, *second.policies))
    with pytest.raises(ScheduleError, match=r"policies\[1\]: overlaps in time"):
        schedule.bind(small_model(), epochs=9)


def test_the_end_of_a_phase_counts_for_a_slow_ramp() -> None:
    axes = {"sparsity": {"ramp": "linear", "to": 0.8, "every": 1}}
    scheduler, _ = run(axes, {"at": "end"}, epochs=2)
    assert scheduler.cuts[0].target == 0.8


def test_momentum_of_pruned_weights_lives_on_where_they_train_on() -> None:
    """Dynamic pruning with feedback has dense momentum; zeroed weights have none."""
    for pruned, is_kept in (("dense", True), ("zero", False)):
        model = small_model()
        optimizer = sgd(model)
        scheduler = one_pruner({"sparsity": 0.5, "pruned": pruned}, {"at": 1}).bind(model, optimizer, epochs=2)
        train(scheduler, model, optimizer, epochs=range(1))
        scheduler.on_epoch_begin(1)
        mask = scheduler.masks.mask(FC)
        momentum = optimizer.state[dict(model.named_parameters())[FC]]["momentum_buffer"]
        assert mask is not None and bool((momentum[~mask] != 0).any()) == is_kept


def test_a_layer_of_zeros_only_is_not_sparse_yet() -> None:
    model = small_model()
    nn.init.zeros_(dict(model.named_parameters())[FC])
    scheduler = one_pruner({"sparsity": 0.2}, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    assert scheduler.cuts[0].asked == 59  # 0.2 of 294


def test_two_treatments_of_one_parameter_are_an_error() -> None:
    first = one_pruner({"sparsity": 0.5}, {"at": 0})
    second = load_schedule(
        {"version": 2, "pruners": {"q": {"sparsity": 0.5, "pruned": "dense"}}, "policies": [{"pruner": "q", "at": 1}]}
    )
    both = type(first)(pruners={**first.pruners, **second.pruners}, policies=(*first.policies, *second.policies))
    with pytest.raises(ScheduleError, match=r"pruners.q.pruned: is dense, and 'p'"):
        both.bind(small_model(), epochs=2)


# --- effects ----------------------------------------------------------------------------------------------------------


def test_a_revived_weight_is_an_error_at_the_end_of_the_epoch() -> None:
    model = small_model()
    scheduler = one_pruner({"sparsity": 0.5}, {"at": "start"}).bind(model, epochs=2)
    scheduler.on_epoch_begin(0)
    with torch.no_grad():
        model[5].weight.fill_(1.0)  # type: ignore[union-attr, operator]
    with pytest.raises(EffectError, match="5.weight: .* pruned weights are not 0"):
        scheduler.on_epoch_end(0)


def test_a_skipped_cut_is_an_error_at_the_end_of_the_run() -> None:
    model = small_model()
    scheduler = one_pruner({"sparsity": 0.5}, {"at": 1}).bind(model, epochs=2)
    with pytest.raises(EffectError, match="pruner 'p' never cut"):
        scheduler.on_epoch_end(1)


@pytest.mark.parametrize("policy", [{"at": [0, 7]}, {"at": "8st"}, {"during": "run", "until": 3}])
def test_a_cut_past_the_end_of_the_run_is_an_error_before_it(policy: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError, match="has cuts that a run of 2 epochs ends before"):
        one_pruner({"sparsity": 0.5}, policy).bind(small_model(), epochs=2, steps_per_epoch=4)


@pytest.mark.parametrize("policy", [{"at": "end"}, {"at": "7st"}, {"during": "run", "from": 1, "until": 3, "every": 2}])
def test_a_window_may_end_after_the_run_if_its_cuts_do_not(policy: dict[str, Any]) -> None:
    one_pruner({"sparsity": 0.5}, policy).bind(small_model(), epochs=2, steps_per_epoch=4)


def test_a_missed_cut_is_an_error_at_the_end_of_the_run() -> None:
    model = small_model()
    scheduler = one_pruner({"sparsity": 0.5}, {"at": ["0st", "7st"]}).bind(model, epochs=1)  # 4 steps an epoch
    with pytest.raises(EffectError, match="1 of its 2 cuts"):
        train(scheduler, model, sgd(model))


def test_weights_that_regrew_by_the_end_of_the_run_are_an_error() -> None:
    with pytest.raises(EffectError, match="0 are 0 at the end of the run; keep_mask: true makes them so"):
        run({"sparsity": 0.5, "pruned": "forward", "criterion": "random"}, {"at": "start"})


@pytest.mark.parametrize(
    "policy",
    [{"during": "run", "until": "6st", "every": "1st"}, {"at": "2st"}, {"at": "0.5ep"}, {"at": "end"}, {"at": 1},
     {"during": "run", "until": 2, "every": 1}],
)  # fmt: skip
def test_keep_mask_makes_masks_hold_after_any_window(policy: dict[str, Any]) -> None:
    scheduler, model = run({"sparsity": 0.5, "pruned": "dense"}, {**policy, "keep_mask": True})
    assert scheduler.masks.weight(FC) is not None and not scheduler.masks.state_dict()["masters"]
    assert zeros(model, CONV) + zeros(model, FC) == 147


def test_a_cut_at_the_end_takes_effect_at_once() -> None:
    _, model = run({"sparsity": 0.5, "apply": "step"}, {"at": "end"})
    assert zeros(model, CONV) + zeros(model, FC) == 147


def test_levels_start_from_the_sparsity_of_each_parameter() -> None:
    model = small_model()
    with torch.no_grad():
        model[5].weight.view(-1)[:216] = 0.0  # type: ignore[operator, union-attr]
    levels = {"allocation": {CONV: 0.25, FC: 0.95}, "sparsity": {"ramp": "constant"}}
    one_pruner(levels, {"at": "start"}).bind(model, epochs=1).on_epoch_begin(0)
    assert (zeros(model, CONV), zeros(model, FC)) == (14, 228)


def test_the_weights_that_must_stay_are_none_that_were_pruned() -> None:
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    scheduler = one_pruner({"threshold": 2.5, "pruned": "dense"}, {"during": "run"}).bind(layer, epochs=2)
    scheduler.on_epoch_begin(0)
    scheduler.masks.weight("weight").copy_(torch.tensor([[5.0, 1.0, 1.0, 2.0]]))
    scheduler.on_epoch_begin(1)
    mask = scheduler.masks.mask("weight")
    assert mask is not None and mask.tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("at", [1, [0, 1]])
def test_an_instant_in_another_policys_window_is_refused(at: object) -> None:
    policies = [{"pruner": "p", "during": "run"}, {"pruner": "p", "at": at}]
    schedule = load_schedule({"version": 2, "pruners": {"p": {"sparsity": 0.5}}, "policies": policies})
    with pytest.raises(ScheduleError, match=r"policies\[1\]: overlaps in time with another policy of pruner 'p'"):
        schedule.bind(small_model(), epochs=3)


def test_a_policy_that_overlaps_itself_is_refused() -> None:
    schedule = one_pruner(
        {"sparsity": 0.5}, {"during": ["run", "b"]}, phases=[{"name": "b", "epochs": 2}, {"name": "c", "epochs": 1}]
    )
    with pytest.raises(ScheduleError, match=r"policies\[0\]: overlaps in time with itself"):
        schedule.bind(small_model())


def test_optional_softens_an_error_to_a_warning() -> None:
    model = small_model()
    scheduler = one_pruner({"sparsity": 0.5, "optional": True}, {"at": 7}).bind(model, epochs=1)
    with pytest.warns(EffectWarning, match="never cut"):
        scheduler.on_epoch_end(0)


def test_a_threshold_that_removes_nothing_is_an_error() -> None:
    with pytest.raises(EffectError, match="removed nothing"):
        run({"threshold": 0.0}, {"at": "start"})


def test_a_target_that_rounds_to_none_is_no_error() -> None:
    scheduler, _ = run({"sparsity": 0.001}, {"at": "start"})
    assert scheduler.cuts[0].removed == 0


def test_a_nan_weight_is_an_error_at_the_cut() -> None:
    model = small_model()
    with torch.no_grad():
        model[5].weight[0, 0] = float("nan")  # type: ignore[union-attr, index]
    scheduler = one_pruner({"sparsity": 0.5}, {"at": "start"}).bind(model, epochs=1)
    with pytest.raises(Exception, match="5.weight.*finite"):
        scheduler.on_epoch_begin(0)


def test_a_granularity_that_does_not_fit_is_an_error_with_the_parameter() -> None:
    with pytest.raises(ScheduleError, match=r"pruners.p.granularity: 5.weight: "):
        run({"granularity": "kernel", "sparsity": 0.5}, {"at": "start"})


def test_an_allocation_that_cannot_reach_the_target_is_an_error_before_training() -> None:
    with pytest.raises(ScheduleError, match="uniform_plus"):
        run({"allocation": "uniform_plus", "sparsity": 0.95}, {"at": "start"})


@pytest.mark.parametrize(
    "axes",
    [
        {"parameters": FC, "granularity": "tensor", "sparsity": 0.8},
        {"min_keep": 100, "sparsity": 0.8},
        {"granularity": "filter", "allocation": {CONV: 0.9}, "sparsity": {"ramp": "constant"}},
    ],
    ids=["one group", "min_keep", "few filters"],
)
def test_a_target_that_protected_groups_forbid_is_an_error_before_training(axes: dict[str, Any]) -> None:
    with pytest.raises(ScheduleError, match=r"pruners.p.sparsity: asks .* of these weights to be gone, and .* can go"):
        run(axes, {"at": "start"})
    assert run({**axes, "optional": True}, {"at": "start"})[0].cuts


def test_a_list_that_falls_needs_reselection() -> None:
    with pytest.raises(ScheduleError, match="the list falls"):
        one_pruner({"sparsity": {"list": [0.5, 0.3]}}, {"at": [0, 1]})
    one_pruner({"sparsity": {"list": [0.5, 0.3]}, "update": "reselect", "pruned": "dense"}, {"at": [0, 1]})


def test_a_list_of_another_length_is_an_error_before_training() -> None:
    with pytest.raises(ScheduleError, match="2 values for 4 cuts"):
        run({"sparsity": {"ramp": "list", "values": [0.2, 0.4]}}, {"during": "run"})


def test_no_warning_escapes_a_normal_run() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run({"sparsity": {"ramp": "cubic", "to": 0.9}}, {"during": "run"})


def test_single_zeros_are_no_filters_that_are_gone() -> None:
    """A network pruned weight by weight, whose filters are pruned next, starts from no filter gone."""
    model = nn.Sequential(nn.Conv2d(2, 8, 3, bias=False))
    with torch.no_grad():
        model[0].weight[:, 0] = 0
        model[0].weight[0] = 0
    axes = {"granularity": "filter", "allocation": "uniform", "sparsity": {"ramp": "linear", "to": 0.5}}
    scheduler = one_pruner(axes, {"at": [0, 1]}).bind(model, epochs=2)
    scheduler.on_epoch_begin(0)
    assert scheduler.cuts[0].target == pytest.approx(0.125 + (0.5 - 0.125) / 2)
