"""What becomes of pruned weights: set to 0, kept for later, trained on, or only held back.

Three kinds. A *mask* removes them (zero, hidden, dense, forward: see ``masks.py``). A *gate* is learned with the
weights and replaces selection (``gates.py``). An *edit* changes what the optimizer does with them and removes nothing:
another pruner cuts what it has made small.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.masks import Mode
from schedengine.registry import SPEC

Strength = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]


class Pruned:
    """The axis.

    Attributes:
        mode: how the mask store treats them; of gates and edits, which have masks once they are folded or not at all,
            zero.
        keeps: their values are kept, and a later cut may bring them back.
    """

    mode: ClassVar[Mode] = "zero"
    keeps: ClassVar[bool] = False


@dataclass(frozen=True, config=SPEC)
class Zero(Pruned):
    """Set to 0, and again after every update."""


@dataclass(frozen=True, config=SPEC)
class Hidden(Pruned):
    """The forward pass sees 0; the value is kept, without a gradient, and comes back if the mask re-admits it."""

    mode: ClassVar[Mode] = "hidden"
    keeps: ClassVar[bool] = True


@dataclass(frozen=True, config=SPEC)
class Dense(Pruned):
    """The forward pass sees 0; the kept value trains on, with the gradient taken at the pruned point.

    Lin, Stich, Barba, Dmitriev, Jaggi 2020, Dynamic Model Pruning with Feedback, arXiv:2006.07253; at every step,
    Wortsman, Farhadi, Rastegari 2019, Discovering Neural Wirings, arXiv:1906.00586.
    """

    mode: ClassVar[Mode] = "dense"
    keeps: ClassVar[bool] = True


@dataclass(frozen=True, config=SPEC)
class Forward(Pruned):
    """Set to 0 before every forward pass, left to the optimizer after it (Distiller's ``mask_on_forward_only``)."""

    mode: ClassVar[Mode] = "forward"


class Edit(Pruned):
    """What is done to the gradients of a step instead of removing weights."""


@dataclass(frozen=True, config=SPEC)
class Passive(Edit):
    """Pruned weights get no gradient of the loss, so that weight decay and momentum alone move them: they shrink.

    With ``criterion: gradient`` (``|w g|``), ``every: 1st`` and a large momentum this is global sparse momentum SGD:
    Ding, Ding, Zhou, Guo, Han, Liu 2019, Global Sparse Momentum SGD for Pruning Very Deep Neural Networks,
    arXiv:1909.12778. There the saliency is of all parameters with two dimensions or more, here of those selected.
    """


@dataclass(frozen=True, config=SPEC)
class Decay(Edit):
    """Pruned weights are decayed, the others are not: the penalty ``k/2 |w - P(w)|^2`` with P(w) the largest weights.

    It stands in for the optimizer's weight decay of the selected parameters, which is taken out of their gradients.
    At time t of a window of length T, ``k = strength * growth ** floor(t / T * times)``.

    Carreira-Perpinan, Idelbayev 2018, "Learning-Compression" Algorithms for Neural Net Pruning, CVPR; as one term of
    the gradient, Zimmer, Spiegel, Pokutta 2023, arXiv:2111.00843 (there k is constant; an earlier release of its code
    grows it 30 times by 1.1).

    Args:
        strength: k at the start, >= 0; default: the optimizer's weight decay.
        growth: factor, >= 1.
        times: how often it grows, at equal distances.
    """

    strength: Strength | None = None
    growth: Annotated[float, Field(ge=1, strict=True, allow_inf_nan=False)] = 1.0
    times: Annotated[int, Field(ge=1, strict=True)] = 30

    def at(self, share: float, default: float) -> float:
        """k, where so much of the window has passed.

        Args:
            share: in [0, 1].
            default: the optimizer's weight decay.

        Example:
            >>> round(Decay(growth=1.1).at(0.99, 1.0), 3)
            15.863
        """
        grown = min(self.times - 1, math.floor(share * self.times))
        return float((default if self.strength is None else self.strength) * self.growth**grown)
