"""Thinning carried out: tried and verified on copies first, then in place, all of it or nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from schedengine.errors import EffectError
from schedengine.export.forward import Inputs, changed, kept_generators, leaves, private_copy, random_inputs, run
from schedengine.export.thin import Slice, Thinning, settle_
from schedengine.masks import sliced

_SEED = 31
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Of the largest absolute output: sums over fewer terms are rounded otherwise, and nothing else may differ."""


@dataclass(frozen=True)
class Verification:
    """How well two networks agree on random inputs, in evaluation mode.

    Attributes:
        error: largest absolute difference of an output.
        largest: largest absolute output of the network before.
        tolerance: of ``error / largest``.
        settling: largest absolute change of an output by settling alone: what setting the shifts of dead channels to 0
            did to the masked network, before anything was removed.
    """

    error: float
    largest: float
    tolerance: float
    settling: float

    def __bool__(self) -> bool:
        return self.error <= self.tolerance * self.largest


def apply_(
    model: nn.Module, thinning: Thinning, example_inputs: Inputs, optimizer: Optimizer | None = None
) -> Verification:
    """Remove in place what a plan removes; training can go on.

    Parameters stay the same objects, with smaller values and gradients; so do an optimizer's groups, and its state is
    sliced along. Whatever else holds a tensor of the old shape (masks, averages) follows by ``masks.sliced``; wrappers
    that keep buckets of their own (DistributedDataParallel) must be made anew.

    Args:
        model: as it was when planned.
        thinning: from ``plan``.
        example_inputs: as for ``plan``; the outputs of the masked, settled network and of the thinned one are compared
            on random inputs of these shapes, in the model's precision.
        optimizer: any whose state is numbers, and tensors of the parameters' shapes.

    Returns:
        The comparison.

    Raises:
        EffectError: the model is another than planned, the outputs differ, the thinned network does not run, or the
            optimizer's state cannot be sliced. Nothing has been changed then.
    """
    _check_planned(model, thinning)
    state = list(_sliced_state(model, thinning, optimizer)) if optimizer else []
    masked, thinned = settled_pair(model, thinning)
    shrink_(thinned, thinning)
    found = compare(masked, thinned, example_inputs, before_settling=private_copy(model))
    shrink_(model, thinning)
    for entries, key, value in state:
        entries[key] = value
    return found


def settled_pair(model: nn.Module, thinning: Thinning) -> tuple[nn.Module, nn.Module]:
    """Two copies of the masked network, settled."""
    masked = private_copy(model)
    settle_(masked, thinning)
    return masked, copy.deepcopy(masked)


def compare(
    masked: nn.Module, thinned: nn.Module, example_inputs: Inputs, *, before_settling: nn.Module | None = None
) -> Verification:
    """Outputs of two networks on random inputs; in training mode it is only tried whether both run.

    Args:
        masked, thinned: private copies, whose statistics change.

    Raises:
        EffectError: the thinned network does not run, or its outputs differ.
    """
    inputs = random_inputs(example_inputs, masked, seed=_SEED)
    with kept_generators(masked), torch.no_grad():
        wanted = run(masked, inputs)
        got = _run_thinned(thinned, inputs, "in evaluation mode")
        raw = run(before_settling, inputs) if before_settling is not None else wanted
        dtype = next((one.dtype for one in masked.parameters() if one.is_floating_point()), torch.float32)
        largest, tolerance = _largest(wanted), TOLERANCES.get(dtype, TOLERANCES[torch.float32])
        found = Verification(_distance(got, wanted), largest, tolerance, _distance(raw, wanted))
        if not found:
            raise EffectError(
                "the thinned network computes something else than the masked one: outputs differ by "
                f"{found.error:.3g}, where the largest is {largest:.3g} and they may by {tolerance * largest:.3g}"
            )
        _try_training(masked, thinned, inputs)
    return found


