"""Learned sparsity: what a layer computes with, as a function of its weights and of thresholds that are trained too.

Pure formulas, elementwise over a flat tensor of all weights of a pruner. ``w`` are the trained weights, ``s`` the
thresholds, one for each weight (those of a unit repeat), ``g`` the gradient of the loss at what is shown. How sparse
the network becomes follows from initial values, decay and penalty; no target can be set.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from schedengine.pruners.pruned import Pruned, Strength
from schedengine.registry import SPEC

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)]
Unit = Literal["element", "filter", "tensor", "all"]
"""What shares a threshold: nothing, an output, a parameter, all parameters of the pruner."""


class Gate(Pruned):
    """A value on the axis ``pruned`` that is learned: goes with ``update: learned``.

    Attributes:
        unit: what shares a threshold.
        is_soft: training sees another weight than what would be deployed.
        init: every threshold at the start.
        lr: their learning rate over that of the network (the optimizer's first group).
        weight_decay: of the thresholds; None for the optimizer's.
        min_density: thresholds of a parameter are set to 0 where no more than this share of it stays.
    """

    unit: ClassVar[Unit] = "element"
    is_soft: ClassVar[bool] = False
    min_density: float = 0.0
    init: float
    lr: float
    weight_decay: float | None

    @property
    def units(self) -> Unit:
        """What shares a threshold in this pruner."""
        return self.unit

    @abstractmethod
    def deployed(self, w: Tensor, s: Tensor, share: float) -> Tensor:
        """What the network has after training: exact zeros.

        Args:
            w, s: (n,).
            share: of the window that has passed, in [0, 1].
        """

    def shown(self, w: Tensor, s: Tensor, share: float) -> Tensor:
        """What a training step computes with."""
        return self.deployed(w, s, share)

    @abstractmethod
    def gradients(self, w: Tensor, s: Tensor, g: Tensor, share: float) -> tuple[Tensor, Tensor]:
        """The gradient of w, and what each weight adds to that of its threshold; (n,) each."""

    def penalty(self, s: Tensor, share: float) -> Tensor | None:
        """The gradient of a penalty on the thresholds (units,); None for none."""
        del s, share
        return None

    def next_round(self, s: Tensor) -> Tensor:
        """The thresholds (units,) that another window begins with."""
        return s


@dataclass(frozen=True, config=SPEC)
class SoftThreshold(Gate):
    """``sign(w) relu(|w| - sigmoid(s))`` with one learned s for each parameter. Weight decay of s, which pulls it from
    far below 0 towards 0, is what raises the threshold.

    Kusupati et al. 2020, Soft Threshold Weight Reparameterization for Learnable Sparsity, arXiv:2002.03231. What is
    deployed are the shrunken weights. On ImageNet they take init -3200 and weight_decay 2e-5 to 2e-4 over 100 epochs;
    small runs need an init nearer to 0 and more decay.

    Args:
        init: s at the start.
        weight_decay: of s; default: the optimizer's. The knob for sparsity.
        per: one s a parameter (tensor), or one for all of them.
        lr: learning rate of s over that of the network.
    """

    unit: ClassVar[Unit] = "tensor"
    init: Number = -8.0
    weight_decay: Strength | None = None
    per: Literal["tensor", "all"] = "tensor"
    lr: Positive = 1.0

    @property
    def units(self) -> Unit:
        return self.per

    def deployed(self, w: Tensor, s: Tensor, share: float) -> Tensor:
        del share
        return w.sign() * (w.abs() - s.sigmoid()).clamp_min(0)

    def gradients(self, w: Tensor, s: Tensor, g: Tensor, share: float) -> tuple[Tensor, Tensor]:
        del share
        level = s.sigmoid()
        passed = g * (w.abs() > level)
        return passed, -passed * w.sign() * level * (1 - level)


@dataclass(frozen=True, config=SPEC)
class StepThreshold(Gate):
    """``w [|w| > t]`` with one learned t >= 0 for each output of a layer; the step has the derivative
    ``2 - 4|x|`` up to 0.4, 0.4 up to 1, 0 beyond, so that w and t both learn from it. ``penalty * sum exp(-t)`` joins
    the loss.

    Liu, Xu, Shi, Cheung, So 2020, Dynamic Sparse Training, arXiv:2005.06870 (there t is decayed with the weights, which
    pulls against the penalty; here it is not unless ``weight_decay`` says so).

    Args:
        penalty: >= 0; the knob for sparsity.
        init: t at the start.
        min_density: where no more than this share of a parameter stays, its thresholds are set to 0 again.
        weight_decay: of t.
        lr: learning rate of t over that of the network.
    """

    unit: ClassVar[Unit] = "filter"
    penalty_: Strength = 5e-6
    init: Number = 0.0
    min_density: Annotated[float, Field(ge=0, lt=1, strict=True)] = 0.01
    weight_decay: Strength | None = 0.0
    lr: Positive = 1.0

    def deployed(self, w: Tensor, s: Tensor, share: float) -> Tensor:
        del share
        return w * (w.abs() > s)

    def gradients(self, w: Tensor, s: Tensor, g: Tensor, share: float) -> tuple[Tensor, Tensor]:
        del share
        over = w.abs() - s
        slope = g * w * step_slope(over)
        return g * (over > 0) + slope * w.sign(), -slope

    def penalty(self, s: Tensor, share: float) -> Tensor | None:
        del share
        return -self.penalty_ * torch.exp(-s)


@dataclass(frozen=True, config=SPEC)
class SigmoidGate(Gate):
    """``w sigmoid(b s) / sigmoid(init)`` with one learned s for each weight; the temperature b grows from 1 to
    ``temperature`` over the window (geometrically, at every step), so that gates become steps. Weights with s > 0 stay.
    ``penalty * sum sigmoid(b s)`` joins the loss.

    Savarese, Silva, Maire 2020, Winning the Lottery with Continuous Sparsification, arXiv:1912.04427. Over several
    windows (rounds) s begins each but the first at min(b s, init), as there; rewind the weights with
    ``{rewind: {weights: 2}}``. Evaluations see what would be deployed: gates that are not open are 0.

    Args:
        penalty: >= 0; with ``init`` the knob for sparsity.
        init: s at the start; smaller is sparser.
        temperature: b at the end of a window, >= 1.
        weight_decay: of s; the paper's is 0.
        lr: learning rate of s over that of the network.
    """

    is_soft: ClassVar[bool] = True
    penalty_: Strength = 1e-8
    init: Number = 0.0
    temperature: Annotated[float, Field(ge=1, strict=True, allow_inf_nan=False)] = 200.0
    weight_decay: Strength | None = 0.0
    lr: Positive = 1.0

    def _heat(self, share: float) -> float:
        return float(self.temperature**share)

    def _scaled(self, s: Tensor, share: float) -> Tensor:
        """The gate of every weight, 1 at the start."""
        return (self._heat(share) * s).sigmoid() * (1 + math.exp(-self.init))

    def shown(self, w: Tensor, s: Tensor, share: float) -> Tensor:
        return w * self._scaled(s, share)

    def deployed(self, w: Tensor, s: Tensor, share: float) -> Tensor:
        return w * self._scaled(s, share) * (s > 0)

    def gradients(self, w: Tensor, s: Tensor, g: Tensor, share: float) -> tuple[Tensor, Tensor]:
        gate = self._scaled(s, share)
        is_open = (self._heat(share) * s).sigmoid()
        return g * gate, g * w * gate * (1 - is_open) * self._heat(share)

    def penalty(self, s: Tensor, share: float) -> Tensor | None:
        is_open = (self._heat(share) * s).sigmoid()
        return self.penalty_ * self._heat(share) * is_open * (1 - is_open)

    def next_round(self, s: Tensor) -> Tensor:
        return (self.temperature * s).clamp_max(self.init)


def step_slope(x: Tensor) -> Tensor:
    """What stands for the derivative of the unit step.

    Example:
        >>> step_slope(torch.tensor([0, 0.2, 0.4, 0.5, 1, 1.1]))
        tensor([2.0000, 1.2000, 0.4000, 0.4000, 0.4000, 0.0000])
    """
    size = x.abs()
    return torch.where(size <= 0.4, 2 - 4 * size, torch.where(size <= 1, 0.4, 0.0))
