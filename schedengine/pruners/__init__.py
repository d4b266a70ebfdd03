"""Pruners: criterion x granularity x allocation x ramp (or threshold) x update x what becomes of pruned weights.

    pruner.py        the axes as a file writes them: `Pruner`, a frozen spec
    updates.py       how a new selection meets the old one: shrink, reselect, splice
    thresholds.py    what a score must exceed, where a pruner thresholds instead of ranking: absolute, std, spread,
                     rising
    cutting.py       one cut: from weights and a target to masks
    bound.py         a pruner on a model: its parameters, its state, its cuts verified

When a pruner acts is not said here but in ``policies/``; masks are applied in ``masks.py`` only.
"""

from __future__ import annotations

from schedengine.registry import Registry

UPDATES = Registry(
    "mask update",
    {
        "shrink": "schedengine.pruners.updates:Shrink",
        "reselect": "schedengine.pruners.updates:Reselect",
        "splice": "schedengine.pruners.updates:Splice",
    },
)

THRESHOLDS = Registry(
    "threshold",
    {
        "absolute": "schedengine.pruners.thresholds:Absolute",
        "std": "schedengine.pruners.thresholds:Std",
        "spread": "schedengine.pruners.thresholds:Spread",
        "rising": "schedengine.pruners.thresholds:Rising",
    },
)
