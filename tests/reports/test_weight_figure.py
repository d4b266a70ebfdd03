"""Histograms of weights: what is counted where, and what a panel says."""

from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from schedengine.reports.canvas import to_bytes
from schedengine.reports.weight_figure import draw_weight_histograms, histogram


def words(picture: Figure) -> list[str]:
    return [text.get_text() for axes in picture.axes for text in axes.texts]


def test_zeros_are_counted_apart() -> None:
    found = histogram(torch.tensor([-2.0, -0.5, 0.0, 0.0, 0.5, 0.6, 2.0]), bins=4)
    assert found.counts.tolist() == [1, 1, 2, 1]
    assert found.edges.tolist() == [-2, -1, 0, 1, 2]
    assert (found.weights, found.zeros, found.non_finite) == (7, 2, 0)


def test_what_is_not_finite_is_in_no_bin() -> None:
    found = histogram(torch.tensor([1.0, float("inf"), float("nan"), 0.0]), bins=2)
    assert (found.counts.sum(), found.zeros, found.non_finite, found.edges[-1]) == (1, 1, 2, 1)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_tensor_without_anything_to_count_has_empty_bins(value: float) -> None:
    assert histogram(torch.full((3,), value)).counts.sum() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_does_not_matter(dtype: torch.dtype) -> None:
    assert histogram(torch.tensor([-1.0, 0.0, 1.0], dtype=dtype), bins=2).counts.tolist() == [1, 1]


def test_a_panel_says_how_many_zeros_there_are() -> None:
    some, gone, broken = torch.ones(4), torch.zeros(4), torch.tensor([1.0, float("nan")])
    some[0] = 0
    picture = draw_weight_histograms({"a.weight": some, "b.weight": gone, "c": broken})
    assert words(picture) == ["zeros: 1 of 4 (25.0 %)", "zeros: all 4", "zeros: none of 2\nnot finite: 1"]
    assert [axes.get_title(loc="left") for axes in picture.axes] == ["a", "b", "c"]


def test_some_zeros_are_not_none_and_most_are_not_all() -> None:
    few, most = torch.ones(10_000), torch.zeros(10_000)
    few[0], most[0] = 0, 1
    assert words(draw_weight_histograms({"few": few, "most": most})) == [
        "zeros: 1 of 10,000 (<0.1 %)",
        "zeros: 9,999 of 10,000 (>99.9 %)",
    ]


def test_a_long_name_keeps_its_end() -> None:
    name = f"encoder.{'layers.' * 8}3.mlp.fc1.weight"
    title = draw_weight_histograms({name: torch.ones(2)}).axes[0].get_title(loc="left")
    assert title.startswith("…") and title.endswith("3.mlp.fc1") and len(title) == 36


def test_panels_share_one_logarithmic_scale() -> None:
    picture = draw_weight_histograms({"small": torch.ones(3), "large": torch.ones(5000)})
    limits = {axes.get_ylim() for axes in picture.axes}
    assert len(limits) == 1 and limits.pop()[1] > 5000
    assert {axes.get_yscale() for axes in picture.axes} == {"log"}


def test_a_name_is_no_formula() -> None:
    assert to_bytes(draw_weight_histograms({"a$b$_{": torch.ones(2)}), ".png").startswith(b"\x89PNG")
