"""What a sparsity counts: groups as they were before any thinning, each worth what it was then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schedengine.granularity import Granularity
from schedengine.pruners.cutting import Layer
from schedengine.pruners.pruner import Pruner
from schedengine.sparsity.allocation import Global


@dataclass(frozen=True)
class Tally:
    """Weights after a cut, as sparsity counts them.

    Args:
        weights: in all.
        thinned: those among them that thinning has taken.
        gone: those that the masks remove or thinning has taken.
    """

    weights: int
    thinned: int
    gone: int


class Census:
    """The sizes that a pruner's parameters had at its first cut, of which its targets and records are fractions.

    With ``counted: current`` they are fractions of what is there now.

    Args:
        spec: the pruner's axes.
    """

    def __init__(self, spec: Pruner) -> None:
        self._spec = spec
        self._first: dict[str, tuple[int, int]] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def is_of_groups(self) -> bool:
        """Whether the target is of groups, whatever their size."""
        return isinstance(self._spec.allocation, Global) and self._spec.allocation.count == "groups"

    def unit(self, name: str, shape: tuple[int, ...], granularity: Granularity) -> int | None:
        """What a group counts for, None for the weights that it has; the first call notes the parameter's size."""
        first = self._first.setdefault(name, (granularity.groups(shape), granularity.size(shape)))
        self._shapes.setdefault(name, shape)
        if self.is_of_groups:
            return 1
        return None if self._spec.counted == "current" else first[1]

    def shapes(self, layers: list[Layer]) -> dict[str, tuple[int, ...]]:
        """Of which an aim is made: those before any thinning."""
        now = {layer.name: tuple(layer.weight.shape) for layer in layers}
        return now if self._spec.counted == "current" else {name: self._shapes[name] for name in now}

    def zeros(self, layers: list[Layer], first: Mapping[str, int]) -> dict[str, int]:
        """What was zero before the first cut, where it is of these shapes that an aim is made."""
        shapes = self.shapes(layers)
        return {name: zeros if shapes[name] == self._shapes[name] else 0 for name, zeros in first.items()}

    def before(self, layer: Layer) -> tuple[int, int]:
        """A layer's groups and the weights in each, before any thinning."""
        return layer.counts if self._spec.counted == "current" else self._first[layer.name]

    def level(self, layer: Layer, level: float) -> float:
        """A sparsity of one layer as a fraction of what is there now."""
        return _of_current(level, self.before(layer)[0], layer.counts[0])

    def total(self, layers: list[Layer], total: float) -> float:
        """A sparsity of all layers likewise."""
        before = sum(self.before(layer)[0] * layer.worth for layer in layers)
        return _of_current(total, before, sum(layer.counts[0] * layer.worth for layer in layers))

    def tally(self, layers: list[Layer], removed: Mapping[str, int]) -> Tally:
        """What there is, and what is gone.

        Args:
            layers: as they are now.
            removed: groups that their masks remove.
        """
        weights = thinned = gone = 0
        for layer in layers:
            before, size = self.before(layer)
            weights += before * size
            thinned += (before - layer.counts[0]) * size
            gone += (before - layer.counts[0] + removed[layer.name]) * size
        return Tally(weights, thinned, gone)

    def state_dict(self) -> dict[str, list[int]]:
        """Groups at the first cut, the weights in each, and the shape, by parameter."""
        return {name: [*pair, *self._shapes[name]] for name, pair in self._first.items()}

    def load_state_dict(self, state: Mapping[str, list[int]]) -> None:
        """Restore what ``state_dict`` gave."""
        self._first = {name: (groups, size) for name, (groups, size, *_) in state.items()}
        self._shapes = {name: tuple(shape) for name, (_, _, *shape) in state.items()}


def _of_current(level: float, before: int, now: int) -> float:
    """A fraction of what was there before any thinning as one of what is there now."""
    return level if before == now else max(0.0, 1 - (1 - level) * before / now)
