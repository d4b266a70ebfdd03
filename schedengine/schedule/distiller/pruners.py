"""Distiller's pruners, a row each."""

from __future__ import annotations

from typing import Any

from schedengine.errors import Problem
from schedengine.schedule.distiller.rows import (
    Row,
    check_number,
    is_absent,
    is_number,
    names_to_levels,
    names_to_values,
    one_of,
)
from schedengine.schedule.distiller.structures import CHANNELS, FILTERS, RANKED, THRESHOLDED, regims, structured
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

COMMON: dict[str, Any] = {
    "update": "reselect",
    "masks": "replace",
    "apply": "step",
    "optimizer_state": "keep",
    "min_keep": 0,
    "counted": "current",
}
"""What Distiller does, whatever the class: the last pruner's mask wins, masks computed at the beginning of an epoch
take effect with its first mini-batch, momentum is left alone, nothing is protected, and of a thinned network a sparsity
is of what is left."""
_COUNTS: dict[str, Any] = {**COMMON, "rounding": "floor", "ties": "all"}
"""And of classes with a target: floored, ties go together."""


def _uniform(node: Node, sparsity: Node) -> dict[str, Any]:
    return {"parameters": node.value["weights"], "allocation": "uniform", "sparsity": sparsity, **_COUNTS}


def _agp(node: Node, problems: list[Problem]) -> dict[str, Any]:
    initial, final = node.value["initial_sparsity"], node.value["final_sparsity"]
    if is_number(initial) and is_number(final) and not initial.value < final.value:
        problems.append(final.problem(f"must be above initial_sparsity, {initial.value} (got {final.value})"))
        return {}
    return _uniform(node, node.derived({"ramp": "cubic", "first": "from", "from": initial, "to": final}))


def _constant(node: Node, problems: list[Problem]) -> dict[str, Any]:
    check_number(node.value["desired_sparsity"], problems)
    return _uniform(node, node.value["desired_sparsity"])


