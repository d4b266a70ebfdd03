"""How strong a penalty is over its window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.registry import SPEC

Factor = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]


class Strength(ABC):
    """The axis: share of the window that has passed -> factor of the penalty."""

    @abstractmethod
    def at(self, share: float) -> float:
        """The factor.

        Args:
            share: of the window, [0, 1).
        """


@dataclass(frozen=True, config=SPEC)
class Constant(Strength):
    """The same factor throughout.

    Args:
        value: >= 0.
    """

    value: Factor

    def at(self, share: float) -> float:
        del share
        return self.value


@dataclass(frozen=True, config=SPEC)
class Linear(Strength):
    """From one factor to another in equal steps.

    Args:
        to: towards the end of the window, >= 0.
        from_: at its start, >= 0.
    """

    to: Factor
    from_: Factor = 0.0

    def at(self, share: float) -> float:
        return self.from_ + (self.to - self.from_) * share
