"""Run folders made by hand, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

METRICS = "epoch,phase,lr,train_loss,penalty,val_loss,top1,top5,sparsity,sparsity_all,seconds"
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
