"""A trained network with its data, opened to be looked at."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from schedengine.errors import ModelError
from schedengine.export.pruned import load_
from schedengine.training.compute import Compute
from schedengine.training.session import build
from schedengine.training.trial import check_fits
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.factory import import_plugins
from schedengine.zoo.seeds import reseed


class Asked(Protocol):
    """What names a network and its data, in the words of the command line."""

    @property
    def model(self) -> str: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def data(self) -> str: ...
    @property
    def root(self) -> str | None: ...
    @property
    def download(self) -> bool: ...
    @property
    def validation(self) -> float: ...
    @property
    def seed(self) -> int: ...
    @property
    def image_size(self) -> int | None: ...
    @property
    def classes(self) -> int | None: ...
    @property
    def plugin(self) -> tuple[str, ...]: ...


def open_trained(asked: Asked, without: str) -> tuple[nn.Module, Data, Compute]:
    """Build the model, load its weights and its data, and try one on the other.

    Args:
        without: what is wrong with fresh random weights here, for the message where there are none; a factory of the
            user's may load its own.

    Returns:
        The model where it is computed, the data, and where and how.

    Raises:
        SchedEngineError: whatever does not exist, or does not fit together.
    """
    import_plugins(asked.plugin)
    data = load_data(
        asked.data,
        root=asked.root,
        download=asked.download,
        validation=asked.validation,
        seed=asked.seed,
        image_size=asked.image_size,
    )
    reseed(asked.seed, "model")
    model, compute = build(asked.model, data, asked.classes), Compute()
    if asked.weights is not None:
        load_(model, asked.weights)
    elif ":" not in asked.model:
        raise ModelError(f"--weights: {asked.model} has fresh random weights, {without}; give some")
    compute.place_(model)
    check_fits(model, asked.model, data, asked.data, asked.classes, compute)
    return model, data, compute
