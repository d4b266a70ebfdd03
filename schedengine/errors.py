"""Every error a user can cause, in one tree, and the located problem they carry.

    SchedEngineError            anything the user can put right; the command line prints it and exits 1
    ├── ScheduleError           a schedule is wrong, or does not fit the model: one or many located problems
    ├── EffectError             a schedule ran and did not do what it says (a cut, a mask that did not hold)
    ├── ModelError              a model name, factory, or its weights
    ├── DataError               a data name, folder, or factory
    ├── CheckpointError         a file that is not a checkpoint of ours, or is damaged
    └── MissingExtraError       an optional library is not installed

Warnings mirror it: ``ScheduleWarning`` for a file, ``EffectWarning`` for a run. A bug of ours is none of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Mark:
    """A place in a schedule's text: 1-based line and column."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a schedule.

    Args:
        message: what is wrong, what was found, what would be right.
        path: where in the document, in the words of the file (``pruners.fine.sparsity.to``).
        mark: where in the text; None for a schedule that came as a dict.
    """

    message: str
    path: str = ""
    mark: Mark | None = None

    def __str__(self) -> str:
        where = [str(part) for part in (self.mark, self.path) if part]
        return ": ".join([*where, self.message])


class SchedEngineError(Exception):
    """Root of every error that the user can put right."""


class ScheduleError(SchedEngineError):
    """A schedule that cannot be read, or cannot be bound to this model.

    Attributes:
        problems: all of them, in the order of the file.
    """

    def __init__(self, problems: Sequence[Problem] | str) -> None:
        self.problems = (Problem(problems),) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class EffectError(SchedEngineError):
    """A schedule ran, and its effect is not what it says."""


class ModelError(SchedEngineError):
    """A model or its weights cannot be had."""


class DataError(SchedEngineError):
    """A data set cannot be had, or is not usable."""


class CheckpointError(SchedEngineError):
    """A file is not a checkpoint of ours, belongs to another run, or is damaged."""


class MissingExtraError(SchedEngineError):
    """An optional library is needed and not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(f"{library} is not installed; install it with: pip install 'schedengine[{extra}]'")


class ScheduleWarning(UserWarning):
    """A schedule is legal, and probably not what was meant."""


class EffectWarning(UserWarning):
    """A run's effect is not what the schedule says, where the schedule asks for no error."""


def did_you_mean(name: str, known: Iterable[str], *, most: int = 3) -> str:
    """The part of a message that says what would be right: the nearest names, else all of them if few.

    Case does not count; a name that differs in nothing else is the only one.

    Example:
        >>> did_you_mean("magnitud", ["magnitude", "random"])
        'did you mean magnitude?'
        >>> did_you_mean("cifar10", ["CIFAR10", "CIFAR100"])
        'did you mean CIFAR10?'
        >>> did_you_mean("xyz", ["magnitude", "random"])
        'known: magnitude, random'
    """
    names = sorted(set(known))
    spelled: dict[str, list[str]] = {}
    for item in names:
        spelled.setdefault(item.casefold(), []).append(item)
    wanted = name.casefold()
    near = [wanted] if wanted in spelled else difflib.get_close_matches(wanted, spelled, n=most, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(item for folded in near for item in spelled[folded])}?"
    if not names:
        return "none is known"
    shown = ", ".join(names[:24])
    return f"known: {shown}" + (", ..." if len(names) > 24 else "")
