"""The learning rate at every optimizer step of a dense training: what retraining schedules are made from.

Trace       the rates themselves
Earlier     anything that can tell the trace of the training before this run: a trace, or what a file says of it
Recorder    writes the trace of the dense phase of this run, after the earlier one
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from schedengine.errors import CheckpointError, ModelError

NOTE = "lr_trace"
"""The key of a weights file's header under which the trace stands."""


class Trace:
    """The first parameter group's rate at every step, in order.

    Args:
        rates: >= 0; one or more.
        steps_per_epoch: > 0.
        starts: the steps at which trainings begin, 0 first, where several came one after another.

    Example:
        >>> trace = Trace([0.05, 0.1, 0.1, 0.01], steps_per_epoch=2)
        >>> trace.epochs, trace.highest, trace.lowest
        (Fraction(2, 1), 0.1, 0.01)
    """

    def __init__(self, rates: Iterable[float], steps_per_epoch: int, starts: Sequence[int] = (0,)) -> None:
        self.rates = array("d", rates)
        self.steps_per_epoch = steps_per_epoch
        self.starts = tuple(starts)

    def __repr__(self) -> str:
        return f"<Trace of {float(self.epochs):.4g} epochs, rates {self.highest:.4g} to {self.lowest:.4g}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and (self.steps_per_epoch, self.rates) == (other.steps_per_epoch, other.rates)

    __hash__ = None  # type: ignore[assignment]  # as an array

    def __len__(self) -> int:
        return len(self.rates)

    @property
    def epochs(self) -> Fraction:
        """How long the training was."""
        return Fraction(len(self.rates), self.steps_per_epoch)

    @cached_property
    def highest(self) -> float:
        """The largest rate."""
        return max(self.rates)

    @cached_property
    def warmup(self) -> int:
        """Steps before the largest rate was first reached, where the rate rose from step to step until then."""
        return self._rise(0, len(self))

    @cached_property
    def lowest(self) -> float:
        """The smallest rate, warm-ups left out."""
        ends = [*self.starts[1:], len(self)]
        return min(min(self.rates[start + self._rise(start, end) : end]) for start, end in zip(self.starts, ends))

    def _rise(self, start: int, end: int) -> int:
        """Steps of the warm-up of the training that these steps are."""
        top = max(range(start, end), key=self.rates.__getitem__)
        rises = all(self.rates[step] <= self.rates[step + 1] for step in range(start, top))
        return top - start if rises else 0

    def at(self, steps_per_epoch: int) -> Trace:
        """The same training as seen by a run with epochs of another number of steps: each takes the nearest before."""
        if steps_per_epoch == self.steps_per_epoch:
            return self
        count = max(1, round(self.epochs * steps_per_epoch))
        starts = [start * count // len(self) for start in self.starts]
        return Trace((self.rates[step * len(self) // count] for step in range(count)), steps_per_epoch, starts)

    def then(self, later: Trace) -> Trace:
        """This training and another after it, of as many steps an epoch."""
        starts = (*self.starts, *(len(self) + start for start in later.starts))
        return Trace(self.rates + later.rates, later.steps_per_epoch, starts)

    def to_text(self) -> str:
        """For the header of a file of weights."""
        packed = base64.b64encode(zlib.compress(_little(self.rates).tobytes(), 9)).decode("ascii")
        return json.dumps({"steps_per_epoch": self.steps_per_epoch, "starts": self.starts, "rates": packed})

    @classmethod
    def from_text(cls, text: str) -> Trace:
        """Read what ``to_text`` gave, bit for bit.

        Raises:
            ModelError: it is damaged.
        """
        try:
            content = json.loads(text)
            rates = array("d")
            rates.frombytes(zlib.decompress(base64.b64decode(content["rates"])))
            found = cls(_little(rates), int(content["steps_per_epoch"]), content.get("starts", (0,)))
        except (ValueError, KeyError, TypeError, zlib.error) as error:
            raise ModelError(f"its learning-rate trace ({NOTE}) is damaged: {error}") from error
        if not found.rates or found.steps_per_epoch < 1 or not all(rate >= 0 for rate in found.rates):
            raise ModelError(f"its learning-rate trace ({NOTE}) is damaged: no rates, or a negative one")
        return found


def _little(rates: array[float]) -> array[float]:
    """In the byte order of files, from or to this machine's."""
    if sys.byteorder == "little":
        return rates
    swapped = array("d", rates)
    swapped.byteswap()
    return swapped


class Earlier(Protocol):
    """What tells the trace of a training before this run."""

    def at(self, steps_per_epoch: int) -> Trace:
        """The trace.

        Args:
            steps_per_epoch: of this run.
        """

    @property
    def epochs(self) -> Fraction | int:
        """How long that training was."""


class Recorder:
    """The trace of the dense training: what came before the run, and every step of the run until it is closed.

    A rate that is a tensor (a capturable optimizer's) is copied where it is, and read at the end of the epoch, or when
    the trace is asked for.

    Args:
        earlier: the training before this run; None for none.
    """

    def __init__(self, earlier: Earlier | None = None) -> None:
        self.earlier = earlier
        self._rates: list[float | Tensor] = []
        self._made: Trace | None = None

    def record(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Note the rate that a step is made with.

        Args:
            step: of the run, from 0. A step that was noted before (the loop went back) is forgotten with all after it.
        """
        group = optimizer.param_groups[0]
        rate = group["lr"]
        if step < len(self._rates):
            del self._rates[step:]
        self._rates.append(rate.detach().clone() if isinstance(rate, Tensor) else float(rate))
        self._made = None

    @property
    def steps(self) -> int:
        """Of this run, noted so far."""
        return len(self._rates)

    @property
    def rates(self) -> Tensor:
        """(steps,) float64, on the CPU: those of this run."""
        self.read_()
        return torch.tensor(self._rates, dtype=torch.float64)

    def take_(self, rates: Tensor) -> None:
        """Let these be the rates of this run so far.

        Args:
            rates: (steps,).
        """
        self._rates, self._made = rates.tolist(), None

    def has(self, step: int) -> bool:
        """Whether the rate of a step was noted."""
        return step < len(self._rates)

    def trace(self, steps_per_epoch: int, until: int | None = None) -> Trace | None:
        """All of the dense training so far; None if there was none.

        Args:
            steps_per_epoch: of this run.
            until: a step of the run, exclusive: what came before it only.
        """
        self.read_()
        if until is not None and until < len(self._rates):
            return self._trace(self._rates[:until], steps_per_epoch)
        if self._made is None:
            self._made = self._trace(self._rates, steps_per_epoch)
        return self._made

    def _trace(self, rates: Sequence[float | Tensor], steps_per_epoch: int) -> Trace | None:
        before = None if self.earlier is None else self.earlier.at(steps_per_epoch)
        own = Trace((float(rate) for rate in rates), steps_per_epoch) if rates else None
        return before.then(own) if before and own else before or own

    def read_(self) -> None:
        """Fetch the rates that still lie on a device, each once. Waits for the device: not for every step."""
        for step in reversed(range(len(self._rates))):
            if not isinstance(self._rates[step], Tensor):
                return
            self._rates[step] = float(self._rates[step])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers."""
        before = self.earlier if isinstance(self.earlier, Trace) else None
        return {
            "own": self.rates,
            "earlier": None if before is None else torch.tensor(before.rates, dtype=torch.float64),
            "earlier_steps_per_epoch": None if before is None else before.steps_per_epoch,
            "earlier_starts": None if before is None else list(before.starts),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave; what a file says of the earlier training stays."""
        try:
            self._rates = state["own"].tolist()
            if state["earlier"] is not None:
                self.earlier = Trace(
                    state["earlier"].tolist(), state["earlier_steps_per_epoch"], state["earlier_starts"]
                )
        except (KeyError, AttributeError) as error:
            raise CheckpointError(f"the checkpoint's learning-rate trace is damaged: {error}") from error
        self._made = None
