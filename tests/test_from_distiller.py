"""docs/from_distiller.md says what Distiller's classes become, as the rows of the dialect rewrite them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from schedengine.schedule import distiller
from schedengine.schedule.load import load_schedule, to_document
from schedengine.schedule.source import to_flow

PAGE = (Path(__file__).parent.parent / "docs" / "from_distiller.md").read_text()
ARGUMENTS: dict[str, Any] = {
    "weights": ["a"],
    "levels": {"a": 0.8},
    "sensitivities": {"a": 0.5},
    "thresholds": {"a": 0.1, "*": 0.0},
    "initial_sparsity": 0.05,
    "final_sparsity": 0.8,
    "desired_sparsity": 0.8,
    "sparsity_range": [0.1, 0.2],
    "low_thresh_mult": 0.6,
    "hi_thresh_mult": 0.7,
    "q": 0.2,
    "ramp_epoch_offset": 3,
    "ramp_slope_mult": 3,
    "threshold_criteria": "Max",
    "dataset": "cifar10",
}
"""An example of each argument."""
THINNING = {
    "FilterRemover": "remove_filters",
    "ChannelRemover": "remove_channels",
    "StructureRemover": "contract_model",
}
COMMON = distiller.COMMON
"""What every pruner becomes, which the page says once."""


def rewritten(kind: str, name: str, row: distiller.Row) -> Mapping[str, Any]:
    """The document that a file with one instance of a class becomes."""
    structure = "Channels" if "Channel" in name or "Variance" in name else "Filters"
    own = {
        **ARGUMENTS,
        "group_type": structure,
        "thinning_func_str": THINNING.get(name),
        "reg_regims": {"a": 0.1 if name == "L1Regularizer" else [0.1, structure]},
    }
    used = [*row.needs, *(key for key in row.takes if key in ("threshold_criteria", "dataset"))]
    instance = {"class": name, **{key: own[key] for key in used}}
    policy = {kind: {"instance_name": "p"}, "starting_epoch": 0, "ending_epoch": 10, "frequency": 1}
    return to_document(load_schedule({"version": 1, f"{kind}s": {"p": instance}, "policies": [policy]}))


def line(kind: str, name: str, row: distiller.Row) -> str:
    """A row of the page's table."""
    document = rewritten(kind, name, row)
    found = document["policies"][0]["thin"] if kind == "extension" else document[f"{kind}s"]["p"]
    axes = {
        key: value
        for key, value in found.items()
        if key != "parameters" and COMMON.get(key) != value and not (kind == "extension" and key == "apply")
    }
    text = to_flow({"thin": axes} if kind == "extension" else axes)
    return f"| `{name}` | `{text}` |"


ROWS = [
    pytest.param(kind, name, row, id=name)
    for kind, rows in (
        ("pruner", distiller.PRUNERS),
        ("regularizer", distiller.REGULARIZERS),
        ("extension", distiller.EXTENSIONS),
    )
    for name, row in rows.items()
    if not name.endswith("_AGP")
]


@pytest.mark.parametrize(("kind", "name", "row"), ROWS)
def test_the_page_says_what_a_class_becomes(kind: str, name: str, row: distiller.Row) -> None:
    assert line(kind, name, row) in PAGE


def test_the_page_says_what_every_pruner_becomes() -> None:
    assert to_flow(COMMON)[1:-1] in PAGE


@pytest.mark.parametrize("name", [name for name in distiller.PRUNERS if name.endswith("_AGP")])
def test_a_class_with_agp_is_the_other_one_with_the_ramp_of_agp(name: str) -> None:
    document = rewritten("pruner", name, distiller.PRUNERS[name])["pruners"]["p"]
    plain = rewritten("pruner", name.removesuffix("_AGP"), distiller.PRUNERS[name.removesuffix("_AGP")])["pruners"]["p"]
    agp = rewritten("pruner", "AutomatedGradualPruner", distiller.PRUNERS["AutomatedGradualPruner"])["pruners"]["p"]
    assert document == {**plain, "sparsity": agp["sparsity"]}
