"""Run folders made by hand, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METRICS = "epoch,phase,lr,train_loss,penalty,val_loss,top1,top5,sparsity,sparsity_all,seconds"
WITH_REPLICAS = "epoch,phase,replica,lr,lr_highest,train_loss,penalty,val_loss,top1,top5,sparsity,sparsity_all,seconds"
SIZES = {"conv1.weight": 144, "conv2.weight": 4608, "conv3.weight": 18432, "conv4.weight": 36864, "fc.weight": 640}
"""The weights of digits_cnn."""


def write_run(
    path: Path,
    top1: Sequence[float],
    *,
    seed: int = 0,
    schedule: str = "agp",
    result: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """A run of digits_cnn: epoch k has sparsity 0.5 in all layers from the second epoch on, and takes 60 seconds."""
    path.mkdir(parents=True)
    plain = {"schedule": f"{schedule}.yaml", "model": "digits_cnn", "seed": seed, **(settings or {})}
    data = {"classes": 10, "shape": [1, 8, 8]}
    (path / "run.json").write_text(json.dumps({"settings": plain, "data": data}))
    (path / "schedule.yaml").write_text(f"# {schedule}\n")
    levels = [0.0 if epoch == 0 else 0.5 for epoch in range(len(top1))]
    lines = [
        f"{epoch},,0.1,1.5,0,1.0,{score},99,{levels[epoch]},{levels[epoch]},60" for epoch, score in enumerate(top1)
    ]
    (path / "metrics.csv").write_text("\n".join([METRICS, *lines, ""]))
    rows = [
        f"{epoch},{name},{size},{int(size * level)},{level}"
        for epoch, level in enumerate(levels)
        for name, size in SIZES.items()
    ]
    (path / "sparsity.csv").write_text("\n".join(["epoch,parameter,weights,zeros,sparsity", *rows, ""]))
    if result is not None:
        (path / "result.json").write_text(json.dumps(result))
    return path


def result(validation: float, best: float, test: float) -> dict[str, Any]:
    """What a finished run says, at sparsity 0.5."""
    return {
        "sparsity": 0.5,
        "sparsity_all": 0.5,
        "before": {"validation": {"top1": 99.0}, "test": {"top1": 98.0}},
        "after": {"validation": {"top1": validation}, "test": {"top1": test}},
        "best": {"sparsity": 0.5, "epoch": 1, "top1": best},
    }


def write_replicas(path: Path, *, dense: int = 2, length: int = 2, cycles: int = 2, offset: float = 0.0) -> Path:
    """A run with two replicas: a phase ``dense``, then one ``cycle``, its repeats with the sparsities 0.5, 0.75, ... .

    Top-1: 70 + epoch, of replica r 80 + epoch + r, of an average 90 + epoch; and the offset.
    """
    write_run(path, [])
    levels = [1 - 0.5 ** (cycle + 1) for cycle in range(cycles)]
    lines = [row(epoch, "dense", "", 70 + epoch + offset, 0.0) for epoch in range(dense)]
    for cycle, level in enumerate(levels):
        epochs = range(dense + cycle * length, dense + (cycle + 1) * length)
        lines += [row(one, "cycle", f"{r}", 80 + one + r + offset, level) for r in range(2) for one in epochs]
        lines.append(row(epochs[-1], "cycle", "soup", 90 + epochs[-1] + offset, level))
    (path / "metrics.csv").write_text("\n".join([WITH_REPLICAS, *lines, ""]))
    counts = [
        f"{epoch},{name},{size},0,0.0" for epoch in range(dense + cycles * length) for name, size in SIZES.items()
    ]
    (path / "sparsity.csv").write_text("\n".join(["epoch,parameter,weights,zeros,sparsity", *counts, ""]))
    return path


def row(epoch: int, phase: str, replica: str, top1: float, sparsity: float) -> str:
    """Of metrics.csv; an average trains for no time at all."""
    trained = ",,," if replica == "soup" else f"0.1,0.1,{2 - epoch / 10},0"
    seconds = 1 if replica == "soup" else 60
    return f"{epoch},{phase},{replica},{trained},1.0,{top1},99,{sparsity},{sparsity},{seconds}"