def shrink_(model: nn.Module, thinning: Thinning) -> None:
    """Slice parameters, gradients and buffers, and set the attributes that count them."""
    for one in thinning.slices:
        layer = model.get_submodule(one.layer)
        value = getattr(layer, one.tensor)
        if isinstance(value, nn.Parameter):
            gradient = None if value.grad is None else sliced(value.grad, one.keep)
            resize_(value, sliced(value.detach(), one.keep))
            value.grad = gradient
        else:
            layer._buffers[one.tensor] = sliced(value, one.keep)
    for name, attributes in thinning.attributes.items():
        for attribute, number in attributes.items():
            setattr(model.get_submodule(name), attribute, number)


def resize_(parameter: nn.Parameter, value: Tensor) -> None:
    """Give a parameter a value of another shape; its gradient is dropped.

    A backward pass of which something is still alive (a loss kept for the log) keeps the parameter's accumulator, which
    remembers the old shape and would refuse the next gradient. Only another dtype makes torch forget it.
    """
    parameter.grad = None
    other = torch.float32 if value.dtype == torch.float64 else torch.float64
    parameter.data = torch.empty(0, dtype=other, device=None if value.device.type == "mps" else value.device)
    parameter.data = value


def _check_planned(model: nn.Module, thinning: Thinning) -> None:
    for one in thinning.slices:
        value = getattr(model.get_submodule(one.layer), one.tensor, None)
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        if shape != one.before:
            raise EffectError(f"{one.name}: planned for shape {one.before}, found {shape}; plan again")


def _sliced_state(
    model: nn.Module, thinning: Thinning, optimizer: Optimizer
) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    """Where in the optimizer's state a smaller tensor goes."""
    kept = {id(getattr(model.get_submodule(one.layer), one.tensor)): one for one in thinning.slices}
    for parameter, entries in optimizer.state.items():
        own = kept.get(id(parameter))
        for key, value in entries.items():
            if isinstance(value, Tensor) and ((value.numel() == 1 and value.dim() == 0) or own is None):
                continue
            if isinstance(value, Tensor) and own is not None and tuple(value.shape) == own.before:
                yield entries, key, sliced(value, own.keep)
            elif own is not None or any(True for _ in leaves(value)):
                _check_plain(optimizer, key, value, own)


def _check_plain(optimizer: Optimizer, key: str, value: Any, own: Slice | None) -> None:
    shapes = [tuple(one.shape) for one in leaves(value)]
    if shapes:
        where = f"{own.name}, of shape {own.before}" if own else "some parameter"
        raise EffectError(
            f"{type(optimizer).__name__} keeps {key!r} for {where}, in tensors of other shapes ({shapes[0]}), which "
            "cannot be thinned with it; nothing was changed; thin before training, or make the optimizer anew"
        )


def _run_thinned(thinned: nn.Module, inputs: Inputs, mode: str) -> list[Tensor]:
    try:
        return run(thinned, inputs)
    except Exception as problem:  # whatever a network raises whose code counts on a size
        reason = (str(problem).splitlines() or [type(problem).__name__])[0]
        raise EffectError(f"the thinned network does not run {mode}: {reason}") from problem


def _try_training(masked: nn.Module, thinned: nn.Module, inputs: Inputs) -> None:
    """Layers that only training uses (auxiliary outputs) must fit as well. Statistics over one value need two."""
    doubled = changed(inputs, lambda one: torch.cat([one, one]) if one.dim() and len(one) == 1 else one)
    try:
        run(masked.train(), doubled)
    except Exception:  # it does not run thus anyway, thinned or not
        return
    _run_thinned(thinned.train(), doubled, "in training mode")


def _largest(outputs: list[Tensor]) -> float:
    return max((float(one.abs().max()) for one in outputs if one.numel()), default=0.0)


def _distance(outputs: list[Tensor], wanted: list[Tensor]) -> float:
    """Infinite where shapes or numbers of outputs differ, or a value is not finite."""
    if [one.shape for one in outputs] != [one.shape for one in wanted]:
        return float("inf")
    pairs = [(one.cpu().double(), other.cpu().double()) for one, other in zip(outputs, wanted) if one.numel()]
    found = float(torch.stack([(one - other).abs().max() for one, other in pairs]).max()) if pairs else 0.0
    return found if found == found else float("inf")
