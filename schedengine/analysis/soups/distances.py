"""How far apart networks are, and in which directions they went."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import pandas
import torch
from torch import Tensor, nn

from schedengine.selection import ParameterTable
from schedengine.soups.average import average

Vector = dict[str, Tensor]
"""All parameters, in float64 on the CPU."""


@torch.no_grad()
def measure_distances(networks: Mapping[str, nn.Module], parent: nn.Module | None = None) -> pandas.DataFrame:
    """Distances and angles between networks, over all their parameters; buffers (batch-norm statistics) do not count.

    Args:
        networks: two or more, by name, of one architecture.
        parent: what all of them began with. Weights that are 0 in every network count as 0 in it too: what was pruned
            is no direction that a network went in.

    Returns:
        A row for each pair. Columns: first, second; distance, the L2 norm of their difference; relative, this over the
        L2 norm of the networks' mean; angle (degrees, [0, 180]) between the ways that they went from the parent, and
        without one, between themselves as vectors from 0; nan where one of them has no length.
    """
    vectors = {name: _vector(network) for name, network in networks.items()}
    mean = _norm(average(list(vectors.values())))
    ways = vectors if parent is None else _from(_vector(parent), vectors)
    rows = []
    for first, second in itertools.combinations(vectors, 2):
        distance = _norm(_minus(vectors[first], vectors[second]))
        angle = _angle(ways[first], ways[second])
        rows.append({
            "first": first, "second": second, "distance": distance,
            "relative": distance / mean if mean else math.nan, "angle": angle,
        })  # fmt: skip
    return pandas.DataFrame(rows)


def _vector(network: nn.Module) -> Vector:
    return {name: one.detach().cpu().double() for name, one in ParameterTable(network).tensors().items()}


def _from(parent: Vector, vectors: Mapping[str, Vector]) -> dict[str, Vector]:
    """The way from the parent to each, in the weights that some network has."""
    kept = {name: torch.stack([one[name] != 0 for one in vectors.values()]).any(0) for name in parent}
    start = {name: value * kept[name] for name, value in parent.items()}
    return {name: _minus(one, start) for name, one in vectors.items()}


def _minus(one: Vector, other: Vector) -> Vector:
    return {name: value - other[name] for name, value in one.items()}


def _dot(one: Vector, other: Vector) -> float:
    return math.fsum(float((value * other[name]).sum()) for name, value in one.items())


def _norm(one: Mapping[str, Tensor]) -> float:
    return math.sqrt(_dot(dict(one), dict(one)))


def _angle(one: Vector, other: Vector) -> float:
    lengths = _norm(one) * _norm(other)
    return math.degrees(math.acos(min(1.0, max(-1.0, _dot(one, other) / lengths)))) if lengths else math.nan
