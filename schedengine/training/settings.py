"""Everything a user can ask of a run. Imports no torch: the command line reads its choices from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from schedengine.errors import CheckpointError, SchedEngineError


class Algorithm(str, Enum):
    """The optimizers that a run can use."""

    SGD = "sgd"
    ADAM = "adam"
    ADAMW = "adamw"


class Amp(str, Enum):
    """Mixed precision: what the forward pass computes in."""

    OFF = "off"
    BF16 = "bf16"
    FP16 = "fp16"


_USUAL: dict[Algorithm, tuple[float, float | None, float]] = {
    Algorithm.SGD: (0.1, 0.9, 1e-4),
    Algorithm.ADAM: (1e-3, None, 0.0),
    Algorithm.ADAMW: (1e-3, None, 1e-2),
}
"""Learning rate, momentum and weight decay where the user does not say."""


@dataclass(frozen=True)
class Settings:
    """What defines a run beside its schedule's text: the same settings and text give the same weights on one machine.

    Args:
        schedule: path of the file, as the user gave it; the run keeps a copy of its text.
        model: a name, or ``package.module:factory``.
        data: a name, ``imagefolder:PATH``, or ``package.module:factory``.
        epochs: length of the run; None where the schedule's phases say it.
        budget: rescale the schedule to so many epochs; None for its own length.
        lr: initial learning rate, > 0; default 0.1 for sgd, 0.001 for adam and adamw. Schedules may set others.
        optimizer: which one.
        momentum: of sgd, in [0, 1); default 0.9.
        weight_decay: >= 0; default 0.0001 for sgd, 0 for adam, 0.01 for adamw.
        batch_size: images in a forward pass.
        accumulate: forward passes in an update of the weights.
        augment: shifted crops, and mirror images where that makes sense.
        seed: of the initial weights, the validation split, the order, augmentation and dropout.
        weights: a file to start from; None for fresh weights.
        classes: outputs of the model; None for as many as the data have.
        validation: share of the training images held out to choose by, in [0, 1).
        root, download, image_size, workers: see ``load_data`` and ``Loader``.
        recalibrate: right after cuts, also measure with batch-norm statistics of so many training batches; 0 for not.
        amp: precision of the forward pass.
        channels_last: memory layout of images and convolutions.
        compile: whether ``torch.compile`` the model.
        threads: of the processor that a process trains with; sums depend on it. None for torch's own choice.
        plugin: modules that register classes which the schedule names; see ``import_plugins``.

    Raises:
        SchedEngineError: a value out of range, or momentum where the optimizer has none.
    """

    schedule: str
    model: str
    data: str = "digits"
    epochs: int | None = None
    budget: int | None = None
    lr: float | None = None
    optimizer: Algorithm = Algorithm.SGD
    momentum: float | None = None
    weight_decay: float | None = None
    batch_size: int = 64
    accumulate: int = 1
    augment: bool = False
    seed: int = 0
    weights: str | None = None
    classes: int | None = None
    validation: float = 0.1
    root: str | None = None
    download: bool = False
    image_size: int | None = None
    workers: int = 0
    recalibrate: int = 0
    amp: Amp = Amp.OFF
    channels_last: bool = False
    compile: bool = False
    threads: int | None = None
    plugin: Sequence[str] = ()

    def __post_init__(self) -> None:
        optimizer, amp = Algorithm(self.optimizer), Amp(self.amp)
        if self.momentum is not None and optimizer is not Algorithm.SGD:
            raise SchedEngineError(f"--momentum {self.momentum}: {optimizer.value} has none; it is for sgd")
        usual = dict(zip(("lr", "momentum", "weight_decay"), _USUAL[optimizer]))
        filled = {name: value for name, value in usual.items() if getattr(self, name) is None}
        for name, value in {**filled, "optimizer": optimizer, "amp": amp, "plugin": tuple(self.plugin)}.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        wrong = [
            f"{option(name)} {getattr(self, name)}: must be {wanted}"
            for name, is_right, wanted in (
                ("epochs", self.epochs is None or self.epochs >= 1, "1 or more"),
                ("budget", self.budget is None or self.budget >= 1, "1 or more"),
                ("lr", self.lr is not None and self.lr > 0, "more than 0"),
                ("momentum", self.momentum is None or 0 <= self.momentum < 1, "in [0, 1)"),
                ("weight_decay", self.weight_decay is not None and self.weight_decay >= 0, "0 or more"),
                ("batch_size", self.batch_size >= 1, "1 or more"),
                ("accumulate", self.accumulate >= 1, "1 or more"),
                ("recalibrate", self.recalibrate >= 0, "0 or more"),
                ("threads", self.threads is None or self.threads >= 1, "1 or more"),
                ("classes", self.classes is None or self.classes >= 1, "1 or more"),
            )
            if not is_right
        ]
        if wrong:
            raise SchedEngineError("\n".join(wrong))

    def plain(self) -> dict[str, Any]:
        """For a JSON file; ``from_plain`` reads it back."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        plain = {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
        return {**plain, "plugin": list(self.plugin)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Settings:
        """Read what ``plain`` gave.

        Raises:
            CheckpointError: it is of another release.
        """
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"the run's settings are of another release: {error}") from error

    def check_agrees(self, given: Mapping[str, object]) -> None:
        """Whether what a user gives on resuming is what the run was started with.

        Raises:
            SchedEngineError: it is not; names every difference.
        """
        own = self.plain()
        wrong = [
            f"{option(name)} {value}: the run was started with {own[name]}; leave it out, or start another run"
            for name, value in given.items()
            if own[name] != value
        ]
        if wrong:
            raise SchedEngineError("\n".join(wrong))


def option(name: str) -> str:
    """What the command line calls a setting.

    Example:
        >>> option("batch_size")
        '--batch-size'
    """
    return "--" + name.replace("_", "-")
