"""A model as a pure function of its weights, for criteria that differentiate it; the model itself is left as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from schedengine.criteria.passes import bare, given, undisturbed
from schedengine.errors import EffectError, SchedEngineError
from schedengine.selection import ParameterTable

logger = logging.getLogger(__name__)
LossFunction = Callable[[Any, Any], Tensor]
"""(outputs, targets) -> the mean loss of a batch, a scalar."""
Norms = Literal["train", "eval"]


class Network:
    """What a criterion may look at: the network with some weights, its data, and its loss.

    Weights by normalised name are those that the criterion scores, as the model shows them (pruned ones are 0); all
    other parameters and the buffers stay what they are. Buffers are copies: what a pass in training mode writes to
    them is forgotten.

    Args:
        model: wrapped or not; the bare one runs.
        table: its parameters.
        names: of those that are scored.
        keep: bool, of the parameter's shape, by name: weights that are 0 here, whatever the model shows.
        example_inputs: a batch of inputs, or a tuple of several; None for none.
        data: batches, (inputs, targets); None for none.
        loss: see ``LossFunction``; None for none.
    """

    def __init__(
        self,
        model: nn.Module,
        table: ParameterTable,
        names: Sequence[str],
        *,
        keep: Mapping[str, Tensor] | None = None,
        example_inputs: Any = None,
        data: Iterable[Any] | None = None,
        loss: LossFunction | None = None,
    ) -> None:
        self.module = bare(model)
        self.data = data
        self._example_inputs = example_inputs
        self._loss = loss
        parameters = {name: one.detach() for name, one in self.module.named_parameters()}
        full = {id(one): name for name, one in self.module.named_parameters()}
        self._full = {name: full[id(table[name])] for name in names}
        self.weights = {name: _masked(table[name].detach(), (keep or {}).get(name)) for name in names}
        buffers = {name: one.detach().clone() for name, one in self.module.named_buffers()}
        self.rest = {**parameters, **buffers}
        for name in self._full.values():
            del self.rest[name]
        self.device = next(iter(parameters.values())).device

    @contextmanager
    def aside(self, norms: Norms = "eval") -> Iterator[None]:
        """Passes on the side: everything in evaluation mode, but batch normalisation where asked.

        Two stretches of passes see the same data: generators begin each as they were.

        Args:
            norms: train: batch normalisation by the statistics of each batch.
        """
        with undisturbed(self.module, self.data):
            for module in self.module.modules() if norms == "train" else ():
                if isinstance(module, _BatchNorm):
                    module.train()
            yield

    def outputs(
        self, weights: Mapping[str, Tensor], inputs: tuple[Any, ...], rest: Mapping[str, Tensor] | None = None
    ) -> Any:
        """What the network makes of a batch.

        Args:
            weights: by normalised name.
            inputs: of one batch.
            rest: other values of the other parameters and the buffers, by full name.
        """
        own = {self._full[name]: weight for name, weight in weights.items()}
        return functional_call(self.module, {**(self.rest if rest is None else rest), **own}, inputs)

    def loss(
        self, weights: Mapping[str, Tensor], inputs: tuple[Any, ...], targets: Any, *, temperature: float = 1.0
    ) -> Tensor:
        """The mean loss of a batch, a scalar.

        Args:
            temperature: what outputs are divided by.

        Raises:
            SchedEngineError: the loss function gave something else.
        """
        assert self._loss is not None
        outputs = self.outputs(weights, inputs)
        found = self._loss(outputs if temperature == 1.0 else outputs / temperature, targets)
        if not isinstance(found, Tensor) or found.numel() != 1:
            what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{found!r:.60}"
            raise SchedEngineError(f"loss= of bind() gave {what}; it must give the mean loss of a batch, a scalar")
        return found.reshape(())

    def batches(self, count: int | None = None) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """The first batches of the data, (inputs, targets), on the model's device; fewer where there are no more.

        Raises:
            SchedEngineError: a batch without targets.
        """
        seen = 0
        assert self.data is not None
        for batch in islice(self.data, count):
            if not isinstance(batch, (list, tuple)) or len(batch) < 2:
                raise SchedEngineError(f"a batch of data= is a {type(batch).__name__}; a loss needs (inputs, targets)")
            seen += 1
            yield given(batch, self.device), moved(batch[1], self.device)
        if count is not None and seen < count:
            logger.info("the data gave %d batches of the %d that were asked for", seen, count)

    def ones(self) -> tuple[Any, ...]:
        """Inputs of ones, a batch of one, in the shape of the example inputs, else of the data's.

        Raises:
            EffectError: there are neither.
        """
        if self._example_inputs is not None:
            shown = given((self._example_inputs, None), self.device)
        else:
            batch = None if self.data is None else next(iter(self.data), None)
            if batch is None:
                raise EffectError("no cut: the shape of the inputs is not known; pass example_inputs= to bind()")
            shown = given(batch, self.device)
        return tuple(torch.ones_like(one[:1]) if isinstance(one, Tensor) else one for one in shown)


def moved(value: Any, device: torch.device) -> Any:
    """Targets on a device: a tensor, or a list, a tuple or a mapping of them."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: moved(one, device) for key, one in value.items()}
    return [moved(one, device) for one in value] if isinstance(value, (list, tuple)) else value


def exact(device: torch.device) -> torch.dtype:
    """The widest floating dtype of a device."""
    return torch.float32 if device.type == "mps" else torch.float64


def _masked(weight: Tensor, keep: Tensor | None) -> Tensor:
    return weight if keep is None else weight * keep.to(weight.device)
