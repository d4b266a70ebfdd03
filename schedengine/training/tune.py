"""A number of a schedule turned until the sparsity that comes out is the one asked: some runs, one after the other.

For what has no target of its own: thresholds that are learned or follow from the weights, penalties that push weights
below one.

    FOLDER/tune.json      what is asked
    FOLDER/schedule.yaml  the schedule as it was
    FOLDER/study.journal  Optuna's record of the trials
    FOLDER/trial-0.yaml   the schedule with the value of the first trial; trial-0/ its run
"""

from __future__ import annotations

import csv
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from schedengine.errors import (
    CheckpointError,
    EffectError,
    EffectWarning,
    SchedEngineError,
    ScheduleError,
    ScheduleWarning,
)
from schedengine.integrations.optuna import Asked, Study
from schedengine.schedule.document import REFERENCES, Schedule
from schedengine.schedule.knobs import Dial, Knob
from schedengine.schedule.load import load_schedule
from schedengine.schedule.source import read
from schedengine.training.bracket import Point, miss, next_value
from schedengine.training.line import Watch
from schedengine.training.run import RunFolder
from schedengine.training.session import Session
from schedengine.training.settings import Settings, option
from schedengine.training.sparsity import share_of_zeros
from schedengine.training.train import train
from schedengine.training.tuned import Trial, TuneResult, comment, is_near
from schedengine.zoo.atomic import replacing
from schedengine.zoo.factory import import_plugins

_NOTHING = "nothing was pruned"


def tune(
    settings: Settings,
    knob: Knob | str,
    target: float,
    *,
    out: str | Path,
    runs: str | Path,
    trials: int = 8,
    tolerance: float = 0.01,
    resume: bool = False,
    tell: Callable[[Trial], None] = lambda trial: None,
    watches: Sequence[Watch] = (),
) -> TuneResult:
    """Turn a number of a schedule until the sparsity that comes out is the one asked, and write the schedule with it.

    Each trial is a whole run, as ``train`` makes it, from the same seed: both ends of the range first, then between
    those neighbours that enclose the target (``bracket.next_value``); where none do, Optuna's TPE chooses. What is
    minimised is the miss in density on a log scale, ``|log((1 - sparsity) / (1 - target))|``. A run in which nothing
    was pruned counts as sparsity 0.

    Args:
        settings: of every run; ``settings.schedule`` is the file.
        knob: the number and its range, as in ``pruners.str.weight_decay=1e-5:1e-3``.
        target: fraction of the weights that the knob's pruner selected, in (0, 1), counted at the end as a run's report
            does; for a knob of anything else, of all Conv and Linear weights and whatever else pruners selected.
        out: the file to write: the user's text with the value in its place, and a comment above it that says how it was
            found. Written as well where no trial was near enough; ``is_found`` tells.
        runs: the folder for the trials.
        trials: how many at most, those before an interruption counted.
        tolerance: how far from the target is near enough, a fraction of the weights; the search stops there.
        resume: go on with the search that ``runs`` holds; range, trials and tolerance may be others.
        tell: called with each trial as it ends.
        watches: told of every step and epoch, as in ``train``.

    Raises:
        ScheduleError: there is no such number in the file, or a schedule cannot have it at an end of its range.
        SchedEngineError: a value out of range, files that are there already, or no trial came to its end.
        MissingExtraError: Optuna is not installed.
    """
    if not 0 < target < 1:
        raise SchedEngineError(f"--target {target:g}: a fraction removed, between 0 and 1")
    if trials < 1 or not 0 < tolerance < 1:
        raise SchedEngineError(f"--trials {trials}, --tolerance {tolerance:g}: at least 1, and between 0 and 1")
    wanted = Knob.parse(knob) if isinstance(knob, str) else knob
    tuning = _Tuning(settings, wanted, target, tolerance, Path(out), Path(runs), resume=resume)
    tuning.run(trials, tell, watches)
    return tuning.written()


