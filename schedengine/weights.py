"""Values replaced: snapshots of a model and going back to them, batch-norm statistics. Masks are applied again.

A snapshot holds all parameters and buffers (batch-norm statistics too) by normalised name; of a weight whose pruned
values are kept, it holds these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from schedengine.errors import SchedEngineError
from schedengine.masks import MaskStore
from schedengine.selection import ParameterTable, normalise

Snapshot = dict[str, Tensor]


@torch.no_grad()
def take(model: nn.Module, table: ParameterTable, masks: MaskStore) -> Snapshot:
    """A copy of everything that the model computes with, where it is."""
    kept = {name: masks.weight(name) for name in table.names}
    return {name: value.detach().clone() for name, value in {**kept, **_buffers(model)}.items()}


@torch.no_grad()
def restore_(snapshot: Snapshot, model: nn.Module, table: ParameterTable, masks: MaskStore) -> None:
    """Give a model the values of a snapshot, and apply the masks that are in force now.

    Raises:
        SchedEngineError: it is of another model.
    """
    buffers = _buffers(model)
    own = {**{name: table[name] for name in table.names}, **buffers}
    wrong = [name for name, value in own.items() if name not in snapshot or snapshot[name].shape != value.shape]
    if wrong or snapshot.keys() - own.keys():
        name = (wrong or sorted(snapshot.keys() - own.keys()))[0]
        raise SchedEngineError(f"the snapshot is of another model: {name!r} is missing on one side, or misshapen")
    for name in table.names:
        masks.fill_(name, snapshot[name])
    for name, buffer in buffers.items():
        buffer.copy_(snapshot[name])
    masks.apply_()


def shuffled(snapshot: Snapshot, masks: Mapping[str, Tensor | None], key: str) -> Snapshot:
    """The same values, those of every parameter in a random order within it.

    Of a layer that was initialised with independent draws from one distribution, this is another draw, whatever the
    distribution was.

    Args:
        masks: the parameters; of one with a mask only the kept values move, among themselves.
        key: what the order is drawn from, with the parameter's name; the same on every rank and device.
    """
    found = dict(snapshot)
    for name, mask in masks.items():
        values = snapshot[name].clone()
        chosen = torch.ones_like(values, dtype=torch.bool) if mask is None else mask.to(values.device)
        moved = values[chosen]
        values[chosen] = moved[order(len(moved), f"{key}/{name}").to(moved.device)]
        found[name] = values
    return found


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate batch-norm statistics anew, as plain averages over batches; nothing else runs in training mode.

    Args:
        batches: inputs (B, ...), at least one.

    Raises:
        SchedEngineError: there is no batch; the statistics are left as they were.
    """
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
    iterator = iter(batches)
    first = next(iterator, None)
    if first is None:
        raise SchedEngineError("batch-norm statistics cannot be estimated from no batches; give at least one")
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # torch: a cumulative average
    try:
        for inputs in chain([first], iterator):
            model(inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode


def order(count: int, key: str) -> Tensor:
    """(count,): a random permutation that depends on count and key only."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.randperm(count, generator=torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))


def _buffers(model: nn.Module) -> Snapshot:
    """By normalised name; those that are not saved with a model are not its values."""
    saved = model.state_dict(keep_vars=True).keys()
    return {normalise(name): buffer for name, buffer in model.named_buffers() if name in saved}
