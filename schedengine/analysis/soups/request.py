"""What is asked of a soup, in plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schedengine.analysis.soups.reprune import Sharing
from schedengine.errors import SchedEngineError
from schedengine.soups.recipes import Greedy, Recipe, Uniform


@dataclass(frozen=True)
class Request:
    """What is asked: plain values, as the command line has them.

    Args:
        members: see ``find_members``.
        method: uniform: all of them; greedy: those that help on the validation images.
        metric: on the validation images, that a greedy soup and the best member are chosen by.
        recalibrate: batch-norm statistics from so many training batches; None for a whole pass, 0 for not at all.
        reprune: cut the average back, of networks that are not pruned alike.
        allocation, sparsity: of that cut, see ``cutter``.
        corrupted: measure on corrupted test images too.
        model, data, batch_size, validation, seed, root, download, image_size, workers, augment, classes, plugin:
            as for a run; None for what the members' runs had, or the usual.
    """

    members: tuple[Path, ...]
    method: Literal["uniform", "greedy"] = "uniform"
    metric: Literal["top1", "top5", "loss"] = "top1"
    recalibrate: int | None = None
    reprune: bool = False
    allocation: Sharing = "global"
    sparsity: float | None = None
    corrupted: bool = False
    model: str | None = None
    data: str | None = None
    batch_size: int | None = None
    validation: float | None = None
    seed: int | None = None
    root: str | None = None
    download: bool | None = None
    image_size: int | None = None
    workers: int | None = None
    augment: bool | None = None
    classes: int | None = None
    plugin: tuple[str, ...] | None = None

    def check(self) -> None:
        """Whether its parts go together.

        Raises:
            SchedEngineError: they do not.
        """
        if not self.reprune and (self.sparsity is not None or self.allocation != "global"):
            raise SchedEngineError("--sparsity and --allocation say how an average is cut back; they go with --reprune")

    @property
    def recipe(self) -> Recipe:
        """Which members are averaged."""
        return Uniform() if self.method == "uniform" else Greedy(self.metric)
