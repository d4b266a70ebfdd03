"""Distiller's extensions: what thins."""

from __future__ import annotations

from typing import Any

from schedengine.errors import Problem
from schedengine.schedule.distiller.rows import Row, is_absent, one_of
from schedengine.schedule.source import Node

_INPUTS = {"imagenet": [3, 224, 224], "cifar10": [3, 32, 32], "mnist": [1, 28, 28]}
_THINNING = {"remove_filters": "filters", "remove_channels": "channels", "contract_model": "all"}


def _remover(node: Node, problems: list[Problem]) -> dict[str, Any]:
    """What is zero goes at the first mini-batch of the epoch; ``arch`` is not read in Distiller either."""
    what = one_of(node.value["thinning_func_str"], _THINNING, problems)
    inputs = {} if is_absent(node, "dataset") else {"input": one_of(node.value["dataset"], _INPUTS, problems)}
    return {"what": what, **inputs, "apply": "step"}


EXTENSIONS: dict[str, Row] = {
    name: Row(("thinning_func_str",), ("arch", "dataset"), _remover)
    for name in ("StructureRemover", "FilterRemover", "ChannelRemover")
}
