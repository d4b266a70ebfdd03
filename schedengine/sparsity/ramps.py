"""How much is removed over time: the number of a cut -> target sparsity. Pure functions; nothing is remembered.

Cuts are counted 1 to J over all policies of a pruner. Cut j has progress j/J, so the first cut already removes; with
``first: from`` it has (j-1)/(J-1), so the first cut is at ``from``. Targets are absolute: the fraction of the selected
weights that is gone after the cut, never below what was gone before the first one.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.progress import Time, TimeField
from schedengine.registry import SPEC

Sparsity = Annotated[float, Field(ge=0, lt=1, strict=True)]
"""A field that holds a fraction removed, in [0, 1)."""


class Ramp(ABC):
    """Target sparsity as a function of the cut's number.

    Attributes:
        every: how often the target moves on, where cuts are more frequent than that; None: with every cut.
    """

    every: Time | None

    @abstractmethod
    def at(self, cut: int, cuts: int, *, to: float | None = None, start: float = 0.0, key: str = "") -> float:
        """The target of one cut.

        Args:
            cut: 1 to ``cuts``.
            cuts: how many there are in all.
            to: the last cut's target instead of the field's (levels per parameter), [0, 1).
            start: sparsity before the first cut, [0, 1).
            key: names the event, for a target that is drawn.

        Returns:
            Fraction removed, in [``start``, 1).

        Raises:
            SchedEngineError: there is no target, or the ramp does not fit this many cuts.
        """


@dataclass(frozen=True, config=SPEC)
class Constant(Ramp):
    """The same target at every cut.

    Args:
        to: fraction removed.
        every: how often the target moves on, where cuts are more frequent than that; default: with every cut.
    """

    to: Sparsity | None = None
    every: TimeField | None = None

    def at(self, cut: int, cuts: int, *, to: float | None = None, start: float = 0.0, key: str = "") -> float:
        del key
        return max(start, _target(self, self.to if to is None else to))


@dataclass(frozen=True, config=SPEC)
class Towards(Ramp):
    """The ramps from one sparsity to another; each adds its curve.

    Args:
        to: target of the last cut; a target per parameter takes its place.
        from_: where the ramp starts; a network that is sparser already starts from there.
        first: ``step``: the first cut is one step up; ``from``: it is at ``from_``.
        every: how often the target moves on, where cuts are more frequent than that; default: with every cut.
    """

    to: Sparsity | None = None
    from_: Sparsity = 0.0
    first: Literal["step", "from"] = "step"
    every: TimeField | None = None

    @model_validator(mode="after")
    def _rises(self) -> Towards:
        if self.to is not None and self.from_ > self.to:
            raise ValueError(f"from {self.from_} is above to {self.to}; a ramp does not fall")
        return self

    @abstractmethod
    def curve(self, progress: float, low: float, high: float) -> float:
        """Sparsity at ``progress`` in [0, 1), from ``low`` to ``high``."""

    def at(self, cut: int, cuts: int, *, to: float | None = None, start: float = 0.0, key: str = "") -> float:
        del key
        high = _target(self, self.to if to is None else to)
        progress = self._progress(cut, cuts)
        if progress == 1:  # exactly the target, without the rounding of the curve
            return max(start, high)
        low = max(min(self.from_, high), start)
        return max(start, self.curve(progress, low, high))

    def _progress(self, cut: int, cuts: int) -> float:
        assert 1 <= cut <= cuts
        if self.first == "from" and cuts > 1:
            return (cut - 1) / (cuts - 1)
        return cut / cuts


@dataclass(frozen=True, config=SPEC)
class Linear(Towards):
    """Equal steps: ``from + (to - from) p``."""

    def curve(self, progress: float, low: float, high: float) -> float:
        return low + (high - low) * progress


@dataclass(frozen=True, config=SPEC)
class Cubic(Towards):
    """Fast at first, slow at the end: ``to + (from - to)(1 - p)**3``.

    Example:
        >>> [round(Cubic(to=0.9).at(cut, 5), 4) for cut in range(1, 6)]
        [0.4392, 0.7056, 0.8424, 0.8928, 0.9]

    Reference:
        Zhu, Gupta (2017), To prune, or not to prune, arXiv:1710.01878; their first cut is at ``from``
        (``first: from``).
    """

    def curve(self, progress: float, low: float, high: float) -> float:
        return high + (low - high) * (1 - progress) ** 3


@dataclass(frozen=True, config=SPEC)
class Geometric(Towards):
    """Each cut removes the same fraction of what remains: ``1 - (1 - from)((1 - to)/(1 - from))**p``.

    Example:
        >>> [round(Geometric(to=0.95).at(cut, 4), 4) for cut in range(1, 5)]
        [0.5271, 0.7764, 0.8943, 0.95]

    Reference:
        Han, Pool, Tran, Dally (2015), Learning both Weights and Connections, arXiv:1506.02626 (iterative pruning);
        Tanaka et al. (2020), SynFlow, arXiv:2006.05467 (the same targets, without training in between).
    """

    def curve(self, progress: float, low: float, high: float) -> float:
        return float(1 - (1 - low) * ((1 - high) / (1 - low)) ** progress)


@dataclass(frozen=True, config=SPEC)
class Polynomial(Towards):
    """``to + (from - to)(1 - p)**power``; power 1 is linear, 3 cubic.

    Args:
        power: above 0.
    """

    power: Annotated[float, Field(gt=0, strict=True)] = 3.0

    def curve(self, progress: float, low: float, high: float) -> float:
        return float(high + (low - high) * (1 - progress) ** self.power)


@dataclass(frozen=True, config=SPEC)
class Listed(Ramp):
    """Targets written out, one for each cut.

    Args:
        values: fractions removed.
        every: how often the target moves on, where cuts are more frequent than that; default: with every cut.
    """

    values: Annotated[tuple[Sparsity, ...], Field(min_length=1)]
    every: TimeField | None = None

    def at(self, cut: int, cuts: int, *, to: float | None = None, start: float = 0.0, key: str = "") -> float:
        del key
        _refuse_to("list", to)
        if cuts != len(self.values):
            raise SchedEngineError(f"ramp list: {len(self.values)} values for {cuts} cuts; write one for each cut")
        return max(start, self.values[cut - 1])


@dataclass(frozen=True, config=SPEC)
class Remaining(Ramp):
    """Each cut removes this fraction of what remains, however many there are: ``1 - (1 - start)(1 - fraction)**j``.

    Args:
        fraction: in (0, 1); 0.2 is the lottery ticket's.
        every: how often the target moves on, where cuts are more frequent than that; default: with every cut.

    Reference:
        Frankle, Carbin (2019), The Lottery Ticket Hypothesis, arXiv:1803.03635.
    """

    fraction: Annotated[float, Field(gt=0, lt=1, strict=True)]
    every: TimeField | None = None

    def at(self, cut: int, cuts: int, *, to: float | None = None, start: float = 0.0, key: str = "") -> float:
        del key
        _refuse_to("remaining", to)
        return float(1 - (1 - start) * (1 - self.fraction) ** cut)


@dataclass(frozen=True, config=SPEC)
class Drawn(Ramp):
    """A target drawn anew for every cut, uniformly in [from, to): noise on how much is dropped.

    With a level for each parameter (``allocation``), each has a draw of its own.

    Args:
        to: the highest target.
        from_: the lowest.
        seed: any whole number; the same seed and cut give the same target on every rank and machine.
        every: how often the target moves on, where cuts are more frequent than that; default: with every cut.
    """

    to: Sparsity | None = None
    from_: Sparsity = 0.0
    seed: Annotated[int, Field(strict=True)] = 0
    every: TimeField | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Drawn:
        if self.to is not None and self.from_ > self.to:
            raise ValueError(f"from {self.from_} is above to {self.to}")
        return self

    def at(self, cut: int, cuts: int, *, to: float | None = None, start: float = 0.0, key: str = "") -> float:
        high = _target(self, self.to if to is None else to)
        return max(start, random.Random(f"{self.seed}:{key or cut}").uniform(self.from_, high))


def _target(ramp: Ramp, to: float | None) -> float:
    if to is None:
        name = type(ramp).__name__.lower()
        raise SchedEngineError(f"ramp {name}: no target sparsity; write to: 0.9, or a level for each parameter")
    return to


def _refuse_to(name: str, to: float | None) -> None:
    if to is not None:
        raise SchedEngineError(f"ramp {name}: takes no target ({to}); use linear, cubic, geometric, or constant")
