"""Pruners that act at every step of a stretch of time: those that learn thresholds, and those that edit gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from schedengine.criteria.base import outputs_dim
from schedengine.errors import Problem
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.choice import can_fuse
from schedengine.pruners.gates import Gate
from schedengine.pruners.learned import Learned
from schedengine.pruners.pruned import Decay
from schedengine.schedule.document import Policy, Schedule
from schedengine.selection import ParameterTable

_APART = tuple(getattr(torch.optim, name) for name in ("AdamW", "Adafactor", "Muon") if hasattr(torch.optim, name))
"""Optimizers that decay weights by themselves, not by their gradients; others say so in their groups."""


def unsteady(
    schedule: Schedule,
    pruners: Mapping[str, BoundPruner],
    optimizer: torch.optim.Optimizer | None,
    table: ParameterTable,
) -> Iterator[Problem]:
    """What such pruners, and the policies that use them, cannot mean."""
    used = set[str]()
    for number, policy in enumerate(schedule.policies):
        pruner = pruners.get(policy.instance) if policy.kind == "pruner" else None
        if pruner is None or not (pruner.spec.is_learned or pruner.spec.is_edit):
            continue
        for message in _of_policy(policy, pruner, is_first=policy.instance not in used):
            yield schedule.problem(f"policies[{number}]", message)
        used.add(policy.instance)
    for name, pruner in pruners.items():
        if pruner.spec.is_edit:
            yield from (schedule.problem(f"pruners.{name}{at}", what) for at, what in _edits(pruner, optimizer, table))


def _of_policy(policy: Policy, pruner: BoundPruner, *, is_first: bool) -> Iterator[str]:
    word = pruner.spec.treatment
    if policy.during is None:
        yield f"{word} acts at every step of a stretch of time; use 'during', as in 'during: run'"
    if policy.refresh is not None or policy.keep_mask:
        key = "keep_mask" if policy.keep_mask else "refresh"
        yield f"{key!r} is for masks, and pruner {pruner.name!r} ({word}) has none; remove it"
    if pruner.spec.is_learned and policy.every is not None:
        yield f"{word} learns at every step; remove 'every'"
    if pruner.spec.is_learned and not is_first:
        yield f"pruner {pruner.name!r} learns in one policy; name all phases in the first"


def _edits(
    pruner: BoundPruner, optimizer: torch.optim.Optimizer | None, table: ParameterTable
) -> Iterator[tuple[str, str]]:
    """What keeps a pruner from editing gradients."""
    if not can_fuse(pruner):
        yield ".criterion", "is not one that can be asked at every step; use magnitude or gradient"
    if not isinstance(pruner.spec.pruned, Decay) or optimizer is None:
        return
    own = {id(table[name]) for name in pruner.names}
    for group in optimizer.param_groups:
        is_apart = isinstance(optimizer, _APART) or group.get("decoupled_weight_decay")
        if is_apart and group.get("weight_decay") and any(id(one) in own for one in group["params"]):
            message = (
                f"{type(optimizer).__name__} decays all weights by itself, apart from their gradients; give "
                "it weight_decay 0 for these parameters, and 'pruned: {decay: {strength: ...}}' its value"
            )
            yield ".pruned", message
            return


def thresholds(
    pruners: Mapping[str, BoundPruner], table: ParameterTable, optimizer: torch.optim.Optimizer
) -> dict[str, Learned]:
    """Those of each pruner that learns, each in a group of the optimizer of its own."""
    found = {}
    for name, pruner in pruners.items():
        gate = pruner.spec.pruned
        if not isinstance(gate, Gate):
            continue
        outputs = {one: outputs_dim(table.layer(one)) or 0 for one in pruner.names}
        found[name] = Learned(gate, pruner.shapes(table), outputs, table[pruner.names[0]])
        first = optimizer.param_groups[0]
        decay = first.get("weight_decay", 0.0) if gate.weight_decay is None else gate.weight_decay
        own = {"params": [found[name].values], "lr": first["lr"] * gate.lr, "weight_decay": decay}
        optimizer.add_param_group(own)
    return found
