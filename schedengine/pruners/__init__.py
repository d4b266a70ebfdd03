"""Pruners: criterion x granularity x allocation x ramp (or threshold) x update x what becomes of pruned weights.

    pruner.py          the axes as a file writes them: `Pruner`, a frozen spec
    updates.py         how a new selection meets the old one: shrink, reselect, splice, drop and grow
    thresholds.py      what a score must exceed, where a pruner thresholds instead of ranking: absolute, std, spread,
                       rising
    aim.py             what a cut asks for, as far as shapes and time tell
    cutting.py         one cut: from weights and a target to masks
    census.py          what a sparsity counts: groups as they were before any thinning
    effects.py         whether a cut did what was asked, and left enough
    reconstruction.py  the weights that stay, so that outputs stay what they were
    impact.py          what a cut took from the network, in norms
    cut.py             the record of a cut
    bound.py           a pruner on a model: its parameters, its state, its cuts

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
        "learned": "schedengine.pruners.updates:Learned",
        "drop_grow": "schedengine.pruners.updates:DropGrow",
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

PRUNED = Registry(
    "treatment of pruned weights",
    {
        "zero": "schedengine.pruners.pruned:Zero",
        "hidden": "schedengine.pruners.pruned:Hidden",
        "dense": "schedengine.pruners.pruned:Dense",
        "forward": "schedengine.pruners.pruned:Forward",
        "passive": "schedengine.pruners.pruned:Passive",
        "decay": "schedengine.pruners.pruned:Decay",
        "soft_threshold": "schedengine.pruners.gates:SoftThreshold",
        "step_threshold": "schedengine.pruners.gates:StepThreshold",
        "sigmoid_gate": "schedengine.pruners.gates:SigmoidGate",
    },
)
