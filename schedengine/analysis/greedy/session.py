"""A search as the command line asks for it: names -> model and data; kept in a folder, and on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Subset

from schedengine.analysis.greedy.candidates import candidates_of, short
from schedengine.analysis.greedy.schedule import schedule_text
from schedengine.analysis.greedy.search import Rule, greedy
from schedengine.analysis.sensitivity.asked import digest
from schedengine.analysis.table_file import read_table, write_table
from schedengine.errors import CheckpointError, DataError, SchedEngineError, ScheduleError
from schedengine.export.graph import dimensions
from schedengine.reports.files import writing
from schedengine.schedule.source import read
from schedengine.training.evaluate import evaluate
from schedengine.training.subject import open_trained
from schedengine.zoo.data import Data
from schedengine.zoo.loader import Images, Split
from schedengine.zoo.seeds import generator, reseed

CSV = "greedy.csv"
ABOUT = "greedy.json"
SCHEDULE = "schedule.yaml"
Watch = Callable[[pandas.DataFrame], None]


@dataclass(frozen=True)
class Request:
    """What defines a search: plain values, as the command line has them.

    Args:
        model, weights, data, split, batch_size, validation, seed, root, download, image_size, workers, classes, plugin:
            as for a run; weights None: the model's own, fresh ones are refused.
        target, step, least, criterion, parameters, by: see ``greedy``.
        images: of the split, chosen at random, that networks are measured on; all if there are fewer.
        fine_tune: epochs of SGD (momentum 0.9, weight decay 0.0001, no augmentation) on the training images that every
            network gets before it is measured; 0 for none.
        lr: their learning rate, constant.
    """

    model: str
    weights: str | None
    data: str = "digits"
    split: str = "validation"
    target: float = 0.5
    step: float = 0.1
    least: float = 0.1
    criterion: str = "magnitude"
    parameters: tuple[str, ...] = ()
    by: Rule = "top1"
    images: int = 2000
    fine_tune: int = 0
    lr: float = 0.01
    batch_size: int = 128
    validation: float = 0.1
    seed: int = 0
    root: str | None = None
    download: bool = False
    image_size: int | None = None
    workers: int = 0
    classes: int | None = None
    plugin: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        table: see ``greedy``.
        files: that were written.
        images: that networks were measured on.
        others: layers that write channels and were no candidates -> why.
    """

    table: pandas.DataFrame
    files: list[Path]
    images: int
    others: dict[str, str]


def search(
    request: Request, out: Path, *, epochs: int = 10, resume: bool = False, watch: Watch = lambda table: None
) -> Found:
    """Search, in this process; after every network the folder holds all rows so far.

    Args:
        out: the folder.
        epochs: of fine-tuning, in the schedule that is written.
        resume: go on with what the folder holds.
        watch: see ``greedy``.

    Raises:
        SchedEngineError: whatever does not exist, does not fit together, or cannot be reached.
    """
    subject = _Subject(request)
    asked = json.loads(json.dumps({**asdict(request), "digest": digest(subject.model)}))
    known = _known(out, asked, resume=resume)

    def keep(table: pandas.DataFrame) -> None:
        if known is None and len(table) == 1:  # not before it is known that there is something to search
            _write(out / ABOUT, json.dumps(asked, indent=2) + "\n")
        if known is None or len(table) >= len(known):  # fewer are read again from what is there
            write_table(table, out / CSV)
        watch(table)

    table = greedy(
        subject.model,
        subject.inputs,
        subject.measure,
        target=request.target,
        step=request.step,
        least=request.least,
        criterion=_value(request.criterion),
        parameters=request.parameters or None,
        by=request.by,
        tune=subject.tune if request.fine_tune else None,
        known=known,
        watch=keep,
    )
    text = schedule_text(
        table,
        request.model,
        subject.data.shape,
        criterion=request.criterion,
        epochs=epochs,
        file=str(out / SCHEDULE),
        images=f"{subject.images:,} {request.split} images",
    )
    _write(out / SCHEDULE, text)
    return Found(table, [out / CSV, out / SCHEDULE], subject.images, subject.others())


