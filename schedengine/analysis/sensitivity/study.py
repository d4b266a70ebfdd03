"""A sweep that is going on: batch by batch onto the disk, and on from there.

After every batch the folder holds a whole ``sensitivity.csv`` with all counts so far, so a kill loses the batch at hand
at most. ``sweep.json`` says what was asked and how it is computed; it must agree on a resume.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas
from torch import Tensor, nn

from schedengine.analysis.sensitivity import table
from schedengine.analysis.sensitivity.adaptive import Adaptive
from schedengine.analysis.sensitivity.bounds import Pairs, drop_bounds
from schedengine.analysis.sensitivity.cells import Cell
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.analysis.sensitivity.images import Shown
from schedengine.analysis.sensitivity.paths import Path as Way
from schedengine.analysis.sensitivity.sweep import Engine
from schedengine.analysis.sensitivity.table import Drop, Swept
from schedengine.errors import CheckpointError, DataError, SchedEngineError
from schedengine.zoo.atomic import replacing

CSV = "sensitivity.csv"
ABOUT = "sweep.json"


@dataclass
class Progress:
    """How far a sweep is.

    Args:
        images: seen by some cell.
        total: that are to be seen; None where nobody knows before they are read.
        open: cells that are still measured.
        cells: all of them.
    """

    images: int
    total: int | None
    open: int
    cells: int


Watch = Callable[[Progress], None]


class Folder:
    """Where a sweep is kept.

    Args:
        path: of the folder.
        asked: what defines the sweep: plain values.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any]) -> None:
        self.path = path
        self.asked = json.loads(json.dumps(asked))

    def begin(self, *, resume: bool) -> dict[str, Any]:
        """Make the folder, or find a sweep in it to go on with; what it noted of itself.

        Raises:
            SchedEngineError: it holds a sweep already, and ``resume`` is not asked for.
            CheckpointError: nothing to resume, or it was begun with other settings.
        """
        about = self.path / ABOUT
        if not resume:
            if about.exists():
                raise SchedEngineError(
                    f"{self.path} holds a sweep already; go on with it (--resume), or choose another --out"
                )
            self.note({})
            return {}
        try:
            noted = json.loads(about.read_text(encoding="utf-8"))
            asked = noted["asked"]
        except FileNotFoundError as error:
            raise CheckpointError(f"{self.path}: holds no sweep to resume; start one without --resume") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{about}: damaged: {error}") from error
        wrong = [key for key in {**asked, **self.asked} if asked.get(key) != self.asked.get(key)]
        if wrong:
            said = "; ".join(f"{key}: was {asked.get(key)!r}, is {self.asked.get(key)!r}" for key in wrong)
            raise CheckpointError(f"{self.path}: the sweep was begun otherwise ({said}); choose another --out")
        return dict(noted)

    def note(self, found: Mapping[str, Any]) -> None:
        """Write what the sweep has found out about itself."""
        try:
            with replacing(self.path / ABOUT) as temporary:
                temporary.write_text(json.dumps({"asked": self.asked, **found}, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise SchedEngineError(
                f"{self.path}: cannot hold the sweep: {error.strerror}; choose another --out"
            ) from error

    @property
    def csv(self) -> Path:
        """The table."""
        return self.path / CSV


class Study:
    """A sweep of one model on one set of images.

    Args:
        model: images -> scores; left as it is.
        cells: to measure; one of them changes nothing (level 0).
        shown: the images.
        swept: what all rows share.
        everything: all images, where only some may be shown: the dense network is measured on them first.
        adaptive: counts of the dense network on everything -> which cells are still open; None to show every image to
            every cell.
        way: how to compute; None for the fastest.
        bfloat16: compute in it; where ``way`` is given, that says.
        folder: None to keep nothing on the disk.
        is_part: whether other parts (shards) have the other images.
    """

    def __init__(
        self,
        model: nn.Module,
        cells: Sequence[Cell],
        shown: Shown,
        swept: Swept,
        *,
        everything: Shown | None = None,
        adaptive: Callable[[Counts], Adaptive] | None = None,
        way: Way | None = None,
        bfloat16: bool = False,
        folder: Folder | None = None,
        is_part: bool = False,
    ) -> None:
        self._model = model
        self._cells = list(cells)
        self._shown = shown
        self._swept = swept
        self._everything = everything
        self._adaptive = adaptive
        self._way = way
        self._bfloat16 = bfloat16
        self._folder = folder
        self._is_part = is_part
        self._dense = table.dense_cell(cells)
        self._counts = dict.fromkeys(cells, Counts())
        self._open = self._cells
        self._whole: Counts | None = None
        self._seen = hashlib.blake2b(digest_size=16)
        self._marks: dict[str, str] = {}
        self.engine: Engine | None = None

    def run(self, *, resume: bool = False, watch: Watch = lambda progress: None) -> pandas.DataFrame:
        """Measure to the end, from wherever the folder is.

        Raises:
            CheckpointError: the folder's sweep is another one, or its images were others.
        """
        skip = self._restore(resume)
        if self._everything is not None and self._whole is None:
            self._measure_whole()
        for images, labels in self._shown.batches(skip):
            wanted = self._wanted()
            if not wanted:
                break
            self._measure(images, labels, wanted)
            self._keep()
            watch(Progress(self._images, self._shown.images, len(wanted), len(self._cells)))
        if not self._images:
            raise DataError("the data have no images")
        self._keep(is_done=True)
        return table.frame(self.rows(is_done=True))

    def rows(self, *, is_done: bool) -> list[dict[str, Any]]:
        """What has been found so far, a row a cell."""
        dense = self._whole or self._counts[self._dense]
        return table.rows(self._cells, self._counts, self._drops(is_done), dense, self._swept)

    @property
    def _images(self) -> int:
        """How many have been shown."""
        return self._counts[self._dense].samples

    # --- measuring ----------------------------------------------------------------------------------------------------

    def _wanted(self) -> list[Cell]:
        if self._adaptive is None:
            return self._cells
        assert self._whole is not None
        # What is done stays done, so that only the others are looked at after each batch.
        self._open = self._adaptive(self._whole).wanted({cell: self._counts[cell] for cell in self._open})
        return [*self._open, self._dense] if self._open and self._dense not in self._open else self._open

    def _measure(self, images: Tensor, labels: Tensor, cells: Sequence[Cell]) -> None:
        self.engine = self.engine or self._made(images)
        for cell, found in self.engine.measure(images, labels, cells).items():
            self._counts[cell] += found
        self._seen.update(_digest(images, labels))

    def _made(self, images: Tensor) -> Engine:
        engine = Engine(self._model, self._cells, images, path=self._way)
        if self._way is None:
            self._way = engine.path
            if self._bfloat16:
                self._way = replace(engine.path, bfloat16=True)
                engine = Engine(self._model, self._cells, images, path=self._way)
            self._note()
        return engine

    def _measure_whole(self) -> None:
        assert self._everything is not None
        whole = Counts()
        for images, labels in self._everything.batches():
            self.engine = self.engine or self._made(images)
            whole += self.engine.measure(images, labels, [self._dense])[self._dense]
        self._whole = whole
        self._note()

    def _drops(self, is_done: bool) -> dict[Cell, Drop]:
        cells = self._cells
        values = {cell: table.measured_drop(self._counts[cell]) for cell in cells}
        if self._whole is None:
            exact = is_done and not self._is_part
            return {
                cell: Drop(value, *((value, value) if exact else (math.nan, math.nan)))
                for cell, value in values.items()
            }
        if self._adaptive is not None:
            bounds = self._adaptive(self._whole).bounds(self._counts)
        else:
            bounds = drop_bounds(Pairs.of([self._counts[cell] for cell in cells], self._whole))
        return {cell: Drop(*map(float, one)) for cell, one in zip(cells, zip(bounds.drop, bounds.low, bounds.high))}

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _restore(self, resume: bool) -> int:
        """Take up what the folder has; how many batches are done."""
        if self._folder is None:
            return 0
        noted = self._folder.begin(resume=resume)
        if noted.get("way"):
            self._way = Way(**noted["way"])
        if noted.get("whole"):
            self._whole = Counts(**noted["whole"])
        if not resume or not self._folder.csv.exists():
            return 0
        self._counts = table.counts_of_cells(self._folder.csv, self._cells)
        return self._replayed(self._images)

    def _replayed(self, done: int) -> int:
        """How many batches hold the images that were seen."""
        number = images = 0
        for batch, labels in self._shown.batches():
            if images >= done:
                break
            number, images = number + 1, images + len(labels)
            self._seen.update(_digest(batch, labels))
        if images != done:
            raise CheckpointError(
                f"{self._folder and self._folder.path}: {done:,} images were seen, and no whole number of batches has "
                "as many now; the data or the batch size are others than when the sweep began"
            )
        self._check_same()
        return number

    def _check_same(self) -> None:
        assert self._folder is not None
        noted = json.loads((self._folder.path / ABOUT).read_text(encoding="utf-8"))
        before = noted.get("seen", {}).get(str(self._images))
        if before is not None and before != self._seen.hexdigest():
            raise CheckpointError(
                f"{self._folder.path}: the images are not those that the sweep has seen, or come in another order; "
                "a loader that shuffles cannot be resumed"
            )

    def _keep(self, *, is_done: bool = False) -> None:
        if self._folder is not None:
            self._note(is_done=is_done)
            table.write(self._folder.csv, self.rows(is_done=is_done))

    def _note(self, *, is_done: bool = False) -> None:
        if self._folder is None:
            return
        # This batch's and the one's before it: a kill may come between this file and the table.
        self._marks = dict([*self._marks.items(), (str(self._images), self._seen.hexdigest())][-2:])
        whole = None if self._whole is None else asdict(self._whole)
        way = None if self._way is None else asdict(self._way)
        self._folder.note({"way": way, "whole": whole, "seen": self._marks, "done": is_done})


def _digest(images: Tensor, labels: Tensor) -> bytes:
    """Enough to tell batches apart: all labels, and a few values of each image."""
    some = images.flatten(1)[:, :: max(1, images[0].numel() // 16)]
    return labels.cpu().numpy().tobytes() + some.cpu().float().contiguous().numpy().tobytes()
