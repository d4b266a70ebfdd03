"""The members of a soup, opened: their networks and data, found to go together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from schedengine.analysis.soups.alike import check_architectures, check_masks
from schedengine.analysis.soups.calibration import Calibration
from schedengine.analysis.soups.members import Members, find_members
from schedengine.analysis.soups.request import Request
from schedengine.analysis.soups.settled import NAMES, Settled, settle
from schedengine.errors import ModelError, SchedEngineError
from schedengine.export.pruned import load_
from schedengine.training.compute import Compute
from schedengine.training.evaluate import Evaluation, evaluate
from schedengine.training.session import build, training_images
from schedengine.training.trial import check_fits
from schedengine.weights import norms_of
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.factory import import_plugins
from schedengine.zoo.loader import Loader
from schedengine.zoo.seeds import reseed
from schedengine.zoo.splits import SplitName


@dataclass(frozen=True)
class Opened:
    """Everything that takes part.

    Args:
        members: where the networks come from.
        settled: how they and the data were read.
        data: its splits.
        networks: by name, on the device.
        parent: what all of them began with; None if that is not known.
        compute: where.
    """

    members: Members
    settled: Settled
    data: Data
    networks: dict[str, nn.Module]
    parent: nn.Module | None
    compute: Compute

    @property
    def has_norms(self) -> bool:
        """Whether there are batch-norm statistics."""
        return any(norms_of(network) for network in self.networks.values())

    @property
    def unvalidated(self) -> str:
        """Why no validation images can be trusted; empty if they can."""
        if self.data.validation is None:
            return "there are no validation images (--validation)"
        seeds = ", ".join(map(str, self.settled.seeds))
        found = f"runs of seeds {seeds} trained on one another's validation images"
        return f"{found}; --seed S takes those of S" if seeds else ""

    def loader(self, split: SplitName) -> Loader:
        """Images of a split, in their own order."""
        return self.data.loader(split, batch_size=self.settled.batch_size, workers=self.settled.workers)

    def evaluate(self, network: nn.Module, split: SplitName) -> Evaluation:
        """Measure one network."""
        return evaluate(network, self.loader(split), self.compute)

    def calibration(self, batches: int | None) -> Calibration | None:
        """What estimates batch-norm statistics anew; None where there are none, or nobody asks.

        Args:
            batches: None for a whole pass, 0 for not at all.
        """
        if batches == 0 or not self.has_norms:
            return None
        settled = self.settled
        loader = training_images(
            self.data,
            batch_size=settled.batch_size,
            seed=settled.seed,
            workers=settled.workers,
            augment=settled.augment,
        )
        return Calibration(loader, self.compute, batches)


def open_members(request: Request) -> Opened:
    """Find and load everything.

    Raises:
        SchedEngineError: whatever does not exist, does not fit together, or cannot be averaged; or a greedy soup is
            asked for where no validation images can be trusted.
    """
    request.check()
    members = find_members(request.members)
    settled = settle({name: getattr(request, name) for name in NAMES}, members.settings, len(members.members))
    import_plugins(settled.plugin)
    data = _load(settled)
    opener = _Opener(settled, data, Compute())
    networks = {member.name: opener(member.path) for member in members.members}
    check_architectures(networks)
    if not request.reprune:
        check_masks(networks)
    first = next(iter(networks.values()))
    check_fits(first, settled.model, data, settled.data, settled.classes, opener.compute)
    opened = Opened(members, settled, data, networks, opener.parent(members.parent, first), opener.compute)
    if opened.unvalidated and request.recipe.is_scored:
        raise SchedEngineError(f"--method greedy chooses by validation images: {opened.unvalidated}")
    return opened


def _load(settled: Settled) -> Data:
    return load_data(
        settled.data,
        root=settled.root,
        download=settled.download,
        validation=settled.validation,
        seed=settled.seed,
        image_size=settled.image_size,
    )


@dataclass(frozen=True)
class _Opener:
    settled: Settled
    data: Data
    compute: Compute

    def __call__(self, path: Path) -> nn.Module:
        reseed(self.settled.seed, "model")  # whatever a factory draws, it draws the same for each
        network = build(self.settled.model, self.data, self.settled.classes)
        load_(network, path)
        self.compute.place_(network)
        return network

    def parent(self, path: Path | None, child: nn.Module) -> nn.Module | None:
        """None also where the children were thinned since, or the file is another network's by now."""
        try:
            parent = None if path is None else self(path)
            if parent is not None:
                check_architectures({"child": child, "parent": parent})
        except ModelError:
            return None
        return parent
