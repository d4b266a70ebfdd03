"""Accuracy on corrupted images: counted by hand."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from schedengine.analysis.robustness import by_severity, measure_robustness
from schedengine.errors import DataError
from schedengine.training.compute import Compute
from schedengine.zoo.loader import Images, Loader


class IsBright(nn.Module):
    """Class 1 from half brightness on, on the average over the image."""

    def forward(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3))
        return torch.stack([0.5 - brightness, brightness - 0.5], dim=1)


def loader(split: Any) -> Loader:
    assert isinstance(split, Sized)
    return Loader(split, 2, (0.0,), (1.0,))  # type: ignore[arg-type]


def grays() -> Images:
    """Of 255 levels 40, 76, 107 and 153; the first three are class 0."""
    levels = torch.tensor([40, 76, 107, 153], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 4, 4)
    return Images(levels.clone(), torch.tensor([0, 0, 0, 1]))


def test_each_corruption_and_severity_is_a_row() -> None:
    compute = Compute(torch.device("cpu"))
    found = measure_robustness(IsBright(), loader(grays()), compute, corruptions=["brightness", "contrast"])
    bright, dull = found[found.corruption == "brightness"], found[found.corruption == "contrast"]
    # 12.75, 25.5, 38.25, 51, 76.5 levels more: 107 passes 127.5 with the second, 76 with the last, 40 never
    assert bright.top1.tolist() == [100.0, 75.0, 75.0, 75.0, 50.0]
    assert dull.top1.tolist() == [100.0] * 5 and found.samples.tolist() == [4] * 10


def test_means_are_over_severities_and_over_corruptions() -> None:
    compute = Compute(torch.device("cpu"))
    found = measure_robustness(IsBright(), loader(grays()), compute, corruptions=["contrast", "brightness"])
    table = by_severity(found)
    assert [*table.index] == ["contrast", "brightness", "mean"] and [*table.columns] == [1, 2, 3, 4, 5, "mean"]
    assert table["mean"].tolist() == [100.0, 75.0, 87.5] and table.loc["mean", 5] == 75.0


def test_only_what_is_asked_for_is_measured() -> None:
    compute = Compute(torch.device("cpu"))
    found = measure_robustness(IsBright(), loader(grays()), compute, corruptions=["fog"], severities=[5])
    assert found[["corruption", "severity"]].to_numpy().tolist() == [["fog", 5]]


def test_a_dataset_is_refused() -> None:
    dataset = TensorDataset(torch.zeros(4, 1, 4, 4), torch.arange(4))
    with pytest.raises(DataError, match="a Dataset's images cannot be corrupted"):
        measure_robustness(IsBright(), loader(dataset), Compute(torch.device("cpu")))
