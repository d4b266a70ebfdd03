"""schedengine: a YAML file says what to prune and when; the training loop stays yours.

    from schedengine import load_schedule
    scheduler = load_schedule("agp.yaml").bind(model, optimizer, epochs=30)

The names below are imported when first used, so that ``import schedengine`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from schedengine._version import __version__

_PUBLIC = {
    "EffectError": "schedengine.errors",
    "PruningScheduler": "schedengine.scheduler",
    "SchedEngineError": "schedengine.errors",
    "Schedule": "schedengine.schedule.document",
    "ScheduleError": "schedengine.errors",
    "Trace": "schedengine.lr.trace",
    "dump": "schedengine.schedule.load",
    "file_config": "schedengine.schedule.load",
    "load_pruned": "schedengine.export.pruned",
    "load_schedule": "schedengine.schedule.load",
    "save_pruned": "schedengine.export.pruned",
}
__all__ = [
    "EffectError",
    "PruningScheduler",
    "SchedEngineError",
    "Schedule",
    "ScheduleError",
    "Trace",
    "__version__",
    "dump",
    "file_config",
    "load_pruned",
    "load_schedule",
    "save_pruned",
]

if TYPE_CHECKING:
    from schedengine.errors import EffectError, SchedEngineError, ScheduleError
    from schedengine.export.pruned import load_pruned, save_pruned
    from schedengine.lr.trace import Trace
    from schedengine.schedule.document import Schedule
    from schedengine.schedule.load import dump, file_config, load_schedule
    from schedengine.scheduler import PruningScheduler


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