class _Tuning:
    """A search that is going on."""

    def __init__(
        self, settings: Settings, knob: Knob, target: float, tolerance: float, out: Path, runs: Path, *, resume: bool
    ) -> None:
        import_plugins(settings.plugin)
        self.settings, self.target, self.tolerance = settings, target, tolerance
        self.out, self.runs = out, runs
        schedule = load_schedule(Path(settings.schedule))
        self.dial = Dial.find(read(Path(settings.schedule)), knob.path)
        self.knob = replace(knob, path=self.dial.node.path)
        self.pruner = self.dial.instance if self.dial.section == "pruners" else None
        self._check_used(schedule)
        self._try_ends()
        self._open_folder(resume=resume)
        self.study = Study(runs / "study.journal", self.knob, settings.seed)
        self.trials: list[Trial] = []

    @property
    def counted(self) -> str:
        """Which weights the sparsity is a fraction of."""
        if self.pruner is not None:
            return f"the weights that pruner {self.pruner!r} selected"
        return "all Conv and Linear weights, and whatever else pruners selected"

    def _check_used(self, schedule: Schedule) -> None:
        instances = {
            policy.instance for policy in schedule.policies if REFERENCES.get(policy.kind) == self.dial.section
        }
        if self.dial.instance and self.dial.instance not in instances:
            what = f"no policy uses {self.dial.instance!r}, so that turning this changes nothing; add one"
            raise ScheduleError([self.dial.node.problem(what)])

    def _try_ends(self) -> None:
        """Whether both ends make a schedule; problems get the file's name and lines."""
        for end in (self.knob.low, self.knob.high):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ScheduleWarning)
                    load_schedule(self.dial.turned(end))
            except ScheduleError as error:
                name = self.dial.source.name
                placed = [
                    replace(one, mark=one.mark and replace(one.mark, file=name), message=f"{one.message}, as a knob")
                    for one in error.problems
                ]
                raise ScheduleError(placed) from error

    def _open_folder(self, *, resume: bool) -> None:
        if self.out.resolve() == Path(self.settings.schedule).resolve():
            raise SchedEngineError(
                f"--out {self.out}: is the schedule itself, which stays as it is; choose another name"
            )
        is_begun = any(self.runs.glob("trial-*/run.json"))
        if resume:
            self._check_same()
        elif is_begun:
            raise SchedEngineError(
                f"{self.runs} holds a search already; go on with it (--resume), or choose other --runs"
            )
        elif self.out.exists():
            raise SchedEngineError(f"--out {self.out}: is there already; choose another name, or remove it")
        else:
            self.runs.mkdir(parents=True, exist_ok=True)
            (self.runs / "study.journal").unlink(missing_ok=True)
            _write(self.runs / "schedule.yaml", self.dial.source.text)
            _write(self.runs / "tune.json", json.dumps(self._asked(), indent=2) + "\n")

    def _asked(self) -> dict[str, Any]:
        return {"knob": self.knob.path, "logarithmic": self.knob.is_log, "target": self.target, **self.settings.plain()}

    def _check_same(self) -> None:
        try:
            before = json.loads((self.runs / "tune.json").read_text(encoding="utf-8"))
            text = _text(self.runs / "schedule.yaml")
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.runs}: holds no search to resume; start one without --resume") from error
        except ValueError as error:
            raise CheckpointError(f"{self.runs / 'tune.json'}: damaged: {error}") from error
        now = self._asked()
        wrong = [f"{option(key)}: was {before.get(key)}, is {now[key]}" for key in now if before.get(key) != now[key]]
        if text != self.dial.source.text:
            wrong.append(f"{self.settings.schedule}: not the text that the search was begun with")
        if wrong:
            raise SchedEngineError(
                "\n".join([*wrong, f"--resume goes on with the search of {self.runs} as it was begun"])
            )

    def run(self, most: int, tell: Callable[[Trial], None], watches: Sequence[Watch]) -> None:
        """Try values until one is near enough, or all trials are used."""
        for asked in self._values(most):
            path = self.runs / f"trial-{asked.number}"
            if asked.is_open:
                trial = self._measure(asked, path, watches)
                _write(path / "trial.json", json.dumps(asdict(trial), indent=2) + "\n")
                self.study.tell(
                    asked.number, None if trial.sparsity is None else abs(miss(trial.sparsity, self.target))
                )
                tell(trial)
            else:
                trial = Trial(**json.loads((path / "trial.json").read_text(encoding="utf-8")))
            self.trials.append(trial)
            if asked.is_open and len(self.trials) == 2:
                self._warn_of_side()

    def _warn_of_side(self) -> None:
        ends = [trial.sparsity for trial in self.trials if trial.sparsity is not None]
        if len(ends) == 2 and (ends[0] < self.target) == (ends[1] < self.target):
            warnings.warn(
                f"both ends of {self.knob} miss {self.target:g} to the same side ({ends[0]:.4f} and {ends[1]:.4f}); if "
                "sparsity only rises or only falls along it, interrupt, and go on with another range (--resume)",
                EffectWarning,
                stacklevel=4,
            )

    def _values(self, most: int) -> Iterator[Asked]:
        yield from self.study.trials()
        while len(self.trials) < most and not any(is_near(one, self.target, self.tolerance) for one in self.trials):
            points = [Point(trial.value, trial.sparsity) for trial in self.trials]
            yield self.study.ask(next_value(points, self.knob, self.target))

    def _measure(self, asked: Asked, path: Path, watches: Sequence[Watch]) -> Trial:
        """A run; one that was interrupted goes on."""
        result = path / "result.json"
        if result.exists():
            report = json.loads(result.read_text(encoding="utf-8"))
            return self._trial(asked, report, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ScheduleWarning)  # told once, of the user's own file
            folder, session = self._run(asked, path)
        try:
            return self._trial(asked, train(folder, session, *watches).plain(), path)
        except CheckpointError:
            raise
        except EffectError as error:
            names = None if self.pruner is None else session.scheduler.pruners[self.pruner].names
            sparsity = share_of_zeros(session.counts(), names)
            reason = str(error).splitlines()[0] if sparsity else _NOTHING
            return Trial(asked.number, asked.value, sparsity, None, _seconds(path), reason)
        except SchedEngineError as error:
            return Trial(asked.number, asked.value, None, None, _seconds(path), str(error).splitlines()[0])

    def _run(self, asked: Asked, path: Path) -> tuple[RunFolder, Session]:
        if (path / "run.json").exists():
            folder = RunFolder.open(path)
            return folder, Session.of(folder.settings, folder.schedule)
        file = path.with_suffix(".yaml")
        _write(file, self.dial.turned(asked.value))
        settings = replace(self.settings, schedule=str(file))
        session = Session.of(settings, file)
        return RunFolder.create(path, settings, session.data), session

    def _trial(self, asked: Asked, report: dict[str, Any], path: Path) -> Trial:
        own = [one["achieved"] for one in report["pruned"] if one["pruner"] == self.pruner]
        sparsity = own[0] if self.pruner is not None else report["sparsity_all"]
        scores = report["after"]["validation"]
        return Trial(asked.number, asked.value, sparsity, scores and scores["top1"], _seconds(path))

    def written(self) -> TuneResult:
        """What was found, its schedule in its file."""
        if all(trial.failed for trial in self.trials):
            reasons = "\n".join(f"{one.value:g}: {one.failed}" for one in self.trials)
            raise SchedEngineError(f"no trial of {self.knob} came to its end:\n{reasons}")
        found = TuneResult(self.knob, self.target, self.tolerance, self.counted, tuple(self.trials))
        body = self.dial.turned(found.best.value)
        head = "".join(f"{line}\n" for line in comment(found, self.settings))
        _write(self.out, (head.replace("\n", "\r\n") if "\r\n" in body else head) + body)
        return found


def _seconds(path: Path) -> float:
    """Of the epochs that a run has finished."""
    try:
        with (path / "metrics.csv").open(newline="", encoding="utf-8") as file:
            return round(sum(float(row["seconds"]) for row in csv.DictReader(file)), 3)
    except FileNotFoundError:
        return 0.0


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def _write(path: Path, text: str) -> None:
    """Line ends stay as they are."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))