def _random_level(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """A level for each parameter, drawn anew at every cut; one for all that follow a leader."""
    span, weights = node.value["sparsity_range"], node.value["weights"]
    if not span.is_list or len(span.value) != 2:
        problems.append(span.problem(f"must be [lowest, highest] (got {show(span.plain())})"))
        return {}
    low, high = span.value
    if is_number(low) and is_number(high) and low.value > high.value:
        problems.append(span.problem(f"must be [lowest, highest] (got {show(span.plain())}); swap the two"))
    ramp = {"ramp": "random", "from": low}
    if not is_absent(node, "group_dependency"):
        return _uniform(node, node.derived({**ramp, "to": high}))
    levels = {str(name.value): high for name in (weights.value if weights.is_list else [weights])}
    return {"allocation": node.derived(levels), "sparsity": node.derived(ramp), **_COUNTS}


def _levels(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """``'*'`` reaches biases and normalisation in Distiller, which nobody wants; here it reaches weights only."""
    levels = names_to_levels(node, problems)
    return {"allocation": levels, "sparsity": {"ramp": "constant"}, **_COUNTS} if levels else {}


def _sensitivity(node: Node, problems: list[Problem]) -> dict[str, Any]:
    factors = names_to_values(node, "sensitivities", problems)
    return {"threshold": {"std": factors}, **COMMON} if factors else {}


def _magnitude(node: Node, problems: list[Problem]) -> dict[str, Any]:
    limits = names_to_values(node, "thresholds", problems)
    if limits is not None and "*" not in limits.value:
        problems.append(limits.problem("needs '*', the threshold of every other parameter"))
    return {"threshold": {"absolute": limits}, **COMMON} if limits else {}


def _splicing(node: Node, problems: list[Problem]) -> dict[str, Any]:
    factors = names_to_values(node, "sensitivities", problems)
    if factors is None:
        return {}
    growth = node.value.get("sensitivity_multiplier")
    grows = {"growth": growth} if growth is not None and growth.value else {}
    low, high = node.value["low_thresh_mult"], node.value["hi_thresh_mult"]
    if is_number(low) and is_number(high) and low.value > high.value:
        problems.append(high.problem(f"must be at least low_thresh_mult, {low.value} (got {high.value})"))
    spread, splice = {"by_name": factors, **grows}, {"low": low, "high": high}
    return {**COMMON, "threshold": {"spread": spread}, "update": {"splice": splice}}


def _baidu(node: Node, problems: list[Problem]) -> dict[str, Any]:
    check_number(node.value["q"], problems)
    keys = {"by_name": "q", "after": "ramp_epoch_offset", "steeper": "ramp_slope_mult"}
    rising = {ours: node.value[theirs] for ours, theirs in keys.items()}
    return {"parameters": node.value["weights"], "threshold": {"rising": rising}, **COMMON}


def _by_limit(node: Node, problems: list[Problem]) -> dict[str, dict[str, Any]]:
    """Each parameter has [limit, group type]: a pruner for each type."""
    criteria = {"Max": {"magnitude": {"norm": "max"}}, "Mean_Abs": "magnitude"}
    criterion = one_of(node.value["threshold_criteria"], criteria, problems)
    return {
        granularity: {
            "threshold": {"absolute": limits},
            "criterion": criterion,
            "granularity": granularity,
            **COMMON,
        }
        for granularity, limits in regims(node, problems, THRESHOLDED).items()
    }


_RAMP = ("initial_sparsity", "final_sparsity", "weights")
_LEVEL = ("desired_sparsity", "group_type", "weights")
_LEADER = ("group_dependency",)
_LP = (*_LEADER, "kwargs", "noise", "group_size", "rounding_fn", "magnitude_fn")


def _ranked(name: str, criterion: Any, types: dict[str, str], takes: tuple[str, ...], **axes: Any) -> dict[str, Row]:
    """A class that ranks structures to a level, and the one that does so along AGP's ramp."""
    return {
        name: Row(_LEVEL, takes, structured(_constant, criterion, types, **axes)),
        f"{name}_AGP": Row((*_RAMP, "group_type"), takes, structured(_agp, criterion, types, **axes)),
    }


PRUNERS: dict[str, Row] = {
    "AutomatedGradualPruner": Row(_RAMP, (), _agp),
    "SparsityLevelParameterPruner": Row(("levels",), (), _levels),
    "SensitivityPruner": Row(("sensitivities",), (), _sensitivity),
    "MagnitudeParameterPruner": Row(("thresholds",), (), _magnitude),
    "SplicingPruner": Row(
        ("sensitivities", "low_thresh_mult", "hi_thresh_mult"), ("sensitivity_multiplier",), _splicing
    ),
    "BaiduRNNPruner": Row(("q", "ramp_epoch_offset", "ramp_slope_mult", "weights"), (), _baidu),
    "StructureParameterPruner": Row(("reg_regims", "threshold_criteria"), (), _by_limit, is_split=True),
    "RandomLevelStructureParameterPruner": Row(
        ("sparsity_range", "group_type", "weights"), _LP, structured(_random_level, "magnitude", RANKED)
    ),
    "FMReconstructionChannelPruner": Row(
        _LEVEL,
        ("group_size", "rounding_fn", "magnitude_fn", "ranking_noise"),
        structured(_constant, "magnitude", CHANNELS, compensate="least_squares"),
    ),
    **_ranked("L1RankedStructureParameterPruner", "magnitude", RANKED, _LP),
    **_ranked("L2RankedStructureParameterPruner", {"magnitude": {"norm": "l2"}}, RANKED, _LP),
    **_ranked("RandomRankedFilterPruner", "random", FILTERS, _LEADER),
    **_ranked("ActivationAPoZRankedFilterPruner", "apoz", FILTERS, _LEADER, ties="position"),
    **_ranked("ActivationMeanRankedFilterPruner", "activation_mean", FILTERS, _LEADER, ties="position"),
    **_ranked("GradientRankedFilterPruner", {"gradient": {"sign": "signed"}}, FILTERS, _LEADER, ties="position"),
    **_ranked("BernoulliFilterPruner", "random", FILTERS, _LEADER, draw="bernoulli"),
}
