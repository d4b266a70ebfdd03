"""The table of a soup: every member, their mean, the best of them, the soup, and the ensemble."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas

from schedengine.training.evaluate import Evaluation
from schedengine.training.sparsity import Count, share_of_zeros

MEASURES = ("top1", "top5", "loss")


@dataclass(frozen=True)
class Measured:
    """What was measured of one network, or of the ensemble.

    Args:
        name: what tables call it.
        splits: by split, of those that were measured.
        counts: zeros of its Conv and Linear weights; of the ensemble, those of all its networks.
        corrupted_top1: mean top-1 (per cent) over all corruptions and severities; nan where that was not asked for.
    """

    name: str
    splits: Mapping[str, Evaluation]
    counts: Sequence[Count]
    corrupted_top1: float = math.nan

    def row(self, kind: str) -> dict[str, Any]:
        """Its row; what was not measured is nan."""
        found: dict[str, Any] = {"network": self.name, "kind": kind}
        for split in ("validation", "test"):
            one = self.splits.get(split)
            found |= {f"{split}_{what}": math.nan if one is None else getattr(one, what) for what in MEASURES}
        weights, zeros = sum(one.weights for one in self.counts), sum(one.zeros for one in self.counts)
        sparsity = share_of_zeros(self.counts)
        return {**found, "corrupted_top1": self.corrupted_top1, "weights": weights, "zeros": zeros,
                "sparsity": sparsity}  # fmt: skip


def best_of(members: Sequence[Measured], metric: str) -> Measured | None:
    """The member with the best validation ``metric`` (of equals the first); None where there are no such images.

    Args:
        metric: top1, top5 (more is better) or loss (less is).
    """
    if any("validation" not in member.splits for member in members):
        return None
    sign = -1 if metric == "loss" else 1
    return max(members, key=lambda member: sign * float(getattr(member.splits["validation"], metric)))


def tabulate(members: Sequence[Measured], soup: Measured, ensemble: Measured, metric: str = "top1") -> pandas.DataFrame:
    """A row for each member, for their mean, the best of them by validation, the soup, and the ensemble.

    Args:
        metric: that the best is chosen by.

    Returns:
        Columns: network; kind (member, mean, best, soup, ensemble); validation_ and test_ top1, top5 (per cent) and
        loss; corrupted_top1; weights and zeros of all Conv and Linear layers, and sparsity, their ratio. The row
        ``best`` repeats that of a member, and is missing where validation images are. Numbers not measured are nan.
    """
    rows = [member.row("member") for member in members]
    numbers = [name for name in rows[0] if name not in ("network", "kind")]
    mean = {name: sum(row[name] for row in rows) / len(rows) for name in numbers}
    rows.append({"network": "mean of members", "kind": "mean", **mean})
    best = best_of(members, metric)
    if best is not None:
        rows.append({**best.row("best"), "network": f"best member ({best.name})"})
    return pandas.DataFrame([*rows, soup.row("soup"), ensemble.row("ensemble")])
