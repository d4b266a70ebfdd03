"""A sweep as the command line asks for it: names -> model and data; in one piece, or in parts put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas
import torch
from torch import Tensor, nn

from schedengine.analysis.macs import multiply_accumulates
from schedengine.analysis.sensitivity.adaptive import FLOOR, Adaptive
from schedengine.analysis.sensitivity.asked import Asked, word
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.analysis.sensitivity.images import Shard, Shown, from_split
from schedengine.analysis.sensitivity.joint import joint_drop
from schedengine.analysis.sensitivity.merge import merge
from schedengine.analysis.sensitivity.paths import Path as Way
from schedengine.analysis.sensitivity.study import CSV, Folder, Study, Watch
from schedengine.analysis.sensitivity.suggest import Suggestion, suggest_levels
from schedengine.analysis.sensitivity.table import Swept, frame, write
from schedengine.distributed.cluster import run_ray
from schedengine.distributed.processes import run_local
from schedengine.errors import SchedEngineError, ScheduleError
from schedengine.reports.canvas import save
from schedengine.reports.sensitivity_figure import draw_sensitivity
from schedengine.reports.sensitivity_page import page
from schedengine.schedule.source import read
from schedengine.training.subject import open_trained
from schedengine.zoo.atomic import replacing
from schedengine.zoo.data import Data
from schedengine.zoo.loader import Loader, Split


@dataclass(frozen=True)
class Request:
    """What defines a sweep: plain values, as the command line has them.

    Args:
        model, weights, data, split, batch_size, validation, seed, root, download, image_size, workers, classes, plugin:
            as for a run; weights None: the model's own, fresh ones are refused.
        levels, granularity, criterion, parameters, allocation: as a schedule writes them, in text.
        subset: images, chosen at random; None for all.
        within, floor: see ``Adaptive``; None to measure every cell on every image.
        bfloat16: compute in it.
        shard: ``1/4``; None for the whole.
        way: batch and layout in which cells are computed, ``64:channels_last``; None to choose by trying.
    """

    model: str
    weights: str | None
    data: str = "digits"
    split: str = "validation"
    levels: str = Asked.levels  # type: ignore[assignment]  # the default is text
    granularity: str = "element"
    criterion: str = "magnitude"
    parameters: tuple[str, ...] = ()
    allocation: str | None = None
    subset: int | None = None
    within: float | None = None
    floor: float | None = None
    bfloat16: bool = False
    batch_size: int = 128
    validation: float = 0.1
    seed: int = 0
    root: str | None = None
    download: bool = False
    image_size: int | None = None
    workers: int = 0
    classes: int | None = None
    shard: str | None = None
    way: str | None = None
    plugin: tuple[str, ...] = ()

    def check(self) -> None:
        """Whether its parts go together.

        Raises:
            SchedEngineError: they do not.
        """
        is_sampling = self.within is not None or self.subset is not None
        if self.shard is not None and is_sampling:
            raise SchedEngineError(
                "--shard divides all images; with --within or --subset one process decides, leave it out"
            )
        if self.floor is not None and self.within is None:
            raise SchedEngineError("--floor goes with --within: it says when a cell need not be known better")
        if self.within is not None and self.subset is not None:
            raise SchedEngineError("--within takes as many images as it needs; leave --subset out")

    def asked(self) -> Asked:
        """The cells."""
        axes = [_value(text) for text in (self.granularity, self.criterion, self.allocation)]
        return Asked(self.levels, axes[0], axes[1], list(self.parameters) or None, axes[2])


_JUDGED = 2000
"""Images, at most, that a suggestion is tried on about twenty times, where no subset was asked for."""


def _value(text: str | None) -> Any:
    """What a word of the command line would be in a schedule."""
    if text is None:
        return None
    try:
        return read(f"axis: {text}\n").root.plain()["axis"]
    except ScheduleError as error:
        raise SchedEngineError(f"{text!r} is not what a schedule could hold: {error.problems[0].message}") from error


@dataclass(frozen=True)
class Subject:
    """What is swept.

    Args:
        model: with its weights, on the device.
        data: its splits.
    """

    model: nn.Module
    data: Data


def open_subject(request: Request) -> Subject:
    """Build the model, load weights and data.

    Raises:
        SchedEngineError: whatever does not exist, or does not fit together.
    """
    model, data, _ = open_trained(request, "whose sensitivity says nothing")
    return Subject(model, data)


def measure(
    request: Request, out: Path, *, resume: bool = False, watch: Watch = lambda progress: None
) -> pandas.DataFrame:
    """Sweep, in this process.

    Args:
        out: the folder in which every batch is kept.
        resume: go on with what it holds.
        watch: told of the progress after every batch.
    """
    request.check()
    subject, asked = open_subject(request), request.asked()
    cells = asked.cells(subject.model)
    shard = Shard() if request.shard is None else Shard.parse(request.shard)
    part: Split | None = getattr(subject.data, request.split)
    if part is None:
        raise SchedEngineError(f"--split {request.split}: the data have none; choose another, or a --validation share")

    def loader(split: Split, batch_size: int) -> Loader:
        return Loader(
            split, batch_size, subject.data.mean, subject.data.std, seed=request.seed, workers=request.workers
        )

    is_sampling = request.within is not None or request.subset is not None
    shown = from_split(
        loader,
        part,
        batch_size=request.batch_size,
        subset=request.subset,
        random_order=request.seed if is_sampling else None,
        shard=shard,
    )
    example = (torch.zeros(1, *subject.data.shape),)
    precision = "bfloat16" if request.bfloat16 else "float32"
    macs = multiply_accumulates(subject.model, example)
    study = Study(
        subject.model,
        cells,
        shown,
        Swept(word(asked.granularity), word(asked.criterion), word(asked.allocation), macs, precision),
        everything=from_split(loader, part, batch_size=request.batch_size) if is_sampling else None,
        adaptive=_adaptive(request),
        way=_way(request),
        bfloat16=request.bfloat16,
        folder=Folder(out, {**asdict(request), **asked.plain(subject.model)}),
        is_part=request.shard is not None,
    )
    return study.run(resume=resume, watch=watch)


def _adaptive(request: Request) -> Callable[[Counts], Adaptive] | None:
    if request.within is None:
        return None
    floor = FLOOR if request.floor is None else request.floor
    return partial(Adaptive, within=request.within, floor=floor)


def _way(request: Request) -> Way | None:
    """As asked; of shards a fixed one, since each would choose for itself, and the last bits of losses differ."""
    if request.way is None:
        return Way(min(64, request.batch_size), channels_last=True) if request.shard is not None else None
    batch, _, layout = request.way.partition(":")
    if not batch.isdecimal() or int(batch) < 1 or layout not in ("", "channels_last", "contiguous"):
        raise SchedEngineError(f"--way {request.way}: write a batch and a layout, 64:channels_last or 32:contiguous")
    return Way(int(batch), channels_last=layout == "channels_last")


def measure_in_parts(
    request: Request, out: Path, *, jobs: int, resume: bool = False, ray: str | None = None
) -> pandas.DataFrame:
    """Sweep in ``jobs`` processes, or Ray tasks, that share the images; put together, the same table as in one.

    Args:
        out: each part is kept in a folder in it.
        ray: address of a cluster; None for local processes.
    """
    parts = [replace(request, shard=f"{number}/{jobs}") for number in range(1, jobs + 1)]
    for part in parts:
        part.check()
    folders = [out / f"shard-{number}-of-{jobs}" for number in range(1, jobs + 1)]
    calls = [(part, folder, resume and (folder / "sweep.json").exists()) for part, folder in zip(parts, folders)]
    if ray is None:
        run_local(_measure_part, calls, jobs)
    else:
        run_ray(_measure_part, calls, ray)
    return put_together(folders, out / CSV)


def put_together(paths: Sequence[Path], out: Path) -> pandas.DataFrame:
    """Merge shards into one file."""
    found = merge(paths)
    write(out, found)
    return frame(found)


@dataclass(frozen=True)
class Wish:
    """What is to be suggested; nothing where both are None.

    Args:
        drop: points that may be lost.
        target: fraction to remove.
        by: ``weights`` or ``macs``.
    """

    drop: float | None = None
    target: float | None = None
    by: str = "weights"

    @property
    def is_any(self) -> bool:
        """Whether anything is wished for."""
        return self.drop is not None or self.target is not None

    def check(self) -> None:
        """Whether it can be asked for, before hours are spent.

        Raises:
            SchedEngineError: it cannot.
        """
        if self.drop is not None and self.target is not None:
            raise SchedEngineError("--suggest loses at most so much, --target removes so much; give one of them")
        if self.drop is not None and self.drop < 0:
            raise SchedEngineError(f"--suggest {self.drop:g}: points of accuracy that may be lost, 0 or more")
        if self.target is not None and not 0 < self.target < 1:
            raise SchedEngineError(f"--target {self.target:g}: the fraction to remove, between 0 and 1")


@dataclass(frozen=True)
class Conclusion:
    """What was made of a sweep.

    Args:
        files: that were written, the table first.
        suggestion: levels; None if none were asked for.
    """

    files: list[Path]
    suggestion: Suggestion | None


def conclude(request: Request, found: pandas.DataFrame, out: Path, wish: Wish) -> Conclusion:
    """Draw a finished sweep, write its page, and suggest levels.

    A suggestion is tried on the network itself, with all its levels together, on the images of the sweep.
    """
    files = [out / CSV]
    if request.shard is not None:  # a part says nothing by itself
        return Conclusion(files, None)
    files += [save(draw_sensitivity(found), out / name) for name in ("sensitivity.png", "sensitivity.svg")]
    files.append(_write(out / "sensitivity.html", page(found, title=request.model)))
    if not wish.is_any:
        return Conclusion(files, None)
    suggestion = _suggested(request, found, wish)
    text = suggestion.schedule(request.model, file=str(out / "suggested.yaml"))
    _write(out / "sensitivity.html", page(found, suggestion, title=request.model, schedule=text))
    return Conclusion([*files, _write(out / "suggested.yaml", text)], suggestion)


def _write(path: Path, text: str) -> Path:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _suggested(request: Request, found: pandas.DataFrame, wish: Wish) -> Suggestion:
    subject = open_subject(request)
    part = getattr(subject.data, request.split)
    shown = from_split(
        lambda split, size: Loader(split, size, subject.data.mean, subject.data.std, seed=request.seed),
        part,
        batch_size=request.batch_size,
        subset=None if request.subset is None and len(part) <= _JUDGED else min(request.subset or _JUDGED, len(part)),
        random_order=request.seed,
    )
    measure = joint_drop(subject.model, _Again(shown), request.asked().pruner())
    return suggest_levels(found, drop=wish.drop, target=wish.target, by=wish.by, measure=measure)  # type: ignore[arg-type]


class _Again:
    """Batches that can be gone through more than once."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self._shown.batches()


def _measure_part(request: Request, folder: Path, resume: bool) -> None:
    measure(request, folder, resume=resume)
