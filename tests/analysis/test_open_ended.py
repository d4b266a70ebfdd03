"""What a look at a schedule says it cannot promise."""

from __future__ import annotations

from typing import Any

import pytest

from schedengine import load_schedule
from schedengine.analysis.open_ended import open_ended

GROWN = {"drop_grow": {"grow": "gradient", "first": "snip"}}


@pytest.mark.parametrize(
    "axes, path, message",
    [
        ({"update": "learned", "pruned": "soft_threshold"}, "pruners.p", "sparsity cannot be set"),
        ({"criterion": "snip", "sparsity": 0.5}, "pruners.p.criterion", "takes 10 batches of the data at every cut"),
        ({"criterion": "fisher", "sparsity": 0.5}, "pruners.p.criterion", "takes 1,024 examples of the data"),
        (
            {"update": GROWN, "sparsity": 0.5, "allocation": "erk", "mask_gradients": True},
            "pruners.p.update",
            "its first cut takes 10 batches of the data",
        ),
    ],
)
def test_what_is_learned_or_takes_data_is_said(axes: dict[str, Any], path: str, message: str) -> None:
    policies = [{"pruner": "p", "during": "run"}]
    ((where, what),) = open_ended(load_schedule({"version": 2, "pruners": {"p": axes}, "policies": policies}))
    assert where == path and message in what


def test_a_ranking_by_magnitude_leaves_nothing_open() -> None:
    document = {"version": 2, "pruners": {"p": {"sparsity": 0.5}}, "policies": [{"pruner": "p", "at": "start"}]}
    assert not list(open_ended(load_schedule(document)))
