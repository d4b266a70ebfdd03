"""Random scores: the baseline that every criterion has to beat."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass

from schedengine.criteria.base import NOTHING, Criterion, Facts
from schedengine.registry import SPEC

if TYPE_CHECKING:
    from torch import Tensor

    from schedengine.granularity import Granularity


@dataclass(frozen=True, config=SPEC)
class Random(Criterion):
    """Uniform scores in [0, 1) that depend on seed, key and number of groups only.

    They are drawn on the CPU from a generator of their own: every rank, device and process gets the same, and the
    generators of the training run are left alone.

    Args:
        seed: any whole number.
    """

    seed: Annotated[int, Field(strict=True)] = 0

    def scores(self, weight: Tensor, granularity: Granularity, *, key: str, facts: Facts = NOTHING) -> Tensor:
        del facts
        digest = hashlib.sha256(f"{self.seed}:{key}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        return torch.rand(granularity.groups(tuple(weight.shape)), generator=generator).to(weight.device)
