"""Learning rates of a retraining: rules that become a curve when a phase begins, from what came before it.

What they look at is the trace of the dense training and the cut at the start of the phase. Each cycle makes its own
curve. All but FT and LRW rise from 0 over the first tenth of the phase along half a cosine.

Reference: Zimmer, Spiegel and Pokutta, 2023, How I Learned to Stop Worrying and Love Retraining, arXiv 2111.00843.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field, InstanceOf
from pydantic.dataclasses import dataclass

from schedengine.errors import SchedEngineError
from schedengine.lr.base import Clock, Group, LearningRate
from schedengine.lr.shapes import Constant, Cosine, Linear, Shape
from schedengine.lr.trace import Trace
from schedengine.progress import Time, TimeField
from schedengine.registry import SPEC

TENTH = Time(Fraction(10), "%")


@plain_dataclass(frozen=True)
class Past:
    """What a retraining phase begins with.

    Args:
        dense: rates of the dense training, at this run's steps per epoch.
        drop: of the cut at the start of the phase: the relative drop of the network's norm over sqrt(q), see ``ALLR``;
            None where there was no cut.
        layer_drop: the same with every layer scaled to one mean square, see ``LayerwiseALLR``.
    """

    dense: Trace
    drop: float | None = None
    layer_drop: float | None = None


class Retraining(LearningRate):
    """A rule that makes a curve for each phase.

    Attributes:
        needs_cut: whether the phase must begin with a cut.
    """

    unit: ClassVar[Literal["ep", "st"]] = "st"
    needs_cut: ClassVar[bool] = False

    @property
    def needs_total(self) -> bool:
        return True

    def values(self, clock: Clock, groups: Sequence[Group]) -> list[dict[str, Any]]:
        del clock, groups
        raise SchedEngineError(f"{type(self).__name__} makes its rates from a dense training, and there is none here")

    @abstractmethod
    def after(self, past: Past, steps: int) -> LearningRate:
        """The curve of one phase.

        Args:
            past: what it begins with.
            steps: optimizer steps of the phase, >= 1.

        Raises:
            SchedEngineError: the trace is too short, or there was no cut.
        """

    def check_length(self, epochs: Fraction, dense: Fraction) -> None:
        """Whether a phase of so many epochs can follow a dense training of so many.

        Raises:
            SchedEngineError: it cannot.
        """


@dataclass(frozen=True, config=SPEC)
class FT(Retraining):
    """Fine-tuning: the smallest rate of the dense training (after its warm-up), throughout.

    After a training whose rate went to 0 this trains next to nothing.

    Reference: Han, Pool, Tran and Dally, 2015, arXiv 1506.02626.
    """

    def after(self, past: Past, steps: int) -> LearningRate:
        del steps
        return Constant(from_=past.dense.lowest)


@dataclass(frozen=True, config=SPEC)
class LRW(Retraining):
    """Learning-rate rewinding: the last rates of the dense training once more, as many as the phase has steps.

    Reference: Renda, Frankle and Carbin, 2020, arXiv 2003.02389.
    """

    def after(self, past: Past, steps: int) -> LearningRate:
        self.check_length(Fraction(steps, past.dense.steps_per_epoch), past.dense.epochs)
        return _Tail(dense=past.dense)

    def check_length(self, epochs: Fraction, dense: Fraction) -> None:
        if epochs > dense:
            raise SchedEngineError(
                f"LRW goes back {float(epochs):.4g} epochs, and the trace of the dense training has "
                f"{float(dense):.4g}; shorten the phase, or use SLR, which takes the whole trace in any length"
            )


@dataclass(frozen=True, config=SPEC)
class _Restart(Retraining):
    """A rise from 0, then a curve.

    Args:
        warmup: length of the rise, half a cosine, or a share of the phase (rounded down to steps); 0 for none.
    """

    warmup: TimeField = TENTH

    def check_length(self, epochs: Fraction, dense: Fraction) -> None:
        del dense
        too_long = self.warmup.amount > (100 if self.warmup.unit == "%" else epochs)
        if too_long and self.warmup.unit != "st":
            raise SchedEngineError(
                f"a warm-up of {self.warmup.plain()} does not fit into {float(epochs):.4g} epochs; shorten it"
            )

    def rise(self, past: Past, steps: int) -> dict[str, Any]:
        """The warm-up as fields of a ``Shape``, in steps.

        Raises:
            SchedEngineError: longer than the phase.
        """
        clock = Clock(0, steps, Fraction(past.dense.steps_per_epoch))
        is_share = self.warmup.unit == "%"
        ticks = math.floor(steps * self.warmup.amount / 100) if is_share else clock.ticks(self.warmup)
        if ticks > steps:
            raise SchedEngineError(f"a warm-up of {ticks} steps does not fit into a phase of {steps}; shorten it")
        return {"warmup": Time(Fraction(ticks), "st") if ticks else None, "warmup_shape": "cosine"}


@dataclass(frozen=True, config=SPEC)
class SLR(_Restart):
    """Scaled learning-rate restarting: the whole dense training's curve, squeezed into what the warm-up leaves.

    Its own warm-up counts as its largest rate. Budget-aware conversion (Li, Yumer and Ramanan, 2020, arXiv
    1905.04753) of the dense schedule, after a warm-up.

    Args:
        warmup: length of the rise, half a cosine, or a share of the phase; 0 for none.

    Reference: Le and Hua, 2021, Network Pruning That Matters, arXiv 2105.03193, as Zimmer et al. define it; the
        authors' own code drops to a tenth at 50 % and 75 % of what the warm-up leaves instead.
    """

    def after(self, past: Past, steps: int) -> LearningRate:
        return _Squeezed(from_=past.dense.highest, dense=past.dense, **self.rise(past, steps))


@dataclass(frozen=True, config=SPEC)
class CLR(_Restart):
    """Cyclic learning-rate restarting: half a cosine from the dense training's largest rate to its smallest.

    Args:
        warmup: length of the rise, half a cosine, or a share of the phase; 0 for none.

    Reference: Le and Hua, 2021, arXiv 2105.03193, as Zimmer et al. define it.
    """

    def after(self, past: Past, steps: int) -> LearningRate:
        return Cosine(from_=past.dense.highest, to=past.dense.lowest, **self.rise(past, steps))


@dataclass(frozen=True, config=SPEC)
class LLR(_Restart):
    """Linear learning-rate restarting: a straight line from the dense training's largest rate to 0.

    Args:
        warmup: length of the rise, half a cosine, or a share of the phase; 0 for none.

    Reference: Zimmer, Spiegel and Pokutta, 2023, arXiv 2111.00843.
    """

    def after(self, past: Past, steps: int) -> LearningRate:
        return Linear(from_=past.dense.highest, to=0.0, **self.rise(past, steps))


@dataclass(frozen=True, config=SPEC)
class ALLR(_Restart):
    """Adaptive linear learning-rate restarting: LLR from a peak that fits the damage of the cut and the budget.

    The peak is the dense training's largest rate times max(d1, d2), at most 1, with d1 the relative drop of the
    network's norm at the cut (all parameters, biases and normalisation included) over sqrt(q), where q is the fraction
    of the remaining weights that the cut removed, and d2 the epochs of the phase over those of the dense training.

    Args:
        warmup: length of the rise, half a cosine, or a share of the phase; 0 for none.

    Reference: Zimmer, Spiegel and Pokutta, 2023, arXiv 2111.00843, in every cycle (as the authors' released code, not
        its first version).
    """

    needs_cut: ClassVar[bool] = True

    def after(self, past: Past, steps: int) -> LearningRate:
        drop = self.drop(past)
        if drop is None:
            raise SchedEngineError(
                f"{type(self).__name__} takes its peak from the cut at the start of the phase, and there was none; "
                "cut there ('at: PHASE'), or use LLR"
            )
        return Linear(from_=past.dense.highest * self.share(drop, past, steps), to=0.0, **self.rise(past, steps))

    def drop(self, past: Past) -> float | None:
        """d1, in [0, 1] for pruning by magnitude."""
        return past.drop

    @staticmethod
    def share(drop: float, past: Past, steps: int) -> float:
        """The peak as a share of the dense training's largest rate."""
        return min(1.0, max(drop, steps / len(past.dense)))


