"""IMP-RePrune: networks that were pruned each by itself share no mask, so their average is cut back to their sparsity.

Reference: Zimmer, Spiegel and Pokutta, 2024, arXiv 2306.16788, the baseline of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from schedengine.analysis.soups.pot import Change
from schedengine.errors import SchedEngineError
from schedengine.schedule.load import load_schedule
from schedengine.selection import ParameterTable
from schedengine.training.sparsity import Count, count_zeros, prunable, share_of_zeros

Sharing = Literal["global", "layer"]
AGREEMENT = 0.001
"""How far apart the sparsities of networks may be that share one target."""


def cutter(networks: Mapping[str, nn.Module], sharing: Sharing = "global", sparsity: float | None = None) -> Change:
    """What cuts an average by magnitude, to exactly as many zeros as its target says.

    Args:
        networks: by name, of one architecture; pruned.
        sharing: global: one ranking over all Conv and Linear weights; layer: each to the networks' mean sparsity of it.
        sparsity: fraction of all Conv and Linear weights that is 0 afterwards, (0, 1); default: the networks' mean.

    Raises:
        SchedEngineError: the networks are dense or differ in sparsity by more than 0.1 points, or ``sparsity`` goes
            with layers, which have their own.
    """
    counts = {name: counts_of(network) for name, network in networks.items()}
    if sparsity is not None:
        if sharing == "layer":
            raise SchedEngineError(f"--sparsity {sparsity:g}: each layer goes to its own; take --allocation global")
        if not 0 < sparsity < 1:
            raise SchedEngineError(f"--sparsity {sparsity:g}: the fraction that is removed, between 0 and 1")
        return _by({"allocation": "global", "sparsity": sparsity})
    total = _agreed({name: share_of_zeros(one) for name, one in counts.items()})
    if sharing == "global":
        return _by({"allocation": "global", "sparsity": total})
    layers = {one[0].parameter: sum(each.sparsity for each in one) / len(one) for one in zip(*counts.values())}
    # Of layers that are all zeros, the average is too; a pruner would keep a weight of each, and ask for less than 1.
    levels = {name: level for name, level in layers.items() if 0 < level < 1}
    return _by({"allocation": levels, "sparsity": {"ramp": "constant"}})


def counts_of(network: nn.Module) -> list[Count]:
    """Zeros of all its Conv and Linear weights."""
    table = ParameterTable(network)
    return count_zeros(table, prunable(table))


def _agreed(found: Mapping[str, float]) -> float:
    low, high = min(found, key=lambda name: found[name]), max(found, key=lambda name: found[name])
    if found[high] - found[low] > AGREEMENT:
        raise SchedEngineError(
            f"the networks differ in sparsity, from {found[low]:.4f} ({low}) to {found[high]:.4f} ({high}); "
            "say what the average is cut to (--sparsity)"
        )
    if not found[high]:
        raise SchedEngineError(
            "--reprune: no weight of the networks is 0; leave it out, or say what to cut to (--sparsity)"
        )
    return sum(found.values()) / len(found)


def _by(axes: Mapping[str, Any]) -> Change:
    schedule = load_schedule({
        "version": 2,
        "pruners": {"reprune": {"criterion": "magnitude", **axes}},
        "policies": [{"pruner": "reprune", "at": "start"}],
    })  # fmt: skip

    def cut_(network: nn.Module) -> None:
        schedule.bind(network, epochs=1).on_epoch_begin(0)

    return cut_
