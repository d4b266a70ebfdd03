"""Distiller's dialect: each of its classes is rewritten onto our axes, and acts when Distiller acts.

Numbers marked "run" were read off Distiller d859fc85 itself.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from schedengine.errors import ScheduleError, ScheduleWarning
from schedengine.schedule.load import load_schedule
from schedengine.scheduler import PruningScheduler

COUNTS = "update: reselect, masks: replace, apply: step, optimizer_state: keep, min_keep: 0, counted: current"
RANKS = f"{COUNTS}, rounding: floor, ties: all"
WHEN = "starting_epoch: 0, ending_epoch: 10, frequency: 2"


def version1(pruner: str, when: str = WHEN, args: str = "") -> str:
    block = f"instance_name: p, args: {{{args}}}" if args else "instance_name: p"
    return f"version: 1\npruners: {{p: {{{pruner}}}}}\npolicies: [{{pruner: {{{block}}}, {when}}}]\n"


def version2(pruner: str, when: str = "during: run, from: 0, until: 10, every: 2") -> str:
    return f"version: 2\neffects: warn\npruners: {{p: {{{pruner}}}}}\npolicies: [{{pruner: p, {when}}}]\n"


def refusal(text: str) -> str:
    with pytest.raises(ScheduleError) as caught:
        load_schedule(text)
    return str(caught.value).replace("<text>:", "")


def run(text: str, epochs: int, *, metrics: list[float] | None = None) -> tuple[PruningScheduler, list[float]]:
    """Three steps an epoch on 1,000 distinct weights at a base rate of 0.1; the rate of each epoch."""
    model = nn.Linear(100, 10)
    model.weight.data = torch.arange(1, 1001.0).reshape(10, 100)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = load_schedule(text).bind(model, optimizer, epochs=epochs)
    rates = []
    for epoch in range(epochs):
        scheduler.on_epoch_begin(epoch)
        for step in range(3):
            scheduler.on_minibatch_begin(epoch, step, 3)
            scheduler.on_minibatch_end(epoch, step, 3)
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.on_epoch_end(epoch, metrics={"min": metrics[epoch]} if metrics else None)
    return scheduler, rates


# --- pruners ---------------------------------------------------------------------------------------------------------

AGP = "class: AutomatedGradualPruner, initial_sparsity: 0.05, final_sparsity: 0.8, weights: [weight]"
AGP_RAMP = "sparsity: {ramp: cubic, from: 0.05, to: 0.8, first: from}"
L2 = "{magnitude: l2}"
L1 = "class: L1RankedStructureParameterPruner, desired_sparsity: 0.3, weights: [a]"
RANDOM = "class: RandomLevelStructureParameterPruner, group_type: Filters, weights: [a]"
SPLICING = "class: SplicingPruner, sensitivities: {a: 0.1}"
BAIDU = "class: BaiduRNNPruner, ramp_epoch_offset: 3, ramp_slope_mult: 2, weights: [a]"
STRUCTURE = "class: StructureParameterPruner, threshold_criteria: Max"
FILTERS = "group_type: 3D, weights: [a, b]"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (AGP, f"parameters: [weight], allocation: uniform, {AGP_RAMP}, {RANKS}"),
        ("class: SparsityLevelParameterPruner, levels: {a: 0.5, '*': 0.25}",
         f"allocation: {{a: 0.5, '*': 0.25}}, sparsity: constant, {RANKS}"),
        ("class: SparsityLevelParameterPruner, levels: {a: 0.5, '*': 0}",
         f"allocation: {{a: 0.5}}, sparsity: constant, {RANKS}"),
        ("class: SensitivityPruner, sensitivities: {a: 0.5, '*': 1}",
         f"threshold: {{std: {{a: 0.5, '*': 1}}}}, {COUNTS}"),
        ("class: MagnitudeParameterPruner, thresholds: {a: 0.5, '*': 0}",
         f"threshold: {{absolute: {{a: 0.5, '*': 0}}}}, {COUNTS}"),
        (f"class: L1RankedStructureParameterPruner, desired_sparsity: 0.3, {FILTERS}",
         f"parameters: [a, b], granularity: filter, allocation: uniform, sparsity: 0.3, {RANKS}"),
        ("class: L2RankedStructureParameterPruner, desired_sparsity: 0.3, group_type: Channels, weights: [a]",
         f"parameters: a, criterion: {L2}, granularity: channel, allocation: uniform, sparsity: 0.3, {RANKS}"),
        (f"class: L1RankedStructureParameterPruner_AGP, initial_sparsity: 0.05, final_sparsity: 0.8, {FILTERS}",
         f"parameters: [a, b], granularity: filter, allocation: uniform, {AGP_RAMP}, {RANKS}"),
        ("class: RandomRankedFilterPruner, desired_sparsity: 0.3, group_type: Filters, weights: [a]",
         f"parameters: a, criterion: random, granularity: filter, allocation: uniform, sparsity: 0.3, {RANKS}"),
        (f"{SPLICING}, low_thresh_mult: 0.5, hi_thresh_mult: 2, sensitivity_multiplier: 0.1",
         "threshold: {spread: {by_name: {a: 0.1}, growth: 0.1}}, "
         f"{COUNTS.replace('reselect', '{splice: {low: 0.5, high: 2}}')}"),
        (f"{BAIDU}, q: 0.2", "parameters: [a], threshold: {rising: {by_name: 0.2, after: 3, steeper: 2}}, "
         f"{COUNTS}"),
        (f"{STRUCTURE}, reg_regims: {{a: [0.1, 2D], b: [0.2, 2D]}}",
         "criterion: {magnitude: {norm: max}}, granularity: kernel, threshold: {absolute: {a: 0.1, b: 0.2}}, "
         f"{COUNTS}"),
        (f"{L1}, group_type: Blocks, kwargs: {{block_shape: [2, 8, 1, 1]}}",
         f"parameters: [a], granularity: {{consecutive: 16}}, allocation: uniform, sparsity: 0.3, {RANKS}"),
        (f"{L1}, group_type: Blocks, kwargs: {{block_shape: [4, 1, 1, 1]}}",
         f"parameters: [a], granularity: {{block: [4]}}, allocation: uniform, sparsity: 0.3, {RANKS}"),
        (f"{L1}, group_type: 3D, group_dependency: Leader, noise: 0.0, group_size: 1, kwargs: null",
         f"parameters: [a], granularity: filter, together: leader, allocation: uniform, sparsity: 0.3, {RANKS}"),
        (f"{RANDOM}, sparsity_range: [0.1, 0.2]",
         f"granularity: filter, allocation: {{a: 0.2}}, sparsity: {{ramp: random, from: 0.1}}, {RANKS}"),
        (f"{RANDOM}, sparsity_range: [0.1, 0.2], group_dependency: Leader",
         "parameters: [a], granularity: filter, together: leader, allocation: uniform, "
         f"sparsity: {{ramp: random, from: 0.1, to: 0.2}}, {RANKS}"),
        ("class: BernoulliFilterPruner, desired_sparsity: 0.3, group_type: Filters, weights: [a]",
         "parameters: a, criterion: random, draw: bernoulli, granularity: filter, allocation: uniform, sparsity: 0.3, "
         f"{RANKS}"),
    ],
)  # fmt: skip
def test_a_pruner_is_rewritten_onto_the_axes(theirs: str, ours: str) -> None:
    assert load_schedule(version1(theirs)) == load_schedule(version2(ours))


def test_rows_of_a_ranker_are_what_the_stored_matrix_calls_columns() -> None:
    schedule = load_schedule(
        version1("class: L1RankedStructureParameterPruner, desired_sparsity: 0.3, group_type: Rows, weights: [a]")
    )
    assert schedule.pruners["p"].granularity.unit((10, 7)) == (10, 1)


def test_agp_goes_from_the_initial_to_the_final_sparsity() -> None:
    scheduler, _ = run(version1(AGP), 10)
    assert [cut.epoch for cut in scheduler.cuts] == [0, 2, 4, 6, 8]
    assert [cut.target for cut in scheduler.cuts] == pytest.approx(
        [0.05, 0.483594, 0.70625, 0.788281, 0.8], abs=1e-6
    )  # run
    assert [cut.removed for cut in scheduler.cuts] == [50, 483, 706, 788, 800]


def test_the_span_of_agp_is_a_multiple_of_the_frequency() -> None:
    scheduler, _ = run(version1(AGP, "starting_epoch: 0, ending_epoch: 11, frequency: 2"), 11)
    assert [cut.target for cut in scheduler.cuts] == pytest.approx(
        [0.05, 0.416, 0.638, 0.752, 0.794, 0.8], abs=1e-6
    )  # run


def test_a_list_of_epochs_is_instants() -> None:
    assert load_schedule(version1(AGP, "epochs: [3, 1, 3]")) == load_schedule(
        version2(f"parameters: [weight], allocation: uniform, {AGP_RAMP}, {RANKS}", "at: [1, 3]")
    )


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ("class: AutomatedGradualPrunr", "2:22: pruners.p.class: unknown class 'AutomatedGradualPrunr'; did you mean"),
        ("class: SplicingPruner", "2:14: pruners.p: needs 'sensitivities'"),
        (AGP.replace("[weight]", "3"), "pruners.p.weights: must be a list of parameter names (got 3)"),
        (AGP.replace(", weights: [weight]", ""), "2:14: pruners.p: needs 'weights'"),
        (AGP.replace("0.05", "0.9"), "pruners.p.final_sparsity: must be above initial_sparsity, 0.9 (got 0.8)"),
        (AGP.replace("0.8", "1.8"), "pruners.p.final_sparsity: must be less than 1 (got 1.8)"),
        (AGP.replace("final_sparsity", "final_sparsty"),
         "pruners.p.final_sparsty: unknown key; did you mean final_sparsity"),
        ("class: MagnitudeParameterPruner, thresholds: {a: 1}", "pruners.p.thresholds: needs '*'"),
        ("class: SensitivityPruner, sensitivities: [a]", "must map parameter names to numbers (got ['a'])"),
        ("class: SensitivityPruner, sensitivities: {a: x}", "pruners.p.sensitivities.a: must be a number (got 'x')"),
        ("class: RandomRankedFilterPruner, desired_sparsity: 1, group_type: Blocks, weights: [a]",
         "pruners.p.group_type: must be one of 3D, Filters (got 'Blocks')"),
        (f"class: L1RankedStructureParameterPruner, desired_sparsity: 0.3, {FILTERS}, noise: 0.1",
         "pruners.p.noise: is not available: scores are not noisy here"),
        (f"{L1}, group_type: 2D",
         "pruners.p.group_type: must be one of 3D, Filters, Channels, Rows, Blocks (got '2D')"),
        (f"{L1}, group_type: Blocks", "2:14: pruners.p: group_type Blocks needs 'kwargs: {block_shape: [r, d, 1, 1]}'"),
        (f"{L1}, group_type: Blocks, kwargs: null", "pruners.p.kwargs: group_type Blocks needs 'kwargs: {block_shape"),
        (f"{L1}, group_type: Blocks, kwargs: {{block_shape: [2, 8]}}",
         "pruners.p.kwargs.block_shape: must be four whole numbers above 0 (got [2, 8])"),
        (f"{L1}, group_type: Blocks, kwargs: {{block_shape: [1, 1, 3, 3]}}",
         "pruners.p.kwargs.block_shape: must end in 1, 1: blocks are of one position each (got [1, 1, 3, 3])"),
        (f"{L1}, group_type: 3D, group_dependency: leader",
         "pruners.p.group_dependency: must be Leader (got 'leader'), or be left out"),
        (f"{L1}, group_type: 3D, group_size: 8", "pruners.p.group_size: cannot be other than 1"),
        (L1.replace("0.3", "{ramp: cubic, to: 0.5}") + ", group_type: 3D",
         "pruners.p.desired_sparsity: must be a number (got {'ramp': 'cubic', 'to': 0.5})"),
        (L1.replace("[a]", "[]") + ", group_type: 3D", "pruners.p.weights: must be a list of parameter names (got [])"),
        (L1.replace("[a]", "[[a]]") + ", group_type: 3D", "must be a list of parameter names (got [['a']])"),
        (f"{RANDOM}, sparsity_range: [0.9]", "pruners.p.sparsity_range: must be [lowest, highest] (got [0.9])"),
        (f"{RANDOM}, sparsity_range: [0.9, 0.1]", "must be [lowest, highest] (got [0.9, 0.1]); swap the two"),
        (f"{RANDOM}, sparsity_range: [x, 0.1]", "pruners.p.sparsity_range[0]: must be a number (got 'x')"),
        (f"{SPLICING}, low_thresh_mult: 2, hi_thresh_mult: 1",
         "pruners.p.hi_thresh_mult: must be at least low_thresh_mult, 2 (got 1)"),
        (f"{BAIDU}, q: {{a: 1}}", "pruners.p.q: must be a number (got {'a': 1})"),
        ("class: MagnitudeParameterPruner, thresholds: [1]", "must map parameter names to numbers (got [1])"),
        (f"{STRUCTURE}, reg_regims: {{a: [0.1, Rows+Cols]}}",
         "pruners.p.reg_regims.a[1]: must be one of 3D, Filters, 2D, Channels, Rows, Cols, 4D (got 'Rows+Cols')"),
        (f"{STRUCTURE}, reg_regims: {{a: 0.1}}", "pruners.p.reg_regims.a: must be [number, group type] (got 0.1)"),
    ],
)  # fmt: skip
def test_a_wrong_pruner_is_refused_in_the_words_of_the_file(pruner: str, message: str) -> None:
    assert message in refusal(version1(pruner))


# --- a pruning policy's args -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "axes", "policy"),
    [
        ("mini_batch_pruning_frequency: 16", "", ", refresh: 16st"),
        ("mini_batch_pruning_frequency: 0", "", ""),
        ("keep_mask: true", "", ", keep_mask: true"),
        ("mask_on_forward_only: true", ", pruned: forward", ""),
        ("mask_on_forward_only: true, use_double_copies: true", ", pruned: dense", ""),
        ("discard_masks_at_minibatch_end: true", ", lasts: step", ""),
        ("fold_batchnorm: true", ", criterion: {magnitude: {folded: true}}", ""),
        ("mask_on_forward_only: true, mask_gradients: true", ", pruned: forward, mask_gradients: true", ""),
    ],
)
def test_args_become_axes_of_the_pruner_and_keys_of_the_policy(args: str, axes: str, policy: str) -> None:
    ours = f"parameters: [weight], allocation: uniform, {AGP_RAMP}, {RANKS}{axes}"
    when = f"during: run, from: 0, until: 10, every: 2{policy}"
    assert load_schedule(version1(AGP, args=args)) == load_schedule(version2(ours, when))


def test_double_copies_alone_are_warned_of() -> None:
    with pytest.warns(ScheduleWarning, match="has no effect without mask_on_forward_only"):
        load_schedule(version1(AGP, args="use_double_copies: true"))


@pytest.mark.parametrize(
    ("args", "message"),
    [("keep_maks: true", "args.keep_maks: unknown argument; did you mean keep_mask"),
     ("keep_mask: 1", "args.keep_mask: must be true or false (got 1)"),
     ("mask_gradients: true", "args.mask_gradients: needs mask_on_forward_only: true beside it"),
     ("skip_first_minibatch: true", "args.skip_first_minibatch: is not available"),
     ("mini_batch_pruning_frequency: -1", "must be a whole number, zero or more (got -1)")],
)  # fmt: skip
def test_wrong_args_are_refused(args: str, message: str) -> None:
    assert message in refusal(version1(AGP, args=args))


def test_a_second_policy_with_other_args_gets_a_pruner_of_its_own() -> None:
    text = version1("class: SparsityLevelParameterPruner, levels: {weight: 0.5}").replace(
        "policies: [", f"policies: [{{pruner: {{instance_name: p, args: {{keep_mask: true}}}}, {WHEN}}}, "
    )
    assert len(load_schedule(text).pruners) == 1
    other = text.replace("keep_mask", "mask_on_forward_only")
    assert [pruner.treatment for pruner in load_schedule(other).pruners.values()] == ["forward", "zero"]


def test_a_policy_without_args_has_the_pruner_as_it_stands() -> None:
    """Though an earlier one ranks folded weights."""
    l2 = L1.replace("L1", "L2") + ", group_type: 3D"
    text = version1(l2, args="fold_batchnorm: true").rstrip("]\n")
    schedule = load_schedule(f"{text}, {{pruner: {{instance_name: p}}, epochs: [20]}}]\n")
    assert [vars(pruner.criterion) for pruner in schedule.pruners.values()] == [
        {"norm": "l2", "reduce": "mean", "folded": True},
        {"norm": "l2", "reduce": "mean", "folded": False},
    ]


def test_a_level_of_0_is_skipped_so_that_it_replaces_no_mask() -> None:
    schedule = load_schedule(version1("class: SparsityLevelParameterPruner, levels: {a: 0.5, b: 0, '*': 0}"))
    assert schedule.pruners["p"].allocation == {"a": 0.5}
    excepted = load_schedule(version1("class: SparsityLevelParameterPruner, levels: {b: 0, '*': 0.5}"))
    assert excepted.pruners["p"].allocation == {"b": 0, "*": 0.5}


@pytest.mark.parametrize(
    ("args", "pruner"),
    [
        ("levels: {a: 0.5}", AGP),
        ("fold_batchnorm: true", L1.replace("L1RankedStructureParameter", "RandomRankedFilter") + ", group_type: 3D"),
    ],
)
def test_args_that_the_class_does_not_read_are_warned_of(args: str, pruner: str) -> None:
    with pytest.warns(ScheduleWarning, match="has no effect on this class"):
        assert load_schedule(version1(pruner, args=args)) == load_schedule(version1(pruner))


def test_discarding_what_splicing_goes_on_from_is_refused() -> None:
    text = version1(f"{SPLICING}, low_thresh_mult: 1, hi_thresh_mult: 1", args="discard_masks_at_minibatch_end: true")
    assert "args.discard_masks_at_minibatch_end: SplicingPruner goes on from the last mask" in refusal(text)


def test_every_policy_of_a_gradual_pruner_has_the_whole_ramp() -> None:
    later = WHEN.replace(": 0", ": 20").replace(": 10", ": 30")
    text = version1(AGP).replace("policies: [", f"policies: [{{pruner: {{instance_name: p}}, {later}}}, ")
    schedule = load_schedule(text)
    assert [policy.pruner for policy in schedule.policies] == ["p", "p_2"]
    assert schedule.pruners["p"] == schedule.pruners["p_2"]


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (
            "starting_epoch: 5, ending_epoch: 3, frequency: 1",
            "the window is empty: it begins at epoch 5 and ends before epoch 3",
        ),
        (
            "starting_epoch: 5, ending_epoch: 5, frequency: 1",
            "the window is empty: it begins at epoch 5 and ends before epoch 5",
        ),
        (
            "starting_epoch: 0, ending_epoch: 3, frequency: 4",
            "must be at least 1 and at most the window's 3 epochs (got 4)",
        ),
        (
            "starting_epoch: 0, ending_epoch: 3, frequency: 0",
            "must be at least 1 and at most the window's 3 epochs (got 0)",
        ),
        ("starting_epoch: 0, ending_epoch: 3", "policies[0]: needs frequency, or 'epochs'"),
        ("starting_epoch: 0.5, ending_epoch: 3, frequency: 1", "must be a whole number, zero or more (got 0.5)"),
        ("epochs: [1], frequency: 1", "'epochs' and 'frequency' exclude each other; remove one"),
        ("epochs: 3", "policies[0].epochs: must be a list of epochs (got 3)"),
        ("starting_epoc: 0, ending_epoch: 3, frequency: 1", "unknown key; did you mean starting_epoch"),
    ],
)
def test_a_wrong_window_is_refused(when: str, message: str) -> None:
    assert message in refusal(version1(AGP, when))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            "pruner: {instance_name: q}",
            "policies[0].pruner.instance_name: there is no pruner 'q' in 'pruners'; known: p",
        ),
        ("pruner: p", "policies[0].pruner: needs 'instance_name'"),
        (
            "pruner: {instance_name: p, frequency: 1}",
            "policies[0].pruner.frequency: unknown key; it stands beside 'pruner'",
        ),
        (
            "prunr: {instance_name: p}",
            "policies[0]: must have one of pruner, regularizer, lr_scheduler, extension, quantizer",
        ),
    ],
)
def test_a_policy_without_a_pruner_is_refused(policy: str, message: str) -> None:
    text = f"version: 1\npruners: {{p: {{{AGP}}}}}\npolicies: [{{{policy}, {WHEN}}}]\n"
    assert message in refusal(text)


def test_duplicate_keys_are_warned_of_and_the_last_one_wins() -> None:
    text = version1(AGP).replace("{p: {", "{p: {class: SplicingPruner}, p: {")
    with pytest.warns(
        ScheduleWarning, match="2:39: pruners.p: the key stands twice, first at line 2; the last one wins"
    ):
        schedule = load_schedule(text)
    assert schedule == load_schedule(version1(AGP))


def test_quantizers_are_refused() -> None:
    text = "version: 1\nquantizers: {a: {class: X}}\npolicies: []\n"
    assert "quantizers: quantization is not available" in refusal(text)


# --- regularizers ----------------------------------------------------------------------------------------------------


def regularized(regularizer: str) -> str:
    return (
        f"version: 1\nregularizers: {{r: {{{regularizer}}}}}\n"
        "policies: [{regularizer: {instance_name: r}, starting_epoch: 0, ending_epoch: 9, frequency: 3}]\n"
    )


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("class: L1Regularizer, reg_regims: {a: 0.1, b: 0.2}", "penalty: l1, strength: {a: 0.1, b: 0.2}"),
        ("class: GroupLassoRegularizer, reg_regims: {a: [0.1, 3D], b: [0.2, Filters]}",
         "penalty: group_lasso, granularity: filter, strength: {a: 0.1, b: 0.2}"),
        ("class: GroupLassoRegularizer, reg_regims: {a: [0.1, Rows]}",
         "penalty: group_lasso, granularity: row, strength: {a: 0.1}"),
    ],
)  # fmt: skip
def test_a_regularizer_is_rewritten_onto_the_axes(theirs: str, ours: str) -> None:
    assert load_schedule(regularized(theirs)) == load_schedule(
        f"version: 2\neffects: warn\nregularizers: {{r: {{{ours}}}}}\n"
        "policies: [{regularizer: r, during: run, from: 0, until: 9, every: 3}]\n"
    )


@pytest.mark.parametrize(
    ("regims", "message"),
    [("{a: 0.1}", "reg_regims.a: must be [number, group type] (got 0.1)"),
     ("{a: [0.1, 5D]}", "reg_regims.a[1]: must be one of 3D, Filters, 2D, Channels, Rows, Cols, 4D, Rows+Cols, "
      "Channels+4D (got '5D')")],
)  # fmt: skip
def test_wrong_regims_are_refused(regims: str, message: str) -> None:
    assert message in refusal(regularized(f"class: GroupLassoRegularizer, reg_regims: {regims}"))


def test_group_types_become_regularizers_of_their_own_and_each_keeps_its_masks() -> None:
    text = regularized(
        "class: GroupLassoRegularizer, reg_regims: {a: [0.1, 3D], b: [0.2, 2D]}, threshold_criteria: Max"
    )
    schedule = load_schedule(text.replace("instance_name: r", "instance_name: r, args: {keep_mask: true}"))
    assert list(schedule.regularizers) == ["r_filter", "r_kernel"]
    assert [(policy.regularizer, policy.keep_mask) for policy in schedule.policies] == [
        ("r_filter", True),
        ("r_kernel", True),
    ]


@pytest.mark.parametrize(
    ("args", "message"),
    [("keep_mask: 1", "3:63: policies[0].regularizer.args.keep_mask: must be true or false (got 1)"),
     ("keep_maks: true", "policies[0].regularizer.args.keep_maks: unknown argument; known: keep_mask")],
)  # fmt: skip
def test_a_wrong_argument_of_a_split_regularizer_is_said_once_at_its_place(args: str, message: str) -> None:
    text = regularized(
        "class: GroupLassoRegularizer, reg_regims: {a: [0.1, 3D], b: [0.2, 2D]}, threshold_criteria: Max"
    )
    found = refusal(text.replace("instance_name: r", f"instance_name: r, args: {{{args}}}"))
    assert found.count(message.partition(": ")[2]) == found.count("\n") + 1 == 1


# --- extensions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extension", "message"),
    [("class: FilterRemover, arch: a, dataset: mnist", "2:17: extensions.e: needs 'thinning_func_str'"),
     ("class: FilterRemover, thinning_func_str: remove", "must be one of remove_filters, remove_channels, contract"),
     ("class: FilterRemover, thinning_func_str: remove_filters, dataset: cifar100",
      "extensions.e.dataset: must be one of imagenet, cifar10, mnist (got 'cifar100')"),
     ("class: FilterRemovr", "unknown class 'FilterRemovr'; did you mean FilterRemover")],
)  # fmt: skip
def test_a_wrong_extension_is_refused_even_where_no_policy_uses_it(extension: str, message: str) -> None:
    for policies in ("", "{extension: {instance_name: e}, epochs: [3]}"):
        text = f"version: 1\nextensions: {{e: {{{extension}}}}}\npolicies: [{policies}]\n"
        found = refusal(text)
        assert message in found and found.count("\n") == 0


# --- learning rates: the rate of epoch k + 1 is set at the end of an active epoch k -----------------------------------


def rates(schedule: str, when: str, epochs: int, **options: Any) -> list[float]:
    policy = f"{{lr_scheduler: {{instance_name: l}}, {when}}}"
    text = f"version: 1\nlr_schedulers: {{l: {{{schedule}}}}}\npolicies: [{policy}]\n"
    return run(text, epochs, **options)[1]


def test_a_late_start_jumps_to_the_rate_of_the_absolute_epoch_and_freezes_at_the_end() -> None:
    found = rates("class: ExponentialLR, gamma: 0.5", "starting_epoch: 3, ending_epoch: 6, frequency: 1", 9)
    assert found == pytest.approx([0.1] * 4 + [0.00625, 0.003125] + [0.0015625] * 3)  # run


def test_a_step_that_falls_on_the_start_comes_one_epoch_late() -> None:
    found = rates("class: StepLR, step_size: 45, gamma: 0.1", "starting_epoch: 45, ending_epoch: 300, frequency: 1", 48)
    assert found == pytest.approx([0.1] * 46 + [0.01] * 2)  # run


def test_a_frequency_changes_the_rate_after_active_epochs_only() -> None:
    found = rates("class: ExponentialLR, gamma: 0.5", "starting_epoch: 0, ending_epoch: 10, frequency: 2", 5)
    assert found == pytest.approx([0.1, 0.05, 0.05, 0.0125, 0.0125])  # run


def test_a_list_of_epochs_sets_the_rate_after_each() -> None:
    assert rates("class: ExponentialLR, gamma: 0.5", "epochs: [0, 2]", 5) == pytest.approx(
        [0.1, 0.05, 0.05, 0.0125, 0.0125]
    )


def test_a_plateau_lowers_the_rate_after_an_epoch_without_improvement() -> None:
    when = "starting_epoch: 0, ending_epoch: 6, frequency: 1"
    found = rates("class: ReduceLROnPlateau, factor: 0.1, patience: 1", when, 6, metrics=[1.0, 0.5, 0.6, 0.6, 0.6, 0.6])
    assert found == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])  # two bad epochs, 2 and 3, exceed the patience


def test_a_cyclic_rate_begins_with_epoch_0_though_its_policy_acts_at_its_end() -> None:
    schedule = "class: CyclicLR, base_lr: 0.01, max_lr: 0.02, step_size_up: 2, cycle_momentum: false"
    found = rates(schedule, "starting_epoch: 0, ending_epoch: 9, frequency: 1", 5)
    assert found == pytest.approx([0.01, 0.015, 0.02, 0.015, 0.01])


def test_polynomial_is_distillers_and_not_torchs() -> None:
    when = "starting_epoch: 0, ending_epoch: 4, frequency: 1"
    assert rates("class: PolynomialLR, T_max: 4, power: 2", when, 4) == pytest.approx(
        [0.1, 0.1 * 9 / 16, 0.1 / 4, 0.1 / 16]
    )


def test_unknown_arguments_of_a_learning_rate_policy_are_refused() -> None:
    text = (
        "version: 1\nlr_schedulers: {l: {class: ExponentialLR, gamma: 0.5}}\n"
        "policies: [{lr_scheduler: {instance_name: l, args: {x: 1}}, epochs: [1]}]\n"
    )
    assert "args.x: unknown argument; a policy of this kind has none" in refusal(text)


def test_problems_after_a_policy_that_became_several_keep_their_line() -> None:
    text = """version: 1

lr_schedulers:
  fall: {class: StepLR, step_size: 1}
regularizers:
  l1: {class: L1Regularizer, reg_regims: {0.weight: 0.1}}

policies:
  - {regularizer: {instance_name: l1}, epochs: [0, 2, 5]}
  - {lr_scheduler: {instance_name: fall}, starting_epoch: 0, ending_epoch: 4, frequency: 1}
"""
    schedule = load_schedule(text)
    number = next(number for number, policy in enumerate(schedule.policies) if policy.kind == "lr_scheduler")
    mark = schedule.problem(f"policies[{number}]", "").mark
    assert number == 3 and mark is not None and mark.line == 10
