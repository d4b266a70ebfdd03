"""The network as a row of steps that can be entered anywhere.

The network before a pruned layer is the same for all its levels. So a batch goes through the network once, and at the
first step that reads a pruned parameter each of its cells runs what follows, from the values that are alive there:

    step 0 ── step 1 ── step 2 ── step 3 ── dense scores
                 │         └─ step 2' ── step 3 ── scores of a cell of the parameter that step 2 reads
                 └─ step 1' ── step 2 ── step 3 ── scores of a cell of the parameter that step 1 reads

Values die with their last use, so memory stays at what one batch keeps alive, twice at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from schedengine.analysis.sensitivity.memory import Memory
from schedengine.analysis.sensitivity.operations import Pruned
from schedengine.analysis.sensitivity.steps import Step, Values, read
from schedengine.analysis.sensitivity.trace import Traced
from schedengine.selection import ParameterTable

Key = TypeVar("Key")


class Stages:
    """A traced network, run from any step to the end.

    Args:
        traced: in evaluation mode.
        table: names the parameters.
        images: (2 or more, ...), in the memory layout of those to come.
        fold: batch normalisations into the convolutions before them.
        layout: of folded weights.

    Attributes:
        entry: parameter -> the first step that reads it. One that is missing is read in no way that the graph shows.
    """

    def __init__(
        self,
        traced: Traced,
        table: ParameterTable,
        images: Tensor,
        *,
        fold: bool = True,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._row = read(traced, table, fold=fold, layout=layout)
        self._memory = Memory(self._row, images)
        self.entry: dict[str, int] = {}
        for number, step in enumerate(self._row.steps):
            for name in step.parameters:
                self.entry.setdefault(name, number)

    def run(
        self, images: Tensor, entries: Mapping[int, Iterable[tuple[Key, Pruned]]]
    ) -> Iterator[tuple[Key | None, Any]]:
        """Scores of the network with other values of some parameters, and last, under None, with its own.

        Args:
            images: (B, ...); left as they are.
            entries: step -> a key for each cell and the values that take the place of parameters, none of which an
                earlier step reads. They are iterated over when the step is reached.

        Yields:
            Each key with what the network returns.
        """
        values = self._memory.private(0, self._row.begin(images))
        for number, step in enumerate(self._row.steps):
            for key, pruned in entries.get(number, ()):
                yield key, self._finish(number, self._memory.private(number, values), pruned)
            self._advance(step, values, {}, 0)
        yield None, self._row.returned(values, {})

    def dense(self, images: Tensor) -> Any:
        """What the network returns."""
        return [found for _, found in self.run(images, {})][-1]

    def _finish(self, start: int, values: Values, pruned: Pruned) -> Any:
        for step in self._row.steps[start:]:
            self._advance(step, values, pruned, start)
        return self._row.returned(values, pruned)

    def _advance(self, step: Step, values: Values, pruned: Pruned, start: int) -> None:
        args, kwargs = self._row.arguments(step, values, pruned)
        if step.shortcut is not None and self._memory.owns(start, step.node.args[0]):
            values[step.node] = step.shortcut(*args)
        else:
            values[step.node] = step.operation(pruned, args, kwargs)
        for node in step.frees:
            del values[node]
