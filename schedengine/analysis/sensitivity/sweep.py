"""Measuring cells: batch by batch over a loader, or one by one with a function of the user's.

**Exact.** The correct counts of a cell are, to the last image, those of the model itself with the cell's weights on the
same batches. The fast way gives scores that differ in the last bits; where that could decide about an image, the model
itself is run on the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from schedengine.analysis.sensitivity.cells import DENSE, Cell
from schedengine.analysis.sensitivity.counts import Counts, Verdicts, has_doubt, judge
from schedengine.analysis.sensitivity.fast import Fast
from schedengine.analysis.sensitivity.paths import Path
from schedengine.analysis.sensitivity.plain import replaced, unchanged
from schedengine.analysis.sensitivity.trace import UntraceableError
from schedengine.errors import DataError, ModelError
from schedengine.selection import ParameterTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What a batch adds.

    Args:
        number: of the batch, from 0.
        images: in it.
        counts: of each cell, on these images.
    """

    number: int
    images: int
    counts: dict[Cell, Counts]


def sweep(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    cells: Sequence[Cell],
    *,
    path: Path | None = None,
    bfloat16: bool = False,
) -> Iterator[Measured]:
    """Measure all cells on each batch in turn; add up what it yields.

    A caller that keeps what it got loses a batch at most. Between batches the model is as it was: weights, buffers,
    modes.

    Args:
        model: images (B, ...) -> scores (B, classes).
        batches: (images, labels), in the batches in which the model would be evaluated.
        cells: of ``layer_cells``, ``network_cells``, or both.
        path: how to compute; by default the fastest for the first batch. The same path gives the same losses to the
            last bit.
        bfloat16: where no path is given; faster on processors that know it, and counts are no longer exact.

    Raises:
        ModelError: the model returns something else.
        DataError: a label that the model has no score for.
    """
    engine = None
    for number, (images, labels) in enumerate(batches):
        engine = engine or Engine(model, cells, images, path=path, bfloat16=bfloat16)
        yield Measured(number, len(images), engine.measure(images, labels))


def sweep_by(
    model: nn.Module, evaluate: Callable[[nn.Module], Mapping[str, float]], cells: Iterable[Cell]
) -> Iterator[tuple[Cell, dict[str, float]]]:
    """Measure cells one by one with a function of the user's; those with the same weights once.

    Args:
        model: in evaluation mode during each call, with the cell's weights; in between as it was.
        evaluate: model -> {metric: value}.
        cells: as in ``sweep``.
    """
    table = ParameterTable(model)
    found: dict[bytes, dict[str, float]] = {}
    for cell in cells:
        if cell.key not in found:
            with unchanged(model), replaced(table, cell.pruned(table)):
                found[cell.key] = dict(evaluate(model))
        yield cell, dict(found[cell.key])


class Engine:
    """Measures cells of one model, a batch at a time.

    Args:
        model: as in ``sweep``.
        cells: all that will be measured.
        images: of the first batch.
        path, bfloat16: as in ``sweep``.

    Attributes:
        path: how cells are computed.
        whole: name of a parameter (None: the whole network) -> why its cells take a run of the whole model each.
    """

    def __init__(
        self,
        model: nn.Module,
        cells: Sequence[Cell],
        images: Tensor,
        *,
        path: Path | None = None,
        bfloat16: bool = False,
    ) -> None:
        self._model = model
        self._table = ParameterTable(model)
        self._cells = list(cells)
        self._device = next(model.parameters()).device
        self._fast: Fast | None = None
        reasons: dict[bytes, str] = {}
        with unchanged(model):
            images = images.to(self._device)
            self._classes = _scored(model(images[:1]), 1).shape[1]
            try:
                self._fast = Fast(model, self._table, self._cells, images, path)
                reasons = self._fast.untrusted
            except UntraceableError as error:
                reasons = {cell.key: f"the model cannot be traced ({error})" for cell in self._cells}
        chosen = self._fast.path if self._fast else Path(len(images))
        self.path = path or replace(chosen, bfloat16=bfloat16)
        self.whole = {cell.parameter: reasons[cell.key] for cell in self._cells if cell.key in reasons}
        for name, reason in self.whole.items():
            logger.warning("%s: a cell takes a run of the whole model: %s", name or "the whole network", reason)

    def measure(self, images: Tensor, labels: Tensor, cells: Iterable[Cell] | None = None) -> dict[Cell, Counts]:
        """Count what each cell gets right; the model is afterwards as before.

        Args:
            images: (B, ...).
            labels: (B,) int64.
            cells: those still wanted; by default all.
        """
        images, labels = images.to(self._device), labels.to(self._device)
        self._check(labels)
        wanted = self._cells if cells is None else list(cells)
        distinct = {DENSE: _EMPTY, **{cell.key: cell for cell in wanted if cell.masks}}
        with unchanged(self._model), self.path.precision(self._device):
            verdicts = self._judge_fast(images, labels, distinct) if self._fast else {}
            for key, cell in distinct.items():
                if key not in verdicts:
                    verdicts[key] = self._judge_plain(images, labels, cell)
        return {cell: verdicts[cell.key].count(verdicts[DENSE]) for cell in wanted}

    def _judge_fast(self, images: Tensor, labels: Tensor, distinct: Mapping[bytes, Cell]) -> dict[bytes, Verdicts]:
        """Of those cells that leave no doubt about any image."""
        assert self._fast is not None
        parts: dict[bytes, list[Verdicts]] = {}
        doubted = set(self._fast.untrusted)
        rest = labels
        for part in self.path.cut(images):
            own, rest = rest[: len(part)], rest[len(part) :]
            for key, scores in self._fast.scores(part, [cell for key, cell in distinct.items() if key not in doubted]):
                scores = scores[: len(own)]
                if not self.path.bfloat16 and has_doubt(scores, own, self._fast.tolerance):
                    doubted.add(key)
                else:
                    parts.setdefault(key, []).append(judge(scores, own))
        return {key: Verdicts.joined(found) for key, found in parts.items() if key not in doubted}

    def _judge_plain(self, images: Tensor, labels: Tensor, cell: Cell) -> Verdicts:
        with replaced(self._table, cell.pruned(self._table)):
            return judge(_scored(self._model(images), len(labels)), labels)

    def _check(self, labels: Tensor) -> None:
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= self._classes:
            raise DataError(f"labels from {lowest} to {highest}, and the model scores {self._classes} classes, from 0")


_EMPTY = Cell(None, 0.0, 0, 0)
"""The dense network."""


def _scored(scores: Any, images: int) -> Tensor:
    if isinstance(scores, Tensor) and scores.dim() == 2 and len(scores) == images:
        return scores
    found = f"a tensor {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
    raise ModelError(
        f"the model returns {found} for {images} image(s); a sweep counts scores (images, classes); "
        "for anything else, give an evaluate function"
    )
