"""The door to a sensitivity analysis from Python: a model and images, or a function that evaluates, in; a table out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas
from torch import Tensor, nn

from schedengine.analysis.macs import multiply_accumulates
from schedengine.analysis.sensitivity.adaptive import FLOOR, Adaptive
from schedengine.analysis.sensitivity.asked import Asked, word
from schedengine.analysis.sensitivity.cells import Cell
from schedengine.analysis.sensitivity.images import Batch, from_loader
from schedengine.analysis.sensitivity.study import Folder, Study, Watch
from schedengine.analysis.sensitivity.sweep import sweep_by
from schedengine.analysis.sensitivity.table import NETWORK, Swept
from schedengine.errors import DataError, SchedEngineError

Evaluate = Callable[[nn.Module], Mapping[str, float]]


def analyse_sensitivity(
    model: nn.Module,
    data: Iterable[Batch] | Evaluate,
    *,
    levels: str | Sequence[float] = Asked.levels,
    granularity: Any = "element",
    criterion: Any = "magnitude",
    parameters: Any = None,
    allocation: Any = None,
    within: float | None = None,
    floor: float = FLOOR,
    seed: int = 0,
    inputs: tuple[Tensor, ...] | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    watch: Watch = lambda progress: None,
) -> pandas.DataFrame:
    """Prune each parameter alone to each level, measure, put it back.

    Args:
        model: images (B, ...) -> scores (B, classes); in any mode, and left as it is. With a function, any model.
        data: a loader of (images, labels) that gives the same images on each pass; or a function, model -> metrics by
            name, which is called once for each cell, in evaluation mode.
        levels: fractions removed, ``"0:0.95:0.05"`` (the end included) or a list; 0 is always among them.
        granularity, criterion, parameters, allocation: as a schedule writes them (``"filter"``, ``{"block": [4, 1]}``).
            With an allocation the network as a whole is pruned to each level too.
        within: stop measuring a cell when its drop is known to so many points of accuracy to either side, at 95 %
            confidence; needs a DataLoader of a map-style Dataset. None measures every cell on every image.
        floor: with ``within``, also stop when the drop is certainly above so many points.
        seed: of the random order that ``within`` needs.
        inputs: one example, to count multiply-accumulates; None leaves them unknown.
        out: a folder in which every batch is kept; None for none.
        resume: go on with what the folder holds.
        watch: told of the progress after every batch.

    Returns:
        A row a cell; the columns are explained at ``table.COLUMNS``. With a function: its metrics, by cell.

    Raises:
        SchedEngineError: whatever does not exist or fit; the model is then as it was, too.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> batches = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
        >>> list(analyse_sensitivity(model, batches, levels=[0.5])["removed"])
        [0, 6]
    """
    asked = Asked(levels, granularity, criterion, parameters, allocation)
    cells = asked.cells(model)
    if callable(data):
        if within is not None or out is not None or resume:
            raise SchedEngineError("within, out and resume need a loader of images; a function evaluates as a whole")
        return _by_function(model, data, cells, asked)
    shown = from_loader(data, random_order=None if within is None else seed)
    macs = {} if inputs is None else multiply_accumulates(model, inputs)
    study = Study(
        model,
        cells,
        shown,
        Swept(word(granularity), word(criterion), word(allocation), macs),
        everything=None if within is None else shown,
        adaptive=None if within is None else partial(Adaptive, within=within, floor=floor),
        folder=None if out is None else Folder(Path(out), {**asked.plain(model), "within": within, "seed": seed}),
    )
    return study.run(resume=resume, watch=watch)


def _by_function(model: nn.Module, evaluate: Evaluate, cells: Sequence[Cell], asked: Asked) -> pandas.DataFrame:
    """A row a cell with the function's own metrics; the dense network is measured twice, to see that it agrees."""
    dense = next(cell for cell in cells if not cell.masks)
    once, again = (dict(metrics) for _ in range(2) for _, metrics in sweep_by(model, evaluate, [dense]))
    if once != again:
        raise DataError(
            f"evaluate gives {once} and then {again} for the same weights; make it repeat itself (its data)"
        )
    return pandas.DataFrame([_row(cell, metrics, asked) for cell, metrics in sweep_by(model, evaluate, cells)])


def _row(cell: Cell, metrics: Mapping[str, float], asked: Asked) -> dict[str, Any]:
    return {
        "parameter": cell.parameter or NETWORK,
        "sparsity": cell.level,
        **metrics,
        "granularity": word(asked.granularity),
        "criterion": word(asked.criterion),
        "allocation": "" if cell.parameter else word(asked.allocation),
        "realised": cell.sparsity,
        "weights": cell.weights,
        "removed": cell.zeros,
        "note": cell.note,
    }
