"""What a criterion is. How many groups go, and which at equal scores, is decided in ``sparsity``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from schedengine.errors import SchedEngineError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from schedengine.criteria.network import Network
    from schedengine.granularity import Granularity


Need = Literal["gradient", "norm", "activations", "inputs", "measured", "movement"]
Given = Literal["data", "loss", "inputs"]


@dataclass(frozen=True)
class Activations:
    """What a layer's outputs were, over the batches that were seen; sums on the layer's device.

    Its outputs are those of the normalisation that takes them, where one does.

    Args:
        count: values seen for each channel.
        zeros: (channels,) how many of them a ReLU makes 0.
        total: (channels,) their sum after a ReLU.
    """

    count: int
    zeros: Tensor
    total: Tensor


@dataclass(frozen=True)
class Facts:
    """What is known of a parameter beside its values; only what the criterion ``needs`` is there.

    Args:
        gradient: of the loss, of the parameter's shape, from the last step.
        norm: the batch normalisation that follows the layer.
        norm_gradients: of its scale and shift, those that it has, from the last step; None where there are none.
        activations: of the layer's outputs.
        inputs: (samples, weights of one output): what single outputs of the layer were made of.
        measured: what the criterion's own ``measure`` found, at the cut.
        movement: of the parameter's shape: minus the sum of w * dL/dw over the steps of the run so far.
        outputs: the dimension of the weight that is the layer's outputs: 1 in a transposed convolution.
    """

    gradient: Tensor | None = None
    norm: nn.Module | None = None
    norm_gradients: tuple[Tensor, ...] | None = None
    activations: Activations | None = None
    inputs: Tensor | None = None
    outputs: int = 0
    measured: Tensor | None = None
    movement: Tensor | None = None


NOTHING = Facts()


class Criterion(ABC):
    """Scores the groups of a weight; low goes first. Only the order of scores matters."""

    needs_of_all: ClassVar[bool] = True
    """Whether every parameter must have what it needs; else one is enough, and the others rank without."""

    batches: int = 8
    """Batches of the data given to ``bind`` that statistics are made of, where no epoch gave any."""

    asks: ClassVar[frozenset[Given]] = frozenset()
    """What ``measure`` needs of that which is given to ``bind``."""

    @property
    def needs(self) -> frozenset[Need]:
        """Which facts it cannot do without: by default what it measures itself, if it measures anything."""
        return frozenset({"measured"} if type(self).measure is not Criterion.measure else ())

    @property
    def takes(self) -> str | None:
        """How much of the data given to ``bind`` it goes through at a cut, in words; None where it takes none."""
        return None

    @property
    def elementwise(self) -> bool:
        """Whether the score of an element depends on that element alone, so that ``slice_scores`` works."""
        return False

    def check(self, granularity: Granularity, layer: nn.Module, shape: tuple[int, ...]) -> None:
        """Refuse groups that it has no score for.

        Args:
            granularity: as the layer stores its weight.
            layer: that the parameter belongs to.
            shape: of the parameter.

        Raises:
            SchedEngineError: says which groups it can score.
        """
        del granularity, layer, shape

    def measure(self, network: Network) -> dict[str, Tensor]:
        """What it has to find out of the network itself, at a cut; nothing by default.

        Args:
            network: as it is at the cut, with what ``asks`` names.

        Returns:
            By parameter, of the same names; nothing of one that the network does not depend on. The same on every rank.
        """
        raise NotImplementedError(f"{type(self).__name__} measures nothing")

    @abstractmethod
    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        """One score for each group.

        Args:
            weight: any shape that ``granularity`` accepts, any floating dtype and device.
            granularity: what a group is.
            key: names the event (``conv1.weight/3``); the same key gives the same random scores.
            facts: what it ``needs``.

        Returns:
            (groups,) floating, finite, on the weight's device.

        Raises:
            SchedEngineError: a score is not finite.
        """

    def slice_scores(self, flat: Tensor) -> Tensor:
        """Scores of a slice of the flattened weight, for selection by chunks; only where ``elementwise``.

        The reader of the chunks checks that they are finite.

        Args:
            flat: (n,) weights.

        Returns:
            (n,) scores.
        """
        raise NotImplementedError(f"{type(self).__name__} is not elementwise")

    def fused(self, weights: list[Tensor], gradients: list[Tensor] | None) -> list[Tensor] | None:
        """Scores of the single elements of many weights at once, for a selection at every step.

        A few fused operations, and no check that would wait for the device: the reader looks for scores that are not
        finite. They are those that ``scores`` gives.

        Args:
            weights: any shapes, floating.
            gradients: of the loss, of the weights' shapes, from this step; None where they are not known.

        Returns:
            Of each weight's shape; None where there is no such form, so that ``scores`` has to serve.
        """
        del weights, gradients
        return None


def finite(scores: Tensor, *, key: str) -> Tensor:
    """The scores as they are.

    Raises:
        SchedEngineError: some are nan or infinite, which has no place in an order.
    """
    good = scores.isfinite()
    if not bool(good.all()):
        bad = int((~good).sum())
        raise SchedEngineError(
            f"{key}: {bad} of {scores.numel()} scores are not finite; look for nan or inf in the weights"
        )
    return scores


def measured(facts: Facts, *, key: str) -> Tensor:
    """What was measured.

    Raises:
        SchedEngineError: nothing was.
    """
    if facts.measured is None:
        raise SchedEngineError(f"{key}: the criterion measures the network at a cut, and has nothing here")
    return facts.measured.detach()


def batches_of(count: int) -> str:
    """In words, how much of the data."""
    return f"{count:,} {'batch' if count == 1 else 'batches'} of the data"


def examples_of(count: int) -> str:
    """In words, how much of the data."""
    return f"{count:,} example{'' if count == 1 else 's'} of the data"


def check_outputs(granularity: Granularity, layer: nn.Module, shape: tuple[int, ...]) -> None:
    """Refuse groups that are not each one output channel of a convolution or a linear layer.

    Raises:
        SchedEngineError: they are not; says what would be.
    """
    dim = outputs_dim(layer)
    if hasattr(layer, "weight") and dim is not None and len(shape) > dim:
        unit = tuple(1 if at == dim else length for at, length in enumerate(shape))
        if granularity.view(shape) == shape and granularity.unit(shape) == unit:
            return
    raise SchedEngineError(
        f"it scores the outputs of a layer, and these groups are not one each: got {type(layer).__name__} {shape}; "
        "use granularity filter, on weights of convolutions and linear layers"
    )


def outputs_dim(layer: nn.Module) -> int | None:
    """The dimension of a layer's weight that is its outputs; None if it is no convolution and no linear layer."""
    if getattr(layer, "transposed", None) is not None:
        return 1 if layer.transposed else 0
    return 0 if hasattr(layer, "out_features") and hasattr(layer, "in_features") else None
