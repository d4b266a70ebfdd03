"""MobileNet, the first version."""

from __future__ import annotations

import torch

from schedengine.analysis.macs import multiply_accumulates
from schedengine.zoo.models import build_model


def test_names_and_shapes_are_those_of_distillers_schedules() -> None:
    shapes = {name: tuple(one.shape) for name, one in build_model("mobilenet", meta=True).named_parameters()}
    assert shapes["model.0.0.weight"] == (32, 3, 3, 3) and shapes["model.1.0.weight"] == (32, 1, 3, 3)
    assert shapes["model.1.3.weight"] == (64, 32, 1, 1) and shapes["model.13.3.weight"] == (1024, 1024, 1, 1)
    assert sum(len(shape) == 4 for shape in shapes.values()) == 27 and shapes["fc.weight"] == (1000, 1024)


def test_it_costs_what_the_paper_says() -> None:
    # Table 8: 569 million multiply-adds and 4.2 million parameters; first and last layer as in Distiller's summary.
    model = build_model("mobilenet", meta=True)
    counts = multiply_accumulates(model, [torch.zeros(1, 3, 224, 224)])
    assert (counts["model.0.0.weight"], counts["fc.weight"]) == (10_838_016, 1_024_000)
    assert round(sum(counts.values()) / 1e6) == 569
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_231_976


def test_a_width_multiplier_thins_every_layer() -> None:
    # Table 6 of the paper: 2.6, 1.3 and 0.5 million parameters.
    counts = [
        sum(parameter.numel() for parameter in build_model(f"mobilenet_{share}", meta=True).parameters())
        for share in ("075", "050", "025")
    ]
    assert [round(count / 1e6, 1) for count in counts] == [2.6, 1.3, 0.5]
