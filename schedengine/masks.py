"""The masks of a run, and the only code that applies them.

A mask is True where a weight is kept. Each pruner owns its own mask of a parameter; what is applied is their
conjunction. What becomes of pruned weights is the mask's *mode*:

    zero      pruned weights are 0, and set to 0 again after every update
    hidden    the forward pass sees 0; the value is kept and comes back if the mask re-admits it; its gradient is masked
    dense     the forward pass sees 0; the kept value trains on, with the gradient taken at the pruned point
    forward   set to 0 before every forward pass, left to the optimizer after it (Distiller's `mask_on_forward_only`)

Where a pruner learns what goes, it has *gates* instead of masks until they are folded: parameters show what the gates
make of kept weights, and the optimizer is given the kept weights with their own gradients.

Between updates the model always shows its pruned weights (but in mode ``forward``), so that an evaluation sees what
would be deployed. Per step, whatever the number of layers, one fused operation applies all masks of one dtype and
device, two more swap the kept values in and out where a mode keeps them, one masks gradients where asked. None waits
for the device.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from schedengine.errors import CheckpointError, ModelError, SchedEngineError
from schedengine.selection import ParameterTable

_PART = 1 << 16
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
Mode = Literal["zero", "hidden", "dense", "forward"]


@dataclass(frozen=True)
class Applied:
    """How a pruner wants its masks applied.

    Args:
        mode: what becomes of pruned weights, see the module.
        mask_gradients: also set the gradients of pruned weights to 0 before every update (mode ``hidden`` always does).
        rescale: divide what is shown by the share of the weights that is kept, as dropout does; only where values are
            kept (``hidden``, ``dense``), which are not scaled themselves.
    """

    mode: Mode = "zero"
    mask_gradients: bool = False
    rescale: bool = False


class Gates(Protocol):
    """What a pruner has learned instead of masks: see ``pruners.learned.Learned``."""

    names: list[str]

    @property
    def is_soft(self) -> bool:
        """Whether training sees another weight than what is deployed."""

    def show_(self, parameters: Sequence[Tensor], kept: Sequence[Tensor], *, in_training: bool) -> None:
        """Write what the network computes with."""

    def backward_(self, parameters: Sequence[Tensor], kept: Sequence[Tensor]) -> None:
        """Turn gradients at what was shown into those of the kept weights."""

    def guard_(self, kept: Sequence[Tensor]) -> None:
        """Look at the weights that an update made."""

    def follow_(self, parameter: Tensor) -> None:
        """Be on the device that the parameters have moved to."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""


@dataclass
class _Group:
    """Parameters of one dtype and device, with their masks in that dtype."""

    names: list[str]
    masks: list[Tensor]


