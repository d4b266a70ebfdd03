"""The best weights at each sparsity that a run reaches; the best dense epoch is never passed off as the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from schedengine.training.evaluate import Evaluation
from schedengine.zoo.atomic import replacing
from schedengine.zoo.weights import save_weights


@dataclass(frozen=True)
class Best:
    """The best epoch at one sparsity.

    Args:
        sparsity: fraction of the weights selected by pruners that is 0, to three places.
        epoch: from 0; the weights are those of its evaluation.
        top1: per cent of the validation images; None without a validation split, where the latest epoch counts.
        loss: on the validation images; likewise.
        file: name of the weights in the run's folder.
    """

    sparsity: float
    epoch: int
    top1: float | None
    loss: float | None
    file: str

    def beats(self, other: Best) -> bool:
        """Higher accuracy, then lower loss, then earlier; without an evaluation, later."""
        if self.top1 is None or self.loss is None or other.top1 is None or other.loss is None:
            return self.epoch > other.epoch
        return (self.top1, -self.loss) > (other.top1, -other.loss)


class BestWeights:
    """Keeps ``best-<sparsity>.safetensors`` for each sparsity, and a list of them in ``best.json``.

    What a file holds is said in its own header, so that file and claim cannot part.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = [self._read(path) for path in sorted(folder.glob("best-*.safetensors"))]
        self._levels = {best.sparsity: best for best in found if best is not None}

    def consider(
        self,
        model: nn.Module,
        epoch: int,
        sparsity: float,
        evaluation: Evaluation | None,
        notes: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Keep the weights if they are the best at their sparsity so far.

        Args:
            notes: for the file's header; asked for only where one is written.
        """
        level = round(sparsity, 3)
        top1, loss = (None, None) if evaluation is None else (evaluation.top1, evaluation.loss)
        candidate = Best(level, epoch, top1, loss, f"best-{level:.3f}.safetensors")
        if level in self._levels and not candidate.beats(self._levels[level]):
            return
        save_weights(model, self.folder / candidate.file, {**notes(), "best": json.dumps(asdict(candidate))})
        self._levels[level] = candidate
        self._write_list()

    def at(self, sparsity: float) -> Best | None:
        """The best at a sparsity."""
        return self._levels.get(round(sparsity, 3))

    def _write_list(self) -> None:
        ordered = [asdict(self._levels[level]) for level in sorted(self._levels)]
        with replacing(self.folder / "best.json") as temporary:
            temporary.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")

    @staticmethod
    def _read(path: Path) -> Best | None:
        try:
            with safe_open(path, framework="pt") as opened:
                note: Any = json.loads((opened.metadata() or {})["best"])
            return Best(**note)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError):
            return None  # not ours, or damaged: it is written again when its level is reached
