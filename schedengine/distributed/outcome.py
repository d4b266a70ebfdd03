"""What came of a call in another process, on its way back."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schedengine.errors import SchedEngineError


@dataclass(frozen=True)
class Outcome:
    """What came of a call: a value, or an error that can be pickled and where it was raised."""

    value: Any = None
    error: Exception | None = None
    where: str = ""

    def get(self) -> Any:
        """The value, or raise the error."""
        if self.error is not None:
            raise self.error from _Traceback(self.where)
        return self.value

    def pickled(self) -> bytes:
        """As bytes; of a value that cannot be pickled, the error that says so."""
        try:
            return pickle.dumps(self)
        except Exception as error:  # whatever a value raises that cannot be pickled
            return pickle.dumps(_failure(error))


class _Traceback(Exception):
    """Of another process, as text."""

    def __str__(self) -> str:
        return f"in another process\n{self.args[0]}"


def attempt(function: Callable[..., Any], call: tuple[Any, ...], threads: int | None) -> Outcome:
    """Make a call, with so many threads on the CPU."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        return Outcome(function(*call))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> Outcome:
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # some classes cannot be made again from their message
        is_ours = isinstance(error, SchedEngineError)
        error = SchedEngineError(str(error)) if is_ours else RuntimeError(f"{type(error).__name__}: {error}")
    return Outcome(error=error, where=where)
