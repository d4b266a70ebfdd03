"""The objects of a run, made from its settings: data, model, optimizer, scheduler."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from schedengine.errors import CheckpointError, ModelError, SchedEngineError
from schedengine.export.pruned import HEADER, load_, manifest
from schedengine.lr.retraining import Retraining
from schedengine.lr.shapes import Shape
from schedengine.lr.trace import NOTE
from schedengine.policies.learning import LearningPolicy
from schedengine.policies.lr import LRPolicy
from schedengine.policies.pruning import PruningPolicy
from schedengine.policies.recalibration import recalibrate_from_
from schedengine.progress import Moment
from schedengine.schedule.bind import bind
from schedengine.schedule.budget import rescale
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import load_schedule
from schedengine.schedule.plan import Timeline
from schedengine.scheduler import PruningScheduler
from schedengine.selection import ParameterTable
from schedengine.training.compute import Compute
from schedengine.training.evaluate import Evaluation, evaluate
from schedengine.training.loop import updates_per_epoch
from schedengine.training.settings import Algorithm, Settings
from schedengine.training.sparsity import Count, count_zeros, prunable, share_of_zeros
from schedengine.training.trace import trace_of
from schedengine.training.trial import check_fits
from schedengine.zoo.data import Data, load_data
from schedengine.zoo.factory import import_plugins
from schedengine.zoo.loader import Loader
from schedengine.zoo.models import build_model
from schedengine.zoo.seeds import reseed
from schedengine.zoo.splits import SplitName
from schedengine.zoo.weights import read_notes


@dataclass
class Session:
    """Everything that takes part in a run.

    Args:
        settings: what was asked.
        schedule: validated.
        data: its splits.
        model: the weights.
        network: what is called: the model, compiled or not.
        optimizer, scheduler: on the model's parameters.
        loader: of the training split.
        compute: where and in which precision.
    """

    settings: Settings
    schedule: Schedule
    data: Data
    model: nn.Module
    network: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: PruningScheduler
    loader: Loader
    compute: Compute

    def __post_init__(self) -> None:
        self.table = ParameterTable(self.model)
        removing = [pruner for pruner in self.scheduler.pruners.values() if not pruner.spec.is_edit]
        self.selected = {name for pruner in removing for name in pruner.names}
        self.sizes = {name: self.table[name].numel() for name in self.table.names}
        self._spans = Timeline.of(self.schedule, self.epochs).spans
        weights = self.settings.weights
        self._begins_thinned = weights is not None and HEADER in read_notes(weights)

    @classmethod
    def of(cls, settings: Settings, schedule: Path) -> Session:
        """Make a run's objects.

        Args:
            schedule: the file; in a run that is resumed, the run's own copy.

        Raises:
            SchedEngineError: whatever does not exist, or does not fit together.
        """
        import_plugins(settings.plugin)
        document, epochs = load_schedule(schedule), settings.epochs
        if settings.budget is not None:
            document, epochs = rescale(document, settings.budget, epochs), settings.budget
        if document.epochs is None and epochs is None:
            raise SchedEngineError("the schedule has no phases to say how long the run is; give --epochs N")
        data = load_data(
            settings.data,
            root=settings.root,
            download=settings.download,
            validation=settings.validation,
            seed=settings.seed,
            image_size=settings.image_size,
        )
        compute = Compute(amp=settings.amp, channels_last=settings.channels_last)
        reseed(settings.seed, "model")
        model = build(settings.model, data, settings.classes)
        if settings.weights is not None:
            load_(model, settings.weights)
        compute.place_(model)
        check_fits(model, settings.model, data, settings.data, settings.classes, compute)
        reseed(settings.seed, "bind")  # whatever the model drew on being tried
        optimizer = make_optimizer(model, settings)
        loader = _train_loader(data, settings)
        steps = updates_per_epoch(loader, settings.accumulate)
        trace = None if settings.weights is None else trace_of(settings.weights)
        scheduler = bind(
            document,
            model,
            optimizer,
            epochs=epochs,
            steps_per_epoch=steps,
            trace=trace,
            example_inputs=torch.zeros(2, *data.shape),
            data=_train_loader(data, settings),
            loss=torch.nn.functional.cross_entropy,
            evaluate=None if data.validation is None else lambda judged: _judge(judged, data, settings, compute),
        )
        _check_judge(scheduler, data)
        network: Any = torch.compile(model) if settings.compile else model
        return cls(settings, document, data, model, network, optimizer, scheduler, loader, compute)

    @property
    def epochs(self) -> int:
        """Length of the run."""
        assert self.scheduler.total_epochs is not None
        return self.scheduler.total_epochs

    def evaluate(self, split: SplitName) -> Evaluation | None:
        """Measure the model as it is; None if the data have no such split."""
        if getattr(self.data, split) is None:
            return None
        return evaluate(self.network, _loader(self.data, split, self.settings), self.compute)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Measure within the block: what training draws, and buffers, are as before after it."""
        gpus = [self.compute.device] if self.compute.device.type == "cuda" else []  # by default: all that exist
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        with torch.random.fork_rng(gpus):
            try:
                yield
            finally:
                for name, buffer in self.model.named_buffers():
                    buffer.copy_(kept[name])

    def recalibrate_(self, batches: int | None) -> None:
        """Give the model batch-norm statistics of training batches, as averages of replicas get theirs.

        Args:
            batches: so many; None for one pass.
        """
        recalibrate_from_(self.model, _train_loader(self.data, self.settings), batches)

    def counts(self) -> list[Count]:
        """Zeros of every weight that pruners selected, or could have."""
        return count_zeros(self.table, prunable(self.table, self.selected), self.sizes)

    def sparsity(self, counts: list[Count]) -> float:
        """Fraction of the weights selected by pruners that is 0; without a pruner, of all Conv and Linear weights."""
        return share_of_zeros(counts, self.selected or None)

    def phase(self, epoch: int) -> str:
        """The phase that an epoch lies in, the innermost; empty without phases."""
        return next((span.name for span in reversed(self._spans) if span.start <= epoch < span.stop), "")

    def dense_until(self) -> int | None:
        """How many epochs pass before the first cut, or before a pruner begins to learn; None if nothing is pruned."""
        steps, kinds = updates_per_epoch(self.loader, self.settings.accumulate), (PruningPolicy, LearningPolicy)
        policies = [policy for policy in self.scheduler.policies if isinstance(policy, kinds)]
        starts = [window.start.step(steps) // steps for policy in policies for window in policy.own.windows]
        return min(starts, default=None)

    def ignores_lr(self) -> bool:
        """Whether the schedule names its own learning rates throughout, so that the settings' rate is never used."""
        policies = [policy for policy in self.scheduler.policies if isinstance(policy, LRPolicy)]
        starts = [window.start for policy in policies for window in policy.own.windows]
        rates = [policy.schedule for policy in policies]
        rates += [] if self.schedule.trace is None else [self.schedule.trace.lr]
        names_rate = (isinstance(rate, Shape) and rate.from_ is not None for rate in rates)
        is_made = (isinstance(rate, Retraining) for rate in rates)  # from the others, or from the trace of the weights
        return Moment() in starts and all(named or made for named, made in zip(names_rate, is_made))

    def dense_training(self) -> str:
        """In words, the training that retraining rates are made from; empty where the schedule has no such rates."""
        policies = [policy for policy in self.scheduler.policies if isinstance(policy, LRPolicy)]
        trace = self.scheduler.trace
        if trace is None or not any(isinstance(policy.schedule, Retraining) for policy in policies):
            return ""
        first = self.scheduler.dense_steps / updates_per_epoch(self.loader, self.settings.accumulate)
        own = [f"{first:g} epoch{'s' * (first != 1)} of this run"] if first else []
        if trace.epochs > first:
            noted = self.settings.weights is not None and trace_of(self.settings.weights) is not None
            source = "the header of the weights" if noted else "the schedule"
            own.insert(0, f"{float(trace.epochs) - first:g} by {source}")
        rates = f"rates {trace.highest:.4g} to {trace.lowest:.4g}"
        return f"{float(trace.epochs):g} epochs ({', then '.join(own)}), {rates}"

    def notes(self) -> dict[str, str]:
        """For the header of a file of weights: the learning rates of their dense training, and sizes after thinning."""
        trace, shapes = self.scheduler.trace, self.scheduler.shapes
        if shapes is None and self._begins_thinned:
            shapes = manifest(self.model)
        noted = {} if trace is None else {NOTE: trace.to_text()}
        return noted if shapes is None else {**noted, HEADER: json.dumps(shapes)}

    def state_dict(self) -> dict[str, Any]:
        """All that changes while it trains."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.compute.scaler.state_dict(),
            "scheduler": self.scheduler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave.

        Raises:
            CheckpointError: it is of another model or release.
        """
        try:
            self.scheduler.load_state_dict(state["scheduler"])  # first: a thinned network gets its sizes by it
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.compute.scaler.is_enabled():
                self.compute.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint does not fit this model, or this release: {error}") from error


def build(name: str, data: Data, classes: int | None) -> nn.Module:
    """A model that fits the data.

    Args:
        classes: outputs; None for as many as the data have.

    Raises:
        ModelError: fewer outputs than classes, or no such model.
    """
    if classes is not None and classes < data.classes:
        raise ModelError(f"--classes {classes}: the data have {data.classes}; give as many or more, or leave it out")
    return build_model(name, classes=classes or data.classes, channels=data.shape[0])


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over all parameters."""
    assert settings.lr is not None and settings.weight_decay is not None
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimizer is Algorithm.SGD:
        return torch.optim.SGD(model.parameters(), momentum=settings.momentum or 0.0, **common)
    adam = torch.optim.Adam if settings.optimizer is Algorithm.ADAM else torch.optim.AdamW
    return adam(model.parameters(), **common)


def _judge(model: nn.Module, data: Data, settings: Settings, compute: Compute) -> dict[str, float]:
    """What greedy soups are chosen by."""
    return evaluate(model, _loader(data, "validation", settings), compute).metrics()


def _check_judge(scheduler: PruningScheduler, data: Data) -> None:
    scored = [fork.phase for fork in scheduler.walk.forks if fork.recipe.is_scored]
    if scored and data.validation is None:
        raise SchedEngineError(
            f"--validation 0: the soup of phase {scored[0]!r} is greedy, which goes by validation images; hold some out"
        )


def _loader(data: Data, split: SplitName, settings: Settings) -> Loader:
    """A split in its own order."""
    return data.loader(split, batch_size=settings.batch_size, seed=settings.seed, workers=settings.workers)


def _train_loader(data: Data, settings: Settings) -> Loader:
    batch, seed, workers = settings.batch_size, settings.seed, settings.workers
    return training_images(data, batch_size=batch, seed=seed, workers=workers, augment=settings.augment)


def training_images(data: Data, *, batch_size: int, seed: int, workers: int, augment: bool) -> Loader:
    """The training images as a run has them; before ``set_epoch`` is called, those of its first epoch."""
    images = len(data.train)
    return data.loader(
        "train",
        batch_size=batch_size,
        shuffle=True,
        augment=augment,
        drop_last=images > batch_size and images % batch_size == 1,  # batch normalisation cannot take a single image
        seed=seed,
        workers=workers,
    )
