from __future__ import annotations

import time

import torch
from torch import Tensor, nn

from schedengine.export.latency import Latency, latency


class Slow(nn.Module):
    def __init__(self, seconds: float, log: list[float]) -> None:
        super().__init__()
        self.seconds, self.log = seconds, log

    def forward(self, values: Tensor) -> Tensor:
        self.log.append(self.seconds)
        time.sleep(self.seconds)
        return values


def test_passes_take_turns_and_the_slower_takes_longer() -> None:
    log: list[float] = []
    found = latency({"a": Slow(0.002, log), "b": Slow(0.004, log)}, torch.zeros(1), seconds=0.05)
    assert log == [0.002, 0.004] * (len(log) // 2)
    assert found["b"].median > found["a"].median >= 2.0
    assert found["a"].lower <= found["a"].median <= found["a"].upper
    assert found["a"].passes == len(log) // 2 - 3


def test_modes_stay_as_they_were() -> None:
    model = nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)).train()
    model[1].eval()
    assert isinstance(latency({"one": model}, torch.rand(3, 2), seconds=0)["one"], Latency)
    assert [module.training for module in model.modules()] == [True, True, False]
