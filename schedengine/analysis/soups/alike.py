"""Whether networks can be averaged: of one architecture, and pruned alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from schedengine.errors import ModelError, SchedEngineError
from schedengine.selection import ParameterTable, normalise
from schedengine.training.sparsity import prunable

_SHOWN = 5


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers themselves, by normalised name: what is saved of a network."""
    stored = network.state_dict(keep_vars=True).items()
    return {normalise(name): value for name, value in stored if isinstance(value, Tensor)}


def check_architectures(networks: Mapping[str, nn.Module]) -> None:
    """Whether all have the same tensors, of the same shapes.

    Args:
        networks: by the name that messages call them.

    Raises:
        ModelError: names the tensors, and the two networks that differ in them.
    """
    (first, one), *others = ((name, tensors(network)) for name, network in networks.items())
    for second, other in others:
        wrong = list(_misfits(one, other, first, second))
        if wrong:
            told = "\n".join(f"  {line}" for line in [*wrong[:_SHOWN], *_more(len(wrong), "tensors")])
            raise ModelError(f"{first} and {second} are networks of different architectures or sizes:\n{told}")


def _misfits(one: Mapping[str, Tensor], other: Mapping[str, Tensor], first: str, second: str) -> Iterator[str]:
    for name in dict.fromkeys([*one, *other]):
        if name not in one or name not in other:
            yield f"{name}: only in {first if name in one else second}"
        elif one[name].shape != other[name].shape:
            yield f"{name}: {_shape(one[name])} in {first}, {_shape(other[name])} in {second}"


def check_masks(networks: Mapping[str, nn.Module]) -> None:
    """Whether the same Conv and Linear weights are exactly 0 in all of them, so that their average is as sparse.

    Args:
        networks: by name, of one architecture.

    Raises:
        SchedEngineError: says in which parameters, how many weights, and of which two networks.
    """
    tables = {name: ParameterTable(network) for name, network in networks.items()}
    first, table = next(iter(tables.items()))
    names = prunable(table)
    wrong = [
        (name, count, other)
        for other, weights in list(tables.items())[1:]
        for name in names
        if (count := _differing(table[name], weights[name]))
    ]
    if not wrong:
        return
    lines = [f"{name}: {count:,} weights are 0 in one of {first} and {other} only" for name, count, other in wrong]
    told = "\n".join(f"  {line}" for line in [*lines[:_SHOWN], *_more(len(wrong), "parameters")])
    total = sum(count for _, count, _ in wrong)
    raise SchedEngineError(
        "the networks are not pruned alike, so that their average would be denser than they are:\n"
        f"{told}\n  {total:,} differences in all; average replicas of one pruned network, or cut the average back "
        "(--reprune)"
    )


@torch.no_grad()
def _differing(one: Tensor, other: Tensor) -> int:
    return int(((one == 0) != (other == 0)).sum())


def _more(count: int, what: str) -> list[str]:
    return [f"and {count - _SHOWN} more {what}"] if count > _SHOWN else []


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
