"""A sweep on the disk: killed, gone on with, in parts, on some of the images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from schedengine.analysis.sensitivity import table
from schedengine.analysis.sensitivity.analyse import analyse_sensitivity
from schedengine.analysis.sensitivity.study import Progress
from schedengine.errors import CheckpointError, DataError, SchedEngineError

LEVELS = [0.5, 0.9]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def batches(count: int = 6, size: int = 8, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 1, 6, 6, generator=generator), torch.randint(0, 5, (size,), generator=generator))
        for _ in range(count)
    ]


def dataset(images: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3)
    pictures = torch.randn(images, 1, 6, 6, generator=generator)
    with torch.no_grad():
        labels = network()(pictures).argmax(1)  # the dense network is right
    return DataLoader(TensorDataset(pictures, labels), batch_size=50)


class Interrupted(Exception):
    pass


def stopping(after: int) -> Any:
    calls: Iterator[int] = iter(range(1, 1000))

    def watch(progress: Progress) -> None:
        if next(calls) == after:
            raise Interrupted

    return watch


def interrupted(folder: Path, after: int = 3, **options: Any) -> None:
    with pytest.raises(Interrupted):
        analyse_sensitivity(network(), batches(), levels=LEVELS, out=folder, watch=stopping(after), **options)


def test_a_resumed_sweep_gives_the_same_file(tmp_path: Path) -> None:
    whole = analyse_sensitivity(network(), batches(), levels=LEVELS, out=tmp_path / "whole")
    interrupted(tmp_path / "killed")
    resumed = analyse_sensitivity(network(), batches(), levels=LEVELS, out=tmp_path / "killed", resume=True)
    pandas.testing.assert_frame_equal(resumed, whole)
    files = [(tmp_path / name / "sensitivity.csv").read_bytes() for name in ("whole", "killed")]
    assert files[0] == files[1]


def test_a_partial_file_is_a_whole_table_of_what_was_seen(tmp_path: Path) -> None:
    interrupted(tmp_path, after=2)
    found = pandas.read_csv(tmp_path / "sensitivity.csv")
    assert tuple(found.columns) == table.COLUMNS
    assert set(found["samples"]) == {16} and found["drop_low"].isna().all()


def test_the_first_columns_are_distillers() -> None:
    found = analyse_sensitivity(network(), batches(), levels=LEVELS)
    assert list(found.columns[:5]) == ["parameter", "sparsity", "top1", "top5", "loss"]
    assert list(found["parameter"]) == ["0.weight"] * 3 + ["3.weight"] * 3
    assert list(found["sparsity"]) == [0, 0.5, 0.9] * 2


def test_bounds_are_the_drop_where_all_images_were_seen() -> None:
    found = analyse_sensitivity(network(), batches(), levels=LEVELS)
    assert (found["drop"] == found["drop_low"]).all() and (found["drop"] == found["drop_high"]).all()
    assert (found["drop"] - (found["top1"].iloc[0] - found["top1"])).abs().max() < 1e-9


def test_a_folder_that_holds_a_sweep_is_not_overwritten(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with pytest.raises(SchedEngineError, match="--resume"):
        analyse_sensitivity(network(), batches(), levels=LEVELS, out=tmp_path)


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no sweep"):
        analyse_sensitivity(network(), batches(), out=tmp_path, resume=True)


def test_other_weights_cannot_resume(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with pytest.raises(CheckpointError, match="weights: was"):
        analyse_sensitivity(network(seed=5), batches(), levels=LEVELS, out=tmp_path, resume=True)


def test_other_images_cannot_resume(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with pytest.raises(CheckpointError, match="shuffles"):
        analyse_sensitivity(network(), batches(seed=2), levels=LEVELS, out=tmp_path, resume=True)


def test_other_batches_cannot_resume(tmp_path: Path) -> None:
    interrupted(tmp_path)
    with pytest.raises(CheckpointError, match="batch size"):
        analyse_sensitivity(network(), batches(size=5), levels=LEVELS, out=tmp_path, resume=True)


def test_an_iterator_is_refused_since_it_can_be_read_once() -> None:
    with pytest.raises(DataError, match="one pass"):
        analyse_sensitivity(network(), iter(batches()))


def test_no_images_are_an_error() -> None:
    with pytest.raises(DataError, match="no images"):
        analyse_sensitivity(network(), [])


def test_within_stops_cells_early_and_its_bounds_hold() -> None:
    data = dataset(2000)
    exact = analyse_sensitivity(network(), data, levels=[0.1, 0.8])
    found = analyse_sensitivity(network(), data, levels=[0.1, 0.8], within=5.0, floor=100.0)
    assert (found["samples"][found["sparsity"] > 0] < 2000).all()
    assert (found["drop_high"] - found["drop_low"] <= 10 + 1e-6).all()
    assert ((found["drop_low"] <= exact["drop"]) & (exact["drop"] <= found["drop_high"])).all()
    assert found["top1"].iloc[0] == exact["top1"].iloc[0]


def test_within_reads_a_loader_of_a_dataset_only() -> None:
    with pytest.raises(DataError, match="random order"):
        analyse_sensitivity(network(), batches(), within=1.0)


def test_a_resumed_adaptive_sweep_gives_the_same_file(tmp_path: Path) -> None:
    data, options = dataset(1000), {"levels": [0.3, 0.8], "within": 6.0}
    whole = analyse_sensitivity(network(), data, **options)
    with pytest.raises(Interrupted):
        analyse_sensitivity(network(), data, **options, out=tmp_path, watch=stopping(3))
    resumed = analyse_sensitivity(network(), data, **options, out=tmp_path, resume=True)
    columns = [name for name in table.COLUMNS if name not in ("loss", "loss_units")]  # another path, other last bits
    pandas.testing.assert_frame_equal(resumed[columns], whole[columns])


def test_scores_that_are_not_finite_are_said_and_counted_nowhere() -> None:
    model = network()
    images, labels = batches(1)[0]
    images[0] = torch.inf
    found = analyse_sensitivity(model, [(images, labels)], levels=LEVELS)
    assert found["nonfinite"].min() >= 1 and found["top1"].isna().all()
    assert "not finite on 1 images" in found["note"].iloc[0]


def test_a_function_of_the_users_is_asked_once_a_cell() -> None:
    calls = []

    def norm(model: nn.Module) -> dict[str, float]:
        calls.append(model.training)
        return {"norm": float(sum(parameter.abs().sum() for parameter in model.parameters()))}

    found = analyse_sensitivity(network(), norm, levels=[0.5])
    assert list(found["norm"]) == sorted(found["norm"], reverse=True)[:0] + list(found["norm"])
    assert len(calls) == 2 + 3 and not any(calls)  # twice the dense network to compare; then it and two cells
    assert found["norm"].iloc[1] < found["norm"].iloc[0]


def test_a_function_that_does_not_repeat_itself_is_refused() -> None:
    numbers = iter(range(100))
    with pytest.raises(DataError, match="same weights"):
        analyse_sensitivity(network(), lambda model: {"loss": next(numbers)}, levels=[0.5])


def test_the_whole_network_can_be_swept_beside_its_layers() -> None:
    found = analyse_sensitivity(network(), batches(), levels=[0.5], allocation="global")
    assert list(found["parameter"][-2:]) == ["*", "*"]
    assert list(found["allocation"][-2:]) == ["global", "global"]
    assert found["removed"].iloc[-1] == (36 + 320) // 2


def test_what_was_asked_stands_beside_the_table(tmp_path: Path) -> None:
    analyse_sensitivity(
        network(), batches(), levels=LEVELS, granularity={"block": [1, 2]}, parameters="3.weight", out=tmp_path
    )
    noted = json.loads((tmp_path / "sweep.json").read_text())
    assert noted["done"] and noted["asked"]["granularity"] == '{"block": [1, 2]}'


def test_an_axis_that_no_schedule_knows_is_an_error() -> None:
    with pytest.raises(SchedEngineError, match="granularity: unknown granularity 'fliter'; did you mean filter"):
        analyse_sensitivity(network(), batches(), granularity="fliter")
