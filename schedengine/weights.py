"""Values replaced: snapshots of a model and going back to them, batch-norm statistics. Masks are applied again.

A snapshot holds all parameters and buffers (batch-norm statistics too) by normalised name; of a weight whose pruned
values are kept, it holds these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from schedengine.criteria.network import exact
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


def norms_of(model: nn.Module) -> list[_BatchNorm]:
    """The batch normalisations that keep running statistics."""
    norms = (module for module in model.modules() if isinstance(module, _BatchNorm))
    return [norm for norm in norms if norm.track_running_stats]


@torch.no_grad()
def recalibrate_(model: nn.Module, batches: Iterable[Tensor | tuple[Any, ...]]) -> int:
    """Estimate batch-norm statistics anew, as plain averages over batches; nothing else runs in training mode.

    A normalisation that no batch reaches keeps its statistics. Under DDP every rank must call, and all get the averages
    over the batches of all ranks.

    Args:
        batches: inputs (B, ...), or a tuple of what the model is called with; at least one on some rank.

    Returns:
        How many batches this rank used.

    Raises:
        SchedEngineError: there is no batch, or one of a single example. The statistics are left as they were, as
            after any other error.
    """
    norms = norms_of(model)
    before = {norm: [buffer.clone() for buffer in norm.buffers(recurse=False)] for norm in norms}
    used, unseen = 0, norms
    try:
        with _estimating(model, norms):
            for inputs in batches:
                model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
                used += 1
        unseen = _agree_(norms, used)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # torch's words
            raise
        what = f"batch {used} has a single example, which has no variance: {error}"
        raise SchedEngineError(f"{what}; leave such a batch out (drop_last=True)") from error
    finally:
        for norm in unseen:
            for buffer, value in zip(norm.buffers(recurse=False), before[norm], strict=True):
                buffer.copy_(value)
    return used


@contextmanager
def _estimating(model: nn.Module, norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Batch normalisation alone in training mode, with statistics that begin anew."""
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # torch: a cumulative average
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes:
            module.training = mode


def _agree_(norms: Sequence[_BatchNorm], used: int) -> list[_BatchNorm]:
    """Give every rank the averages over the batches of all of them; the normalisations that no batch reached.

    Raises:
        SchedEngineError: there was no batch on any rank.
    """
    if dist.is_available() and dist.is_initialized():
        used = _average_over_ranks_(norms, used)
    if not used:
        raise SchedEngineError(
            "batch-norm statistics cannot be estimated from no batches; give at least one, from what can be gone "
            "through more than once: a DataLoader or a list"
        )
    return [norm for norm in norms if not _statistics(norm)[0]]


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor, Tensor]:
    """How many batches, running mean and running variance."""
    count, mean, variance = norm.num_batches_tracked, norm.running_mean, norm.running_var
    assert count is not None and mean is not None and variance is not None
    return count, mean, variance


def _average_over_ranks_(norms: Sequence[_BatchNorm], used: int) -> int:
    """In one operation, so that all ranks have the same to the bit; how many batches they used together."""
    kept = [_statistics(norm) for norm in norms]
    device = kept[0][0].device if kept else torch.device("cpu")
    dtype = exact(device)
    sums = [torch.tensor([used], dtype=dtype, device=device)]
    for count, *averages in kept:
        sums += [one.to(device, dtype).reshape(-1) for one in (count, *(one * count for one in averages))]
    flat = torch.cat(sums)
    dist.all_reduce(flat)
    whole = iter(torch.split(flat, [len(one) for one in sums]))
    total = int(next(whole))
    for count, *averages in kept:
        count.copy_(next(whole)[0])
        for average in averages:
            average.copy_(next(whole) / count.clamp_min(1))
    return total


def order(count: int, key: str) -> Tensor:
    """(count,): a random permutation that depends on count and key only."""
    digest = hashlib.sha256(key.encode()).digest()
    return torch.randperm(count, generator=torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1))


def _buffers(model: nn.Module) -> Snapshot:
    """By normalised name; those that are not saved with a model are not its values."""
    saved = model.state_dict(keep_vars=True).keys()
    return {normalise(name): buffer for name, buffer in model.named_buffers() if name in saved}
