"""The weights of earlier moments of a run, kept for those policies that go back to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from schedengine import weights
from schedengine.errors import SchedEngineError
from schedengine.masks import MaskStore, sliced
from schedengine.progress import Moment, Progress, known
from schedengine.selection import ParameterTable


class Snapshots:
    """Takes a snapshot at each moment that is asked for, before anything else happens at it.

    Args:
        moments: by the name that policies use, as the file writes the time.
    """

    def __init__(self, moments: Mapping[str, Moment]) -> None:
        self._moments = dict(moments)
        self._taken: dict[str, weights.Snapshot] = {}

    def take_due(self, progress: Progress, model: nn.Module, table: ParameterTable, masks: MaskStore) -> None:
        """Take those that fall on this moment."""
        for name, moment in self._moments.items():
            if self._is_due(name, moment, progress):
                self._taken[name] = weights.take(model, table, masks)

    def _is_due(self, name: str, moment: Moment, progress: Progress) -> bool:
        """At the beginning of an epoch where the moment falls on it, before what happens there; else at its step."""
        steps = progress.steps_per_epoch
        if progress.step is None:
            begins = moment.is_epoch or (steps is not None and moment.step(steps) % steps == 0)
            return begins and moment.step(steps or 1) == progress.epoch * (steps or 1)
        if moment.is_epoch or (progress.step == 0 and name in self._taken):
            return False
        return moment.step(known(steps)) == progress.moment.steps

    def of(self, name: str) -> weights.Snapshot:
        """One that was taken.

        Raises:
            SchedEngineError: the loop did not pass its moment.
        """
        if name not in self._taken:
            raise SchedEngineError(
                f"there are no weights of {self._moments[name]} to go back to: the loop did not begin before it, "
                "or its state was not loaded"
            )
        return self._taken[name]

    def slice_(self, kept: Mapping[str, Sequence[tuple[int, Tensor]]]) -> None:
        """Follow a network that lost a part of itself; see ``MaskStore.slice_``."""
        for snapshot in self._taken.values():
            for name, cuts in kept.items():
                if name in snapshot:
                    snapshot[name] = sliced(snapshot[name], cuts)

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        return {name: dict(snapshot) for name, snapshot in self._taken.items()}

    def load_state_dict(self, state: Mapping[str, Any], table: ParameterTable) -> None:
        """Restore what ``state_dict`` gave, on the parameters' devices (buffers on the first one's)."""
        first = next((table[name].device for name in table.names), None)
        self._taken = {
            name: {key: value.to(table[key].device if key in table else first) for key, value in snapshot.items()}
            for name, snapshot in state.items()
        }
