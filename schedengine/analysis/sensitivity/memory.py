"""Which values share memory, who overwrites it, and whose it is.

Networks compute in place (``relu_``, ``out += identity``, through views too), which must not reach the values that
other cells start from. So the row of steps is run once on two images, and watched. A tensor's memory is named by its
*birth*: the number of the step that made it. A run that starts at step n owns the memory born at n or later, no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from schedengine.analysis.sensitivity.operations import in_place
from schedengine.analysis.sensitivity.steps import Row, Step, Values

_GIVEN = -1
"""The birth of memory that no step makes: the images, the model's own tensors."""


class Memory:
    """What was seen of a row's memory.

    Args:
        row: its steps get their shortcuts here.
        images: (2 or more, ...), in the memory layout of those to come; left as they are.
    """

    def __init__(self, row: Row, images: Tensor) -> None:
        self._birth: dict[fx.Node, frozenset[int]] = {}
        values, overwrites = self._watched(row, images)
        self._doomed = [frozenset[int]().union(*overwrites[start:]) for start in range(len(overwrites) + 1)]
        alive: set[fx.Node] = set(row.inputs)
        for number, step in enumerate(row.steps):
            alive = (alive | {step.node}) - set(step.frees)
            if self._is_free(number, step, values, alive):
                step.shortcut = in_place(step.node, row.modules)

    def owns(self, start: int, node: object) -> bool:
        """Whether a run from a step on made the memory of a value itself."""
        return isinstance(node, fx.Node) and min(self._birth[node], default=_GIVEN) >= start

    def private(self, start: int, values: Values) -> Values:
        """The values that a run from a step on may start from: copies of those whose memory it is going to overwrite.

        Copies of values that share memory share it too.
        """
        copies: dict[int, torch.UntypedStorage] = {}
        own = dict(values)
        for node in values if self._doomed[start] else ():
            if not self._doomed[start].isdisjoint(self._birth[node]):
                own[node] = _changed(values[node], lambda tensor: _copied(tensor, copies))
        return own

    @torch.no_grad()
    def _watched(self, row: Row, images: Tensor) -> tuple[Values, list[frozenset[int]]]:
        """Every value of one run, and what memory each step overwrites, by birth."""
        values, births, overwrites = row.begin(images.clone()), dict[int, int](), []
        given = {**values, **{node: tensor for node, (tensor, _) in row.attributes.items()}}
        self._birth.update({node: _births(value, births, _GIVEN) for node, value in given.items()})
        for number, step in enumerate(row.steps):
            args, kwargs = row.arguments(step, values, {})
            before = [(tensor, tensor._version) for tensor in _tensors((args, kwargs))]
            values[step.node] = step.operation({}, args, kwargs)
            changed = [tensor for tensor, version in before if tensor._version != version]
            overwrites.append(_births(changed, births, number))
            self._birth[step.node] = _births(values[step.node], births, number)
        return values, overwrites

    def _is_free(self, number: int, step: Step, values: Values, alive: Iterable[fx.Node]) -> bool:
        """Whether the memory of the first argument is as large as the new value, and of no more use to anyone."""
        first = (step.node.args or (None,))[0]
        if not isinstance(first, fx.Node) or first not in step.frees or self._birth[step.node] != {number}:
            return False
        taken, made = values[first], values[step.node]
        if not (isinstance(taken, Tensor) and isinstance(made, Tensor) and self.owns(0, first)):
            return False
        others = {*alive, *step.node.all_input_nodes} - {first, step.node}
        is_shared = any(not self._birth[first].isdisjoint(self._birth[node]) for node in others)
        fills = taken.untyped_storage().nbytes() == taken.numel() * taken.element_size()
        return (taken.shape, taken.dtype) == (made.shape, made.dtype) and fills and not is_shared


def _births(value: Any, births: dict[int, int], number: int) -> frozenset[int]:
    """Where the memory of a value's tensors comes from; what is new comes from step ``number``."""
    return frozenset(births.setdefault(tensor.untyped_storage().data_ptr(), number) for tensor in _tensors(value))


def _tensors(value: Any) -> Iterator[Tensor]:
    """Those in a value that have memory."""
    if isinstance(value, Tensor):
        yield from [value] if value.numel() else []
    elif isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return fx.node.map_aggregate(value, lambda part: change(part) if isinstance(part, Tensor) else part)


def _copied(tensor: Tensor, copies: dict[int, torch.UntypedStorage]) -> Tensor:
    storage = tensor.untyped_storage()
    if storage.data_ptr() not in copies:
        copies[storage.data_ptr()] = storage.clone()  # type: ignore[no-untyped-call]
    copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return copy.set_(copies[storage.data_ptr()], tensor.storage_offset(), tensor.shape, tensor.stride())