class MaskStore:
    """All masks of a model.

    Args:
        table: the model's parameters; looked up at every use.
        gates: of those pruners that learn what goes, by their names; ``open_`` puts them in place.
    """

    def __init__(self, table: ParameterTable, gates: Mapping[str, Gates] | None = None) -> None:
        self._table = table
        self._gates = dict(gates or {})
        self._open: list[str] = []
        self._owned: dict[str, dict[str, Tensor]] = {}
        self._applied: dict[str, Applied] = {}
        self._masters: dict[str, Tensor] = {}
        self._groups: dict[str, list[_Group]] | None = None
        self._forms: dict[str, Tensor] = {}
        self._kinds: list[tuple[Any, ...]] = []
        self.is_pending = False
        """Whether a mask was set that ``apply_`` has not applied yet."""
        self._changes: dict[str, int] = {}
        self._is_updating = False

    # --- the masks ---------------------------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The masked parameters."""
        return list(self._owned)

    def mask(self, name: str, *, but: Collection[str] = ()) -> Tensor | None:
        """The mask in force, of the parameter's shape: the conjunction of its owners'. None if there is none.

        Args:
            but: owners whose masks are left out.
        """
        masks = [mask for owner, mask in self._owned.get(name, {}).items() if owner not in but]
        if not masks:
            return None
        combined = masks[0]
        for other in masks[1:]:
            combined = combined & other
        return combined

    def in_force(self, name: str) -> Tensor:
        """The mask of a parameter that is known to have one."""
        mask = self.mask(name)
        assert mask is not None
        return mask

    def owners(self, name: str) -> list[str]:
        """Whose masks a parameter has."""
        return list(self._owned.get(name, {}))

    def changes(self, *, but: Collection[str] = ()) -> int:
        """How often a mask was set or taken away, those of some owners not counted."""
        return sum(count for owner, count in self._changes.items() if owner not in but)

    def _count(self, owner: str) -> None:
        self._changes[owner] = self._changes.get(owner, 0) + 1

    def owned(self, owner: str, name: str) -> Tensor | None:
        """The mask that one pruner has set."""
        return self._owned.get(name, {}).get(owner)

    def weight(self, name: str) -> Tensor:
        """The values that a criterion should rank: kept ones where there are any, else the parameter's."""
        return self._masters.get(name, self._table[name]).detach()

    def set_(self, owner: str, name: str, mask: Tensor, applied: Applied = Applied(), *, replace: bool = False) -> None:
        """Replace one pruner's mask of a parameter. It takes effect with the next ``apply_``.

        Args:
            owner: the pruner.
            mask: bool, of the parameter's shape, True where kept.
            replace: drop the masks that other pruners own (Distiller's rule: the last pruner wins).

        Raises:
            SchedEngineError: learned gates of the parameter are in place.
        """
        self._check_settled(name)
        if replace:
            self._owned[name] = {owner: mask}
        else:
            self._owned.setdefault(name, {})[owner] = mask
        self.treat_(name, applied)
        self.is_pending = True
        self._count(owner)

    @torch.no_grad()
    def renew_(self, owner: str, masks: Mapping[str, Tensor]) -> None:
        """Replace a pruner's masks by others of the same parameters, treated as before; takes effect at ``apply_``.

        Where it owns the only mask of each, one fused operation puts them in place; nothing is made anew.

        Args:
            masks: bool, of the parameters' shapes.
        """
        for name, mask in masks.items():
            self._owned[name][owner] = mask
        self.is_pending = True
        self._count(owner)
        is_alone = all(len(self._owned[name]) == 1 and not self._applied[name].rescale for name in masks)
        if self._groups is not None and is_alone:
            torch._foreach_copy_([self._forms[name] for name in masks], list(masks.values()))
        else:
            self._groups = None

    @torch.no_grad()
    def drop_(self, owner: str) -> None:
        """Take one pruner's masks away: kept values show again, zeros stay 0 until the optimizer moves them."""
        for name in [name for name, owners in self._owned.items() if owner in owners]:
            del self._owned[name][owner]
            self._count(owner)
            if name in self._masters:
                self._table[name].copy_(self._masters[name])
            if self._owned[name]:
                self._table[name].mul_(self.in_force(name))
            else:
                del self._owned[name], self._applied[name]
                self._masters.pop(name, None)
        self._groups = None

    @torch.no_grad()
    def fill_(self, name: str, value: Tensor) -> None:
        """Replace a parameter's values, the kept ones too. Pruned weights show as 0 after the next ``apply_``."""
        self._table[name].copy_(value)
        if name in self._masters:
            self._masters[name].copy_(value)

    @torch.no_grad()
    def slice_(self, kept: Mapping[str, Sequence[tuple[int, Tensor]]]) -> None:
        """Follow parameters that lost a part of themselves.

        Args:
            kept: by name, along which dimensions which positions stay.

        Raises:
            SchedEngineError: learned gates of one are in place.
        """
        for name, cuts in kept.items():
            self._check_settled(name)
            if name in self._owned:
                self._owned[name] = {owner: sliced(mask, cuts) for owner, mask in self._owned[name].items()}
            if name in self._masters:
                self._masters[name] = sliced(self._masters[name], cuts)
        self._groups = None

    def treat_(self, name: str, applied: Applied) -> None:
        """Change what becomes of a parameter's pruned weights; a kept value is dropped where no longer wanted."""
        if applied.mode not in ("hidden", "dense"):
            self._masters.pop(name, None)
        elif name not in self._masters:
            self._masters[name] = self._table[name].detach().clone()
        self._applied[name] = applied
        self._groups = None

    # --- learned gates -----------------------------------------------------------------------------------------------

    @property
    def has_open(self) -> bool:
        """Whether any gates are in place."""
        return bool(self._open)

    def is_open(self, owner: str) -> bool:
        """Whether a pruner's gates are in place."""
        return owner in self._open

    def _check_settled(self, name: str) -> None:
        for owner in self._open:
            if name in self._gates[owner].names:
                raise SchedEngineError(f"{name}: {owner!r} still learns what goes of it; act when its windows are over")

    def open_(self, owner: str) -> None:
        """Put learned gates in place: from now on the optimizer trains kept weights, and parameters show what is left.

        Raises:
            SchedEngineError: a parameter has masks already.
        """
        for name in self._gates[owner].names:
            if name in self._owned or name in self._masters:
                raise SchedEngineError(
                    f"{name} is pruned already, and {owner!r} would learn what goes; prune with one of them"
                )
        self._masters |= {name: self._table[name].detach().clone() for name in self._gates[owner].names}
        self._open.append(owner)
        self._show_(owner)

    @torch.no_grad()
    def fold_(self, owner: str) -> None:
        """Make what learned gates leave of the weights the weights themselves, and masks of the zeros."""
        self._show_(owner)
        self._open.remove(owner)
        for name in self._gates[owner].names:
            del self._masters[name]
            self.set_(owner, name, self._table[name].detach() != 0)

    def _show_(self, owner: str, *, in_training: bool = False) -> None:
        gates = self._gates[owner]
        gates.show_(*self._both(gates), in_training=in_training)

    def _both(self, gates: Gates) -> tuple[list[Tensor], list[Tensor]]:
        """Its parameters, and their kept weights."""
        return [self._table[name] for name in gates.names], [self._masters[name] for name in gates.names]

    # --- one step ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def apply_(self) -> None:
        """Set pruned weights to 0 in the model, and show the kept values that a mask re-admits."""
        self._give_kept_()
        for group in self._of("all"):
            torch._foreach_mul_(self._parameters(group), group.masks)
        for owner in self._open:
            self._show_(owner)
        self.is_pending = False

    @torch.no_grad()
    def before_forward_(self) -> None:
        """Mask what mode ``forward`` leaves to the optimizer, and show what gates that are soft let through."""
        for group in self._of("forward"):
            torch._foreach_mul_(self._parameters(group), group.masks)
        for owner in self._open:
            if self._gates[owner].is_soft:
                self._show_(owner, in_training=True)

    @torch.no_grad()
    def before_update_(self) -> None:
        """Mask gradients where asked, and give the optimizer the kept values.

        Raises:
            SchedEngineError: what it made of those of the step before was never looked at.
        """
        if self._is_updating and (self._of("kept") or self._open):
            raise SchedEngineError(
                "pruned weights are kept (hidden, dense or learned), and on_minibatch_end was not called after the "
                "optimizer's last step; call it there"
            )
        for group in self._of("gradients"):
            pairs = [(p.grad, m) for p, m in zip(self._parameters(group), group.masks) if p.grad is not None]
            if pairs:
                gradients, masks = zip(*pairs)
                torch._foreach_mul_(list(gradients), list(masks))
        for owner in self._open:
            parameters, kept_weights = self._both(self._gates[owner])
            self._gates[owner].backward_(parameters, kept_weights)
            torch._foreach_copy_(parameters, kept_weights)
        self._give_kept_()
        self._is_updating = True

    @torch.no_grad()
    def after_update_(self) -> None:
        """Keep the values the optimizer made, where a mode keeps them, and show the pruned weights again.

        Raises:
            SchedEngineError: the optimizer was not given the kept values first.
        """
        kept = self._of("kept")
        if (kept or self._open) and not self._is_updating:
            name = kept[0].names[0] if kept else self._gates[self._open[0]].names[0]
            raise SchedEngineError(
                f"{name}: its pruned weights are kept (hidden, dense or learned), and before_parameter_optimization "
                "was not called before on_minibatch_end; call it between backward() and the optimizer's step"
            )
        self._is_updating = False
        for group in kept:
            torch._foreach_copy_([self._masters[name] for name in group.names], self._parameters(group))
        for group in self._of("updated"):
            torch._foreach_mul_(self._parameters(group), group.masks)
        for owner in self._open:
            parameters, kept_weights = self._both(self._gates[owner])
            torch._foreach_copy_(kept_weights, parameters)
            self._gates[owner].guard_(kept_weights)
            self._show_(owner)

    def _give_kept_(self) -> None:
        for group in self._of("kept"):
            torch._foreach_copy_(self._parameters(group), [self._masters[name] for name in group.names])

    def _of(self, purpose: str) -> list[_Group]:
        if self._groups is None:
            self._groups = self._regroup()
        return self._groups[purpose]

    def refresh_(self) -> None:
        """Follow parameters that moved to another device, dtype or layout since (called at every epoch)."""
        for owner in self._open:
            gates = self._gates[owner]
            gates.follow_(self._table[gates.names[0]])
            for name in gates.names:
                if self._masters[name].device != self._table[name].device:
                    self._masters[name] = self._masters[name].to(self._table[name])
        if self._groups is not None and self._kinds == self._kinds_now():
            return
        for name, owners in self._owned.items():
            device = self._table[name].device
            self._owned[name] = {owner: mask.to(device) for owner, mask in owners.items()}
        for name, master in self._masters.items():
            parameter = self._table[name]
            if master.device != parameter.device or master.dtype != parameter.dtype:
                self._masters[name] = master.to(parameter)
        self._groups = None

    def _kinds_now(self) -> list[tuple[Any, ...]]:
        """What the forms of the masks hang on."""
        found = ((name, self._table[name]) for name in self._owned)
        return [(name, one.device, one.dtype, one.shape, one.stride()) for name, one in found]

    def _regroup(self) -> dict[str, list[_Group]]:
        self._kinds = self._kinds_now()
        forms = self._forms = {name: self._form(name) for name in self._owned}

        def group(names: Iterable[str]) -> list[_Group]:
            groups: dict[tuple[torch.dtype, torch.device], _Group] = {}
            for name in names:
                parameter = self._table[name]
                found = groups.setdefault((parameter.dtype, parameter.device), _Group([], []))
                found.names.append(name)
                found.masks.append(forms[name])
            return list(groups.values())

        modes = {name: self._applied[name] for name in self._owned}
        return {
            "all": group(modes),
            "updated": group(name for name, how in modes.items() if how.mode != "forward"),
            "forward": group(name for name, how in modes.items() if how.mode == "forward"),
            "kept": group(name for name, how in modes.items() if how.mode in ("hidden", "dense")),
            "gradients": group(name for name, how in modes.items() if how.mask_gradients or how.mode == "hidden"),
        }

    def _form(self, name: str) -> Tensor:
        """The mask in the weights' dtype: fused kernels need one dtype, and on the CPU too it is twice as fast.

        In their memory layout (channels_last) too, which fused kernels ask for as well.
        """
        form = torch.empty_like(self._table[name], requires_grad=False).copy_(self.in_force(name))
        if self._applied[name].rescale:
            form /= form.float().mean().clamp_min(1 / form.numel())  # where all is dropped, nothing shows at any scale
        return form

    def _parameters(self, group: _Group) -> list[Tensor]:
        return [self._table[name] for name in group.names]

    # --- elsewhere ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def mask_optimizer_state_(self, optimizer: torch.optim.Optimizer, names: Iterable[str], *, reset: bool) -> None:
        """Set the optimizer's per-weight state of pruned weights to 0, so that momentum revives nothing.

        Args:
            names: the parameters whose masks changed.
            reset: forget the whole state of these parameters instead.
        """
        for name in names:
            parameter, mask = self._table[name], self.mask(name)
            if reset:
                optimizer.state.pop(parameter, None)
            elif mask is not None:
                for value in optimizer.state.get(parameter, {}).values():
                    if isinstance(value, Tensor) and value.shape == mask.shape and value.dim() > 0:
                        value.mul_(mask.to(value.device))

    @torch.no_grad()
    def apply_to_(self, model: nn.Module) -> None:
        """Apply the masks to a copy of the model (an EMA, a teacher): one with the same parameter names."""
        other = ParameterTable(model)
        for name in self._owned:
            if name not in other or other[name].shape != self._table[name].shape:
                raise ModelError(f"the copy has no parameter {name!r} of this shape; masks fit copies of the model")
            other[name].mul_(self.in_force(name).to(other[name].device))
        for owner in self._open:
            for name in self._gates[owner].names:
                other[name].mul_((self._table[name] != 0).to(other[name].device))

    def violations(self) -> dict[str, str]:
        """Parameters whose pruned weights are not 0, and what they are. Waits for the device: not for every step."""
        found = {}
        for name in self._owned:
            mask = self.mask(name)
            if mask is None or self._applied[name].mode == "forward":
                continue
            parameter = self._table.effective(name)
            if _holds(parameter, mask):
                continue
            pruned = torch.where(mask.to(parameter.device), torch.zeros_like(parameter), parameter)
            if not bool(torch.isfinite(pruned).all()):
                found[name] = "a non-finite weight stands under the mask; training has diverged"
            elif bool(pruned.any()):
                found[name] = f"{int(pruned.count_nonzero())} pruned weights are not 0; something wrote to them"
        return found

    def counts(self) -> Iterator[tuple[str, int, int]]:
        """(name, weights, pruned weights by the mask in force) of every masked parameter."""
        for name in self._owned:
            mask = self.in_force(name)
            yield name, mask.numel(), mask.numel() - int(mask.count_nonzero())

    def state_dict(self) -> dict[str, Any]:
        """Masks by parameter and owner (bool), kept values, and how each parameter is treated: tensors and words."""
        return {
            "is_pending": self.is_pending,
            "changes": dict(self._changes),
            "masks": {name: dict(owners) for name, owners in self._owned.items()},
            "masters": dict(self._masters),
            "applied": {name: [how.mode, how.mask_gradients, how.rescale] for name, how in self._applied.items()},
            "gates": {owner: gates.state_dict() for owner, gates in self._gates.items()},
            "open": list(self._open),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave, on the parameters' devices.

        Raises:
            CheckpointError: a mask's parameter is unknown, or has another shape; or gates are in place that are not
                known here.
        """
        for name, owners in state["masks"].items():
            if name not in self._table:
                raise CheckpointError(f"the checkpoint has a mask of {name!r}, which the model has not")
            for mask in owners.values():
                if mask.shape != self._table[name].shape:
                    shapes = f"{tuple(mask.shape)}, the model's weight {tuple(self._table[name].shape)}"
                    raise CheckpointError(f"the checkpoint's mask of {name!r} is {shapes}")
        for owner in state["open"]:
            if owner not in self._gates:
                raise CheckpointError(f"pruner {owner!r} still learns in this state, and here there is none that does")
        device = {name: self._table[name].device for name in state["masks"]}
        self._owned = {
            name: {owner: mask.to(device[name], torch.bool) for owner, mask in owners.items()}
            for name, owners in state["masks"].items()
        }
        self._masters = {name: master.to(self._table[name]).clone() for name, master in state["masters"].items()}
        self._applied = {name: Applied(*how) for name, how in state["applied"].items()}
        self.is_pending = state["is_pending"]
        self._changes = dict(state["changes"])
        for owner in self._gates.keys() & state["gates"].keys():
            self._gates[owner].load_state_dict(state["gates"][owner])
        self._open = list(state["open"])
        self._groups = None


def _holds(weight: Tensor, mask: Tensor) -> bool:
    """Whether pruned weights are 0 and all are numbers; in parts that fit a cache, where there is one."""
    part = _PART if weight.device.type == "cpu" else max(1, weight.numel())
    flat = (torch.split(one.reshape(-1), part) for one in (weight, mask.to(weight.device)))
    pairs = zip(*flat, strict=True)
    return all(torch.equal(values, values * kept) for values, kept in pairs)  # nan equals nothing


def sliced(tensor: Tensor, cuts: Sequence[tuple[int, Tensor]]) -> Tensor:
    """What stays of a tensor, in its memory layout: a weight, a mask, a gradient, a momentum.

    Args:
        cuts: along which dimension, which positions stay.

    Example:
        >>> sliced(torch.arange(6).view(2, 3), ((1, torch.tensor([0, 2])),))
        tensor([[0, 2],
                [3, 5]])
    """
    rest = tensor
    for dimension, positions in cuts:
        rest = rest.index_select(dimension, positions.to(tensor.device))
    return laid_out(rest, tensor)


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor in the memory layout of another, whose sizes may be others: channels last, or plain."""
    layout = _CHANNELS_LAST.get(like.dim())
    if layout is None or like.is_contiguous() or not like.is_contiguous(memory_format=layout):
        return tensor
    return tensor.contiguous(memory_format=layout)
