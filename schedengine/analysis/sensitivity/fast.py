"""Scores of cells by the fast way, and how far they can be trusted.

Another memory layout, another number of images and folded normalisations change the last bits of a score. How much is
measured: every cell is computed both ways on a few images. A cell that differs by more than such noise is not trusted:
its parameter is also read where tracing cannot see it, or images depend on the others of their batch. The trusted have
one tolerance, ``SAFETY`` times the most that was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from schedengine.analysis.sensitivity.cells import DENSE, Cell
from schedengine.analysis.sensitivity.paths import Path, choose
from schedengine.analysis.sensitivity.plain import replaced
from schedengine.analysis.sensitivity.stages import Stages
from schedengine.analysis.sensitivity.trace import trace
from schedengine.selection import ParameterTable

SAFETY = 32
_SAMPLE = 4


class Fast:
    """A traced model on one path.

    Args:
        model: in evaluation mode.
        table: its parameters.
        cells: all that will be asked for.
        images: (B, ...) of the first batch.
        path: None for the fastest.

    Attributes:
        path: how scores are computed.
        tolerance: of the difference of two scores of an image, as a fraction of its largest absolute score.
        untrusted: key of a cell -> why this way cannot compute it.

    Raises:
        UntraceableError: the model's computation is not one graph.
    """

    def __init__(
        self, model: nn.Module, table: ParameterTable, cells: Sequence[Cell], images: Tensor, path: Path | None
    ) -> None:
        images = images if len(images) > 1 else images.expand(2, *images.shape[1:])
        traced = trace(model, images[:2])
        self._table = table

        def staged(path: Path) -> Stages:
            (watched,) = path.cut(images[:2])
            return Stages(traced, table, watched, fold=path.fold, layout=path.layout)

        self.path = path or choose(images, lambda path: staged(path).dense)
        self._stages = staged(self.path)
        self.untrusted = {cell.key: reason for cell in cells if (reason := self._unseen(cell))}
        self.tolerance = self._measure(model, images[:_SAMPLE], {cell.key: cell for cell in cells if cell.masks})

    def scores(self, images: Tensor, cells: Iterable[Cell]) -> Iterator[tuple[bytes, Any]]:
        """Of each cell that is trusted, by key, and of the dense network last.

        Args:
            images: a part that the path has cut.
            cells: of different keys.
        """
        entries: dict[int, list[Cell]] = {}
        for cell in cells:
            if cell.masks and cell.key not in self.untrusted:
                entries.setdefault(min(self._stages.entry[name] for name in cell.masks), []).append(cell)
        lazily = {step: ((cell.key, cell.pruned(self._table)) for cell in own) for step, own in entries.items()}
        for key, scores in self._stages.run(images, lazily):
            yield DENSE if key is None else key, scores

    def _unseen(self, cell: Cell) -> str | None:
        missing = [name for name in cell.masks if name not in self._stages.entry]
        return f"tracing does not see where {missing[0]} is used" if missing else None

    def _measure(self, model: nn.Module, images: Tensor, cells: dict[bytes, Cell]) -> float:
        """Compare the two ways on every cell; returns the tolerance.

        Here in parts and there at once: where an image's scores depend on the others of its batch, it shows.
        """
        parts = [dict(self.scores(part, cells.values())) for part in Path(2, self.path.channels_last).cut(images)]
        most = smallest = 0.0
        for key in parts[0]:
            scores = torch.cat([part[key] for part in parts])
            smallest = torch.finfo(scores.dtype).eps
            with replaced(self._table, cells[key].pruned(self._table) if key in cells else {}):
                noise = difference(scores, model(images))
            if noise > math.sqrt(smallest):
                self.untrusted[key] = f"traced, its scores differ from the model's by {noise:.2g} of the largest"
            else:
                most = max(most, noise)
        return SAFETY * max(most, smallest)


def difference(scores: Tensor, others: Tensor) -> float:
    """The largest difference of two scores of the same image and class, as a fraction of the image's largest.

    Args:
        scores, others: (B, classes); nan equals nan, and is infinitely far from everything else.
    """
    scores, others = scores.double(), others.double()
    largest = others.nan_to_num().abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    is_same = (scores == others) | (scores.isnan() & others.isnan())
    apart = ((scores - others).abs() / largest).masked_fill(is_same, 0.0)
    return float(apart.nan_to_num(math.inf).amax())
