"""Batch-norm statistics of an average: those of its members are of other weights, and so is their mean."""

from __future__ import annotations

from itertools import islice

from torch import nn

from schedengine.errors import SchedEngineError
from schedengine.training.compute import Compute
from schedengine.weights import norms_of, recalibrate_
from schedengine.zoo.loader import Loader


class Calibration:
    """Estimates a network's batch-norm statistics anew, in place; of a network without any it changes nothing.

    Args:
        loader: training images, augmented as the networks were trained, since statistics of others are not what
            their weights were fitted with; every network sees the same batches.
        compute: where.
        batches: at most so many; None for one whole pass.

    Raises:
        SchedEngineError: no batches.
    """

    def __init__(self, loader: Loader, compute: Compute, batches: int | None = None) -> None:
        if batches is not None and batches < 1:
            raise SchedEngineError(f"--recalibrate {batches}: statistics need one batch or more; or write none")
        self._loader = loader
        self._compute = compute
        self.batches = len(loader) if batches is None else min(batches, len(loader))

    def __call__(self, network: nn.Module) -> None:
        if norms_of(network):
            self._loader.set_epoch(0)
            recalibrate_(network, (images for images, _ in islice(self._compute.batches(self._loader), self.batches)))
