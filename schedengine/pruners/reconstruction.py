"""After a cut of channels: the weights that stay take over what they can of those that went.

Reference: He, Zhang, Sun 2017, Channel Pruning for Accelerating Very Deep Neural Networks, arXiv:1707.06168; used by He
et al. 2018, AMC, arXiv:1802.03494. There the layers are cut one after another, each with inputs from the network cut so
far; here all layers of a cut at once, each with the inputs that it had before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from schedengine.errors import SchedEngineError

_NOISE = 1e-6
"""Directions of the inputs that are weaker than this share of the strongest are rounding errors: their samples were
computed in single precision."""


@dataclass(frozen=True)
class Reconstruction:
    """A layer's weight after least squares.

    Args:
        weight: of the layer's shape, on its device; channels that went are as they were given.
        samples: equations.
        unknowns: weights of one output that stay.
        before: L2 norm of the change of its outputs (without bias) on the samples over that of the outputs, by the cut
            alone.
        after: the same with the new weights.
    """

    weight: Tensor
    samples: int
    unknowns: int
    before: float
    after: float


def reconstructed(shown: Tensor, kept: Tensor, mask: Tensor, inputs: Tensor) -> Reconstruction:
    """Weights for the channels that stay, with which the outputs on samples are nearest to what they were.

    Solved in float64 on the CPU; where channels depend on each other, of all solutions the smallest.

    Args:
        shown: (out, in, ...) what the layer computed with before the cut.
        kept: of this shape, the values to write into: the same, but for values that are kept under masks.
        mask: bool of this shape, in force after the cut.
        inputs: (samples, in * ...), what single outputs are made of.

    Raises:
        SchedEngineError: fewer samples than unknowns, or inputs that are not finite.
    """
    rows, old = inputs.detach().cpu().double(), shown.detach().flatten(1).cpu().double()
    stays = mask.flatten(1).any(dim=0).cpu()
    unknowns = int(stays.sum())
    if len(rows) < unknowns:
        raise SchedEngineError(
            f"{len(rows):,} samples of its inputs for {unknowns:,} unknowns; gather more: a longer epoch, or more data"
        )
    if not bool(rows.isfinite().all()):
        raise SchedEngineError("its inputs are not finite; training has diverged")
    outputs = rows @ old.T
    solution = torch.linalg.lstsq(rows[:, stays], outputs, rcond=_NOISE, driver="gelsy").solution
    new = kept.detach().flatten(1).cpu().double()
    new[:, stays] = solution.T
    held = mask.flatten(1).cpu()
    before, after = (_change(outputs, rows @ (one * held).T) for one in (old, new))
    weight = new.view(shown.shape).to(shown.device, shown.dtype)
    return Reconstruction(_from_first(weight), len(rows), unknowns, before, after)


def _change(outputs: Tensor, now: Tensor) -> float:
    norm = float(outputs.norm())
    return float((now - outputs).norm()) / norm if norm else float(now.norm())


def _from_first(weight: Tensor) -> Tensor:
    """The first rank's, whose samples decide: every rank has others."""
    if dist.is_available() and dist.is_initialized():
        weight = weight.contiguous()
        dist.broadcast(weight, src=0)
    return weight
