"""Whether pruning has cut a network through: layers of which nothing is left, and paths from inputs to outputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from schedengine.criteria.passes import bare
from schedengine.errors import EffectError, EffectWarning
from schedengine.export.forward import Inputs, kept_generators, leaves, private_copy, random_inputs, run
from schedengine.policies.base import Context, Policy
from schedengine.progress import Occasions
from schedengine.selection import ParameterTable

_SEED = 30
_ADVICE = "prune less, or more evenly (allocation: erk, lamp; min_keep: 1), or write 'check_collapse: warn'"


class CollapsePolicy(Policy):
    """Looks at the layers that pruners selected: at its instants; or, in a stretch of time, after each cut that is
    recorded, and when an epoch is over, which is when thresholds that are learned show.

    A layer has collapsed when all its weights are 0. Where a layer is one of several ways through the network, that may
    do no harm; and where each layer keeps a few weights, these may not meet. So, where an example of the inputs is
    known, it is also tried whether any path of non-zero weights leads from inputs to outputs.

    Args:
        severity: what becomes of it.
        own: when.
        sizes: weights of each parameter that pruners selected, before any thinning.
        is_stretch: whether ``own`` is a stretch of time, not instants.

    Reference: Tanaka, Kunin, Yamins and Ganguli, 2020, Pruning neural networks without any data by iteratively
        conserving synaptic flow, arXiv 2006.05467 (layer collapse; compression is weights / weights left). There, paths
        show in the outputs of a network of |weights| for an input of ones; here nothing overflows in a deep one.
    """

    def __init__(
        self, severity: Literal["error", "warn"], own: Occasions, sizes: Mapping[str, int], *, is_stretch: bool
    ) -> None:
        self.severity = severity
        self.own = own
        self.sizes = dict(sizes)
        self.is_stretch = is_stretch
        self._seen: list[Any] | None = None
        self._told = ""

    def on_epoch_begin(self, context: Context) -> None:
        progress = context.progress
        is_due = self._is_after_cut(context) if self.is_stretch else self.own.at(progress) is not None
        if is_due:
            self._look(context)

    def on_minibatch_begin(self, context: Context) -> None:
        self.on_epoch_begin(context)

    def on_epoch_end(self, context: Context) -> None:
        if self.is_stretch:
            self._is_after_cut(context)
            is_due = self.own.containing(context.progress) is not None
        else:
            is_due = self.own.at_end(context.progress) is not None
        if is_due:
            self._look(context)

    def _is_after_cut(self, context: Context) -> bool:
        """Whether there was a cut since the last look, and the stretch is now."""
        if not context.cuts:
            return False
        last = context.cuts[-1]
        before, self._seen = self._seen, [last.pruner, last.number, last.epoch, last.step, last.is_end]
        return before != self._seen and self.own.containing(context.progress) is not None

    def _look(self, context: Context) -> None:
        left = weights_left(context, list(self.sizes))
        layers = [name for name, count in left.items() if count == 0 and context.table[name].dim() > 1]
        found = [f"nothing is left of {', '.join(layers)}"] if layers else []
        if context.example_inputs is not None and is_cut_through(_shown(context), context.example_inputs):
            found.append("no path of weights leads from the inputs to the outputs any more")
        what = "; ".join(found)
        before, self._told = self._told, what
        if found and (what != before or not self.is_stretch):
            self._tell(f"check_collapse, {_place(context)}, {self._compression(left)}: {what}")

    def _compression(self, left: Mapping[str, int]) -> str:
        weights, remaining = sum(self.sizes.values()), sum(left.values())
        if not remaining:
            return f"of {weights:,} weights that pruners selected 0 are left"
        counted = f"{weights:,} weights that pruners selected / {remaining:,} left"
        return f"at compression {weights / remaining:.4g} ({counted})"

    def _tell(self, message: str) -> None:
        if self.severity == "error":
            raise EffectError(f"{message}; {_ADVICE}")
        warnings.warn(message, EffectWarning, stacklevel=3)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self._seen, "told": self._told}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._seen, self._told = state["seen"], state["told"]


def _place(context: Context) -> str:
    """When, and after which cut."""
    if not context.cuts:
        return f"{context.progress.moment}, before any cut"
    cut = context.cuts[-1]
    return f"{context.progress.moment}, after cut {cut.number} of {cut.count} of pruner {cut.pruner!r}"


@torch.no_grad()
def weights_left(context: Context, names: Sequence[str]) -> dict[str, int]:
    """Of each parameter, weights that are not 0 where masks are applied; waits for the device once."""
    counts = [_shown_weight(context, name).count_nonzero().cpu() for name in names]
    return dict(zip(names, torch.stack(counts).tolist(), strict=True)) if counts else {}


def _shown_weight(context: Context, name: str) -> Tensor:
    """A cut may be waiting for the next step to be applied."""
    mask = context.masks.mask(name)
    weight = context.table[name].detach()
    return weight if mask is None else weight * mask


@torch.no_grad()
def _shown(context: Context) -> nn.Module:
    copied = private_copy(bare(context.model))
    for name, parameter in ParameterTable(copied).tensors().items():
        mask = context.masks.mask(name)
        if mask is not None:
            parameter.mul_(mask)
    return copied


def is_cut_through(model: nn.Module, inputs: Inputs) -> bool:
    """Whether no path of non-zero weights is left from the inputs to the outputs.

    One forward pass of a network in which nothing cancels: weights are 1 where they are not 0, biases 0, and what
    layers return random numbers in [0.5, 1.5) where it is not 0. What adds something of its own on the way (a sigmoid,
    a parameter that is added, as the class token of a transformer) hides it.

    Args:
        model: its values matter only for being 0 or not; is changed.
        inputs: their sizes matter, and whole numbers.

    Returns:
        False too where even the dense network gives 0, of which nothing can be told.
    """
    with torch.no_grad(), kept_generators(model):
        _prepare_(model)
        if _says_something(model, inputs):
            return False
        for name, parameter in model.named_parameters():
            if not _is_bias(name):
                parameter.fill_(1)
        return _says_something(model, inputs)


def _prepare_(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(torch.zeros_like(parameter) if _is_bias(name) else parameter != 0)
    generator = torch.Generator().manual_seed(_SEED)
    for module in model.modules():
        if isinstance(module, _NormBase) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.zero_()
            module.running_var.fill_(1)
        if isinstance(module, nn.Embedding):  # of any token, not only of those in the example
            module.weight.copy_((module.weight != 0).any(0).expand_as(module.weight))
        if not list(module.children()):
            module.register_forward_hook(_leveller(generator))


def _is_bias(name: str) -> bool:
    return name.rpartition(".")[2].endswith("bias")


def _leveller(generator: torch.Generator) -> Any:
    """What a layer returns brought to order 1, whatever the depth, so that nothing overflows or vanishes."""

    def level(layer: nn.Module, given: tuple[Any, ...], returned: Any) -> Any:
        del layer, given
        if not isinstance(returned, Tensor) or not returned.is_floating_point():
            return returned
        values = torch.rand(returned.shape, generator=generator).add_(0.5)
        return values.to(returned.device, returned.dtype) * (returned != 0)

    return level


def _says_something(model: nn.Module, inputs: Inputs) -> bool:
    outputs = run(model, random_inputs(inputs, model, seed=_SEED, positive=True))
    return any(bool((one != 0).any()) for one in leaves(outputs))
