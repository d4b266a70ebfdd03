"""Distiller's regularizers, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schedengine.errors import Problem
from schedengine.schedule.distiller.rows import Rewrite, Row, is_absent, names_to_values, one_of
from schedengine.schedule.distiller.structures import CHANNELS, PENALISED, regims
from schedengine.schedule.source import Node


def _l1(node: Node, problems: list[Problem]) -> dict[str, Any]:
    strengths = names_to_values(node, "reg_regims", problems)
    # Any word of theirs means the same: groups of one element.
    threshold = {} if is_absent(node, "threshold_criteria") else {"threshold": "mean_abs"}
    return {"penalty": "l1", "strength": strengths, **threshold} if strengths else {}


def _grouped(penalty: str, types: Mapping[str, str | tuple[str, ...]]) -> Rewrite:
    """Each parameter has [strength, type]: a regularizer for each type."""

    def rewrite(node: Node, problems: list[Problem]) -> dict[str, dict[str, Any]]:
        threshold = {}
        if not is_absent(node, "threshold_criteria"):
            words = {"Max": "max", "Mean_Abs": "mean_abs"}
            threshold = {"threshold": one_of(node.value["threshold_criteria"], words, problems)}
        return {
            granularity: {"penalty": penalty, "granularity": granularity, "strength": strengths, **threshold}
            for granularity, strengths in regims(node, problems, types).items()
        }

    return rewrite


REGULARIZERS: dict[str, Row] = {
    "L1Regularizer": Row(("reg_regims",), ("threshold_criteria",), _l1),
    "GroupLassoRegularizer": Row(
        ("reg_regims",), ("threshold_criteria",), _grouped("group_lasso", PENALISED), is_split=True
    ),
    "GroupVarianceRegularizer": Row(("reg_regims",), (), _grouped("group_variance", CHANNELS), is_split=True),
}