@dataclass(frozen=True, config=SPEC)
class LayerwiseALLR(ALLR):
    """ALLR with the norm drop taken layer by layer, so that it does not hang on how large a layer's weights are.

    A layer before a normalisation computes the same at any scale, yet in ALLR a few large weights (a shortcut's) can
    make up most of the network's norm, and hide what was lost. Here d1 squared is the sum of n ||W - W_pruned||^2 /
    ||W||^2 over the pruned layers, over the number of weights removed, with n the layer's remaining weights: what ALLR
    would find with all layers scaled to one mean square. Ours.

    Args:
        warmup: length of the rise, half a cosine, or a share of the phase; 0 for none.
    """

    def drop(self, past: Past) -> float | None:
        return past.layer_drop


@dataclass(frozen=True, config=SPEC)
class _Tail(Shape):
    """The last rates of a trace, as many as the span has ticks."""

    dense: InstanceOf[Trace] = Field(kw_only=True)

    def body(self, peak: float, clock: Clock, start: int) -> float:
        del peak, start
        return self.dense.rates[len(self.dense) - clock.span + clock.elapsed]


@dataclass(frozen=True, config=SPEC)
class _Squeezed(Shape):
    """A whole trace, sampled as often as the span has ticks after the warm-up."""

    dense: InstanceOf[Trace] = Field(kw_only=True)

    def body(self, peak: float, clock: Clock, start: int) -> float:
        place = (clock.elapsed - start) * len(self.dense) // (clock.span - start)
        return peak if place < self.dense.warmup else self.dense.rates[place]
