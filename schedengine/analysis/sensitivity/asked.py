"""What a user asks of a sweep, in the words of a schedule -> a pruner, cells, and what tells the sweep from another."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from schedengine.analysis.sensitivity.cells import Cell, layer_cells, network_cells
from schedengine.analysis.sensitivity.levels import parse_levels
from schedengine.errors import SchedEngineError, ScheduleError
from schedengine.pruners.pruner import Pruner
from schedengine.schedule.load import load_schedule
from schedengine.selection import ParameterTable


@dataclass(frozen=True)
class Asked:
    """Which cells to measure.

    Args:
        levels: fractions removed, ``"0:0.95:0.05"`` (the end included) or a list; 0 is always among them.
        granularity, criterion: as a schedule writes them: ``"filter"``, ``{"block": [4, 1]}``.
        parameters: which, likewise; None for all Conv and Linear weights.
        allocation: how a level is shared by the network as a whole; None to leave that out.
    """

    levels: str | Sequence[float] = "0:0.95:0.05"
    granularity: Any = "element"
    criterion: Any = "magnitude"
    parameters: Any = None
    allocation: Any = None

    def pruner(self) -> Pruner:
        """What removes weights.

        Raises:
            SchedEngineError: an axis that a schedule does not know, or with wrong arguments.
        """
        axes = {key: value for key, value in asdict(self).items() if key != "levels" and value is not None}
        plan = {"pruners": {"swept": {**axes, "sparsity": 0.5}}, "policies": [{"pruner": "swept", "at": "start"}]}
        try:
            return load_schedule({"version": 2, **plan}).pruners["swept"]
        except ScheduleError as error:
            said = (f"{one.path.removeprefix('pruners.swept.')}: {one.message}" for one in error.problems)
            raise SchedEngineError("; ".join(said)) from error

    def cells(self, model: nn.Module) -> list[Cell]:
        """Each parameter at each level; then, with an allocation, the network at each.

        Raises:
            SchedEngineError: a level, a name, or a granularity that does not fit.
        """
        levels = tuple(sorted({0.0, *parse_levels(self.levels)}))
        table, pruner = ParameterTable(model), self.pruner()
        cells = layer_cells(table, levels, pruner)
        return cells if self.allocation is None else [*cells, *network_cells(table, levels, pruner)]

    def plain(self, model: nn.Module) -> dict[str, Any]:
        """For a file: all of it, and a digest of the weights that are swept."""
        levels = list(parse_levels(self.levels))
        return {**{key: word(value) for key, value in asdict(self).items()}, "levels": levels, "weights": digest(model)}


def word(value: Any) -> str:
    """An axis as text: a name as it is, anything else as JSON; empty for None."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def digest(model: nn.Module) -> str:
    """Tells the weights and buffers of a model from others."""
    found = hashlib.blake2b(digest_size=16)
    for name, value in model.state_dict().items():
        if hasattr(value, "detach"):
            found.update(name.encode() + value.detach().cpu().double().contiguous().numpy().tobytes())
    return found.hexdigest()
