"""The names that a file may use."""

from __future__ import annotations

import subprocess
import sys

import pytest
from torch.optim import lr_scheduler

from schedengine.lr import LR_SCHEDULES, REFUSED


def test_every_torch_scheduler_is_offered_or_refused_by_name() -> None:
    torchs = {
        name
        for name, value in vars(lr_scheduler).items()
        if isinstance(value, type)
        and issubclass(value, lr_scheduler.LRScheduler)
        and not name.startswith(("_", "LRSch"))
    }
    assert torchs <= set(LR_SCHEDULES.names()) | set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_class_and_points_to_phases(name: str) -> None:
    assert name in REFUSED[name] and "phases" in REFUSED[name] and name not in LR_SCHEDULES


def test_listing_the_names_imports_no_torch() -> None:
    code = "import sys; from schedengine.lr import LR_SCHEDULES; LR_SCHEDULES.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_the_name_leads_to_a_class_that_leads_back(name: str) -> None:
    cls = LR_SCHEDULES.get(name)
    assert LR_SCHEDULES.name_of(object.__new__(cls)) == name
    assert cls.unit in ("ep", "st")