class _Subject:
    """What is searched, and how its networks are measured and trained."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.model, whole, self.compute = open_trained(request, "where no filter matters")
        self.data = self._with_fewer(whole)
        self.inputs = (torch.zeros(1, *whole.shape, device=self.compute.device),)

    def _with_fewer(self, whole: Data) -> Data:
        """Only so many images of the split to measure on."""
        name = self.request.split
        part: Split | None = getattr(whole, name)
        if part is None:
            raise DataError(f"--split {name}: the data have none; choose another, or a --validation share")
        self.images = min(self.request.images, len(part))
        chosen = (
            torch.randperm(len(part), generator=generator(self.request.seed, "greedy"))[: self.images].sort().values
        )
        fewer: Any = part.take(chosen) if isinstance(part, Images) else Subset(part, chosen.tolist())  # type: ignore[arg-type]
        return replace(whole, validation=fewer)

    def measure(self, network: nn.Module) -> tuple[float, float, float]:
        """Top-1, top-5, loss."""
        request = self.request
        loader = self.data.loader("validation", batch_size=request.batch_size, workers=request.workers)
        found = evaluate(network, loader, self.compute)
        return found.top1, found.top5, found.loss

    def tune(self, network: nn.Module, name: str) -> None:
        """Train for some epochs; seeds follow from the name, so that the same trial gives the same network again."""
        request, count = self.request, len(self.data.train)
        reseed(request.seed, "greedy", name)
        loader = self.data.loader(
            "train",
            batch_size=request.batch_size,
            shuffle=True,
            drop_last=count > request.batch_size and count % request.batch_size == 1,  # no statistics of one image
            seed=request.seed,
            workers=request.workers,
        )
        optimizer = torch.optim.SGD(network.parameters(), request.lr, momentum=0.9, weight_decay=1e-4)
        network.train()
        for epoch in range(request.fine_tune):
            loader.set_epoch(epoch)
            for images, labels in self.compute.batches(loader):
                optimizer.zero_grad(set_to_none=True)
                cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def others(self) -> dict[str, str]:
        """Layers that are no candidates."""
        pair = tuple(one.expand(2, *one.shape[1:]) for one in self.inputs)
        _, others = candidates_of(self.model, dimensions(self.model, pair), self.request.parameters or None)
        return {short(layers): reason for layers, reason in others.items()}


def _value(text: str) -> Any:
    """What a word of the command line would be in a schedule."""
    try:
        return read(f"criterion: {text}\n").root.plain()["criterion"]
    except ScheduleError as error:
        raise SchedEngineError(f"--criterion {text}: not what a schedule holds: {error.problems[0].message}") from error


def _known(out: Path, asked: Mapping[str, Any], *, resume: bool) -> pandas.DataFrame | None:
    """What a search that the folder holds has measured; None for a new one.

    Raises:
        SchedEngineError: it holds a search already, and ``resume`` is not asked for.
        CheckpointError: there is none to resume, or it was begun with other settings.
    """
    about = out / ABOUT
    if not resume:
        if about.exists():
            raise SchedEngineError(f"{out} holds a search already; go on with it (--resume), or choose another --out")
        return None
    try:
        noted = json.loads(about.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{out}: holds no search to resume; start one without --resume") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{about}: damaged: {error}") from error
    wrong = [f"{key}: was {noted.get(key)!r}, is {asked[key]!r}" for key in asked if noted.get(key) != asked[key]]
    if wrong:
        raise CheckpointError(f"{out}: the search was begun otherwise ({'; '.join(wrong)}); choose another --out")
    # Killed between the two files it has no row yet.
    return read_table(out / CSV).rows if (out / CSV).exists() else None


def _write(path: Path, text: str) -> None:
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
