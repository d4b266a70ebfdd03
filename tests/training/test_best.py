"""The best weights at each sparsity."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from schedengine.training.best import BestWeights
from schedengine.training.evaluate import Evaluation
from schedengine.zoo.weights import read_state


def scored(top1: float, loss: float = 1.0) -> Evaluation:
    return Evaluation(loss, top1, 100.0, 10)


def filled(value: float) -> nn.Module:
    model = nn.Linear(1, 1)
    nn.init.constant_(model.weight, value)
    return model


def value(file: Path) -> float:
    return float(read_state(file)["weight"])


def test_a_dense_epoch_never_stands_for_a_sparse_one(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    best.consider(filled(1), 0, 0.0, scored(99))
    best.consider(filled(2), 1, 0.9, scored(90))
    assert value(tmp_path / "best-0.900.safetensors") == 2
    assert [entry["epoch"] for entry in json.loads((tmp_path / "best.json").read_text())] == [0, 1]


def test_at_one_sparsity_the_higher_accuracy_stays(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    for epoch, top1 in enumerate([90, 92, 91]):
        best.consider(filled(epoch), epoch, 0.9, scored(top1))
    assert value(tmp_path / "best-0.900.safetensors") == 1


def test_at_equal_accuracy_the_lower_loss_counts_and_then_the_earlier_epoch(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    for epoch, loss in enumerate([0.5, 0.4, 0.4]):
        best.consider(filled(epoch), epoch, 0.9, scored(90, loss))
    assert value(tmp_path / "best-0.900.safetensors") == 1


def test_without_validation_the_latest_epoch_counts(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    for epoch in range(3):
        best.consider(filled(epoch), epoch, 0.9, None)
    assert value(tmp_path / "best-0.900.safetensors") == 2


def test_what_a_folder_holds_is_known_again_after_a_restart(tmp_path: Path) -> None:
    BestWeights(tmp_path).consider(filled(1), 0, 0.9, scored(95))
    (tmp_path / "best-0.500.safetensors").write_bytes(b"cut off")
    again = BestWeights(tmp_path)
    again.consider(filled(2), 1, 0.9, scored(94))
    found = again.at(0.9)
    assert found is not None and (found.epoch, found.top1) == (0, 95)
    assert again.at(0.5) is None
