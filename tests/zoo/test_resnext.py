"""ResNeXt-101 (32x4d)."""

from __future__ import annotations

import torch

from schedengine.analysis.macs import multiply_accumulates
from schedengine.zoo.models import build_model


def test_names_and_shapes_are_those_of_distillers_schedule() -> None:
    shapes = {name: tuple(one.shape) for name, one in build_model("resnext101_32x4d", meta=True).named_parameters()}
    rows = {
        "features.0.weight": (64, 3, 7, 7),
        "features.4.0.0.0.0.0.weight": (128, 64, 1, 1),
        "features.4.0.0.0.0.3.weight": (128, 4, 3, 3),
        "features.4.0.0.0.1.weight": (256, 128, 1, 1),
        "features.4.0.0.1.0.weight": (256, 64, 1, 1),
        "features.5.0.0.0.0.3.weight": (256, 8, 3, 3),
        "features.6.22.0.0.1.weight": (1024, 512, 1, 1),
        "features.7.2.0.0.0.0.weight": (1024, 2048, 1, 1),
        "last_linear.weight": (1000, 2048),
    }
    assert {name: shapes.get(name) for name in rows} == rows


def test_its_weights_and_parameters_are_those_of_distillers_table() -> None:
    parameters = list(build_model("resnext101_32x4d", meta=True).parameters())
    weights = [one.numel() for one in parameters if one.dim() > 1]
    assert len(weights) == 105  # the table has 104 rows: its total counts the first convolution, which has none
    assert sum(weights) == 44_038_848 and sum(one.numel() for one in parameters) == 44_177_704


def test_it_costs_what_the_paper_says() -> None:
    # Table 3: 8.0 billion.
    counts = multiply_accumulates(build_model("resnext101_32x4d", meta=True), [torch.zeros(1, 3, 224, 224)])
    assert round(sum(counts.values()) / 1e9, 1) == 8.0
