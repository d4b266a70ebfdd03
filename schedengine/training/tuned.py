"""What a search for a knob's value found, and how a file says it."""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from schedengine.schedule.knobs import Knob
from schedengine.training.bracket import miss
from schedengine.training.settings import Settings, option

if TYPE_CHECKING:
    import pandas

_WIDTH = 118


@dataclass(frozen=True)
class Trial:
    """A run with one value of the knob.

    Args:
        trial: its number, from 0.
        value: of the knob.
        sparsity: fraction of the counted weights that is 0 at the end of the run; None where training diverged.
        top1: in per cent, of the final weights on validation; None without validation images, or where it failed.
        seconds: of training and validation.
        failed: why the run stopped before its end; empty where it did not.
    """

    trial: int
    value: float
    sparsity: float | None
    top1: float | None
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class TuneResult:
    """A finished search.

    Args:
        knob: what was turned.
        target: fraction of the counted weights that was asked to be 0, in (0, 1).
        tolerance: how far from the target is near enough.
        counted: in words, which weights these are.
        trials: in order of time, one at least that came to its end.
    """

    knob: Knob
    target: float
    tolerance: float
    counted: str
    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The one nearest to the target; of those within the tolerance, if there are any."""
        return min((trial for trial in self.trials if not trial.failed), key=self._distance)

    def _distance(self, trial: Trial) -> tuple[bool, float]:
        assert trial.sparsity is not None
        return not is_near(trial, self.target, self.tolerance), abs(miss(trial.sparsity, self.target))

    @property
    def is_found(self) -> bool:
        """Whether the best is within the tolerance."""
        return is_near(self.best, self.target, self.tolerance)

    @property
    def table(self) -> pandas.DataFrame:
        """A row a trial: ``trial``, ``value``, ``sparsity``, ``top1`` (per cent), ``seconds``, ``failed``."""
        import pandas

        return pandas.DataFrame([asdict(trial) for trial in self.trials])


def is_near(trial: Trial, target: float, tolerance: float) -> bool:
    """Whether a run came to its end, and so near."""
    return not trial.failed and trial.sparsity is not None and abs(trial.sparsity - target) <= tolerance


def comment(found: TuneResult, settings: Settings) -> list[str]:
    """The lines above the schedule with the value: what was asked, what came out, and the command."""
    best, knob = found.best, found.knob
    near = "" if found.is_found else ", which no trial was near enough to"
    top1 = "" if best.top1 is None else f", top-1 {best.top1:.2f} % on validation"
    length = "" if settings.budget is None else f" For runs with --budget {settings.budget}, and no other length."
    said = (
        f"{knob.path}: {best.value:g}, found by {len(found.trials)} trials of {knob.low:g} to {knob.high:g}. Asked: "
        f"{found.target:g} (within {found.tolerance:g}) of {found.counted} 0 at the end{near}; trial {best.trial}: "
        f"{best.sparsity:.4f}{top1}; seed {settings.seed}.{length}"
    )
    lines = textwrap.wrap(said, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
    asked = ["--target", f"{found.target:g}", "--knob", knob.plain()]
    return [*lines, f"# command: {shlex.join(['schedengine', 'tune', *_options(settings), *asked])}"]


def _options(settings: Settings) -> list[str]:
    """What the command line says of a run: the schedule, and all that differs from the defaults."""
    given, usual = settings.plain(), Settings(settings.schedule, "", optimizer=settings.optimizer).plain()
    usual |= {"optimizer": Settings(settings.schedule, "").optimizer.value, "data": None}
    words = [settings.schedule]
    for name in given:
        if given[name] == usual[name]:
            continue
        for one in given[name] if isinstance(given[name], list) else [given[name]]:
            words += [option(name)] if one is True else [option(name), str(one)]
    return words
