"""One choice for each of several parameters, so that together they remove enough and cost least.

A multiple-choice knapsack, solved by dynamic programming over what is removed. One pass gives the best choice for every
amount, so a target, a budget and the way between them are all read off one table. Lagrange multipliers on convex hulls
would be faster and miss what lies between two corners of the hull; here the optimum is exact for the units counted in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNITS = 50_000
"""The amount that can be removed is counted in so many units at most."""


@dataclass(frozen=True, eq=False)
class Choices:
    """What one parameter offers.

    Args:
        gains: (n,), 0 or more: what each choice removes.
        costs: (n,), 0 or more; that of the first is 0.
    """

    gains: NDArray[np.float64]
    costs: NDArray[np.float64]


class Frontier:
    """The least cost for every amount that can be removed.

    A gain is rounded down to whole units, so that a choice removes at least what it is read off for. It costs no more
    than any that removes one unit a parameter more; where the gains are whole numbers that sum to ``units`` at most, it
    is the optimum.

    Args:
        choices: of each parameter, in order.
        units: how finely amounts are told apart, at most.

    Attributes:
        costs: (amounts,), never falling: the least cost of removing at least so many units.
        unit: what a unit removes.
    """

    def __init__(self, choices: Sequence[Choices], units: int = UNITS) -> None:
        most = sum(float(one.gains.max()) for one in choices)
        self.unit = max(1.0, most / units)
        self._gains = [np.floor(one.gains / self.unit + 1e-9).astype(np.int64) for one in choices]
        amounts = sum(int(gains.max()) for gains in self._gains) + 1
        self.costs = np.where(np.arange(amounts) == 0, 0.0, np.inf)
        self._taken = [self._add(gains, one.costs) for gains, one in zip(self._gains, choices, strict=True)]

    def _add(self, gains: NDArray[np.int64], costs: NDArray[np.float64]) -> NDArray[np.int64]:
        """One parameter more; returns which of its choices each amount takes."""
        offers = np.stack([self._shifted(gain) + cost for gain, cost in zip(gains, costs, strict=True)])
        taken: NDArray[np.int64] = offers.argmin(0)
        self.costs = offers[taken, np.arange(len(self.costs))]
        return taken

    def _shifted(self, gain: int) -> NDArray[np.float64]:
        """What the others cost if this parameter removes so much."""
        start = np.full(min(gain, len(self.costs)), self.costs[0])
        return np.concatenate([start, self.costs[: len(self.costs) - len(start)]])

    @property
    def most(self) -> float:
        """What can be removed, in the unit of the gains."""
        return self.unit * (len(self.costs) - 1)

    def at_least(self, amount: float) -> list[int]:
        """The choice of each parameter that removes so much at the least cost; in the unit of the gains.

        Raises:
            ValueError: more than there is.
        """
        place = int(np.ceil(amount / self.unit - 1e-9))
        if place >= len(self.costs):
            raise ValueError(f"{amount:g} is more than can be removed, {self.most:g}")
        return self.at(place)

    def at(self, place: int) -> list[int]:
        """The choice of each parameter behind ``costs[place]``."""
        found = []
        for gains, taken in zip(reversed(self._gains), reversed(self._taken)):
            found.append(int(taken[place]))
            place = max(0, place - int(gains[found[-1]]))
        return found[::-1]
