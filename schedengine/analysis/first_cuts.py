"""What cuts take that come before the first step of a run: the weights that they cut are those that are given."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

from torch import nn

from schedengine.errors import EffectWarning
from schedengine.pruners.impact import Impact, joint
from schedengine.schedule.document import Schedule


def impacts_at_start(schedule: Schedule, model: nn.Module, epochs: int, steps_per_epoch: int) -> dict[int, Impact]:
    """Step 0 -> what the cuts before it take together; empty if nothing is cut then.

    Args:
        model: left as it is; with values.
        epochs: length of the run.
        steps_per_epoch: > 0.

    Raises:
        SchedEngineError: the weights cannot be ranked (nan), or a cut removes another count than it asks.
    """
    cutting = {name for name, pruner in schedule.pruners.items() if not (pruner.is_learned or pruner.is_edit)}
    pruning = tuple(policy for policy in schedule.policies if policy.kind == "pruner" and policy.instance in cutting)
    only = replace(schedule, policies=pruning)
    length = epochs if schedule.epochs is None else None
    scheduler = only.bind(copy.deepcopy(model), epochs=length, steps_per_epoch=steps_per_epoch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EffectWarning)  # the cuts that the plan counts tell the same
        scheduler.on_epoch_begin(0)
        scheduler.on_minibatch_begin(0, 0, steps_per_epoch)
    return {0: joint([cut.impact for cut in scheduler.cuts])} if scheduler.cuts else {}
