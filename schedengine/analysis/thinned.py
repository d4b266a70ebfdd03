"""What thinning a network is worth: sizes, work, measured time and accuracy, before and after, side by side."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from schedengine.analysis.macs import multiply_accumulates
from schedengine.errors import EffectError
from schedengine.export.apply import apply_
from schedengine.export.latency import Latency, latency
from schedengine.export.thin import Thinning, What, plan
from schedengine.export.thinned import Thinned, record
from schedengine.granularity import Filter, oriented
from schedengine.selection import ParameterTable
from schedengine.training.sparsity import count_zeros, prunable

FASTER = 0.97
"""The largest ratio of times that is called faster: less is within what two measurements of one network differ by."""
UNSTEADY = 2.0
"""Upper over lower quartile of the times of one network beyond which no ratio is believed."""


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Args:
        parameters: all of them, tied ones once.
        zeros: how many of the Conv and Linear weights are 0.
        macs: multiply-accumulates of one example; None where they could not be counted.
        latencies: by batch size, of a forward pass on this machine.
        top1: per cent; None without data.
    """

    parameters: int
    zeros: int
    macs: int | None
    latencies: dict[int, Latency]
    top1: float | None


@dataclass(frozen=True)
class Gain:
    """A network before and after thinning.

    Args:
        before, after: what it costs.
        thinned: what was removed, and how far the outputs differ.
        threads: of the processor that a pass used.
        device: where it was measured.
        stranded: parameters of the thinned network with filters that are zero, and how many.
        was_thinned: whether it was thinned in its training, so that ``before`` is the network as it is built.
    """

    before: Cost
    after: Cost
    thinned: Thinned
    threads: int
    device: str
    was_thinned: bool = False
    stranded: dict[str, int] = field(default_factory=dict)

    @property
    def verdicts(self) -> list[str]:
        """What the numbers say, in words: where it did not get faster above all."""
        found = ["thinned in its training: before is the network as it is built"] if self.was_thinned else []
        for batch, before in self.before.latencies.items():
            after = self.after.latencies[batch]
            ratio = after.lower / before.lower
            if max(one.upper / one.lower for one in (before, after)) > UNSTEADY:
                found.append(f"batch {batch}: times vary widely; something else runs here, so measure again")
            elif ratio > FASTER:
                found.append(f"not faster at batch {batch}: {ratio:.2f} of the time, where below {FASTER} counts")
        if self.thinned.settling > 0:
            found.append(
                f"dead filters still had biases or normalisation shifts, which went too: outputs changed by up to "
                f"{self.thinned.settling:.2g} of the largest; train on, or thin in the schedule"
            )
        if self.stranded:
            shown = ", ".join(f"{count} of {name}" for name, count in list(self.stranded.items())[:3])
            more = ", ..." if len(self.stranded) > 3 else ""
            found.append(
                f"filters that are zero and stay, as layers that they are added up with keep theirs: {shown}{more};"
                " prune these layers with 'together: joined'"
            )
        return [*found, *(f"not removed, though zero: {one}" for one in self.thinned.refused)]

    def plain(self) -> dict[str, Any]:
        """For a file."""
        return {
            "before": asdict(self.before),
            "after": asdict(self.after),
            "thinned": self.thinned.plain(),
            "threads": self.threads,
            "device": self.device,
            "stranded": self.stranded,
            "verdicts": self.verdicts,
        }


def thin_and_measure(
    model: nn.Module,
    inputs: Sequence[Tensor],
    *,
    what: What = "all",
    batches: Iterable[int] = (1, 64),
    seconds: float = 4.0,
    evaluate: Callable[[nn.Module], float] | None = None,
    dense: nn.Module | None = None,
) -> tuple[nn.Module, Gain]:
    """Thin a copy of a network, and measure both.

    Args:
        model: with exact zeros where it is pruned; stays as it is.
        inputs: one example of everything that it takes, (1, ...), on its device.
        what: see ``plan``.
        batches: the sizes at which passes are timed.
        seconds: that the passes of one batch size take, both networks together.
        evaluate: network -> top-1, per cent.
        dense: the network as it was built, where ``model`` was thinned already in its training: what is compared with.

    Returns:
        The thinned network, and what it gained.

    Raises:
        EffectError: there is nothing to remove, all of a layer would go, or the outputs differ.
    """
    pair = tuple(_repeated(inputs, 2))
    found = plan(model, pair, what=what)
    if not found and dense is None:
        raise EffectError(_nothing(model, found, what))
    thin = copy.deepcopy(model)
    verified = apply_(thin, found, pair)
    first = model if dense is None else dense
    timed = {
        batch: latency({"before": first, "after": thin}, tuple(_repeated(inputs, batch)), seconds=seconds)
        for batch in batches
    }
    measures = (evaluate if dense is None else None, evaluate)  # one as it is built has learned nothing
    costs = [
        _cost(network, inputs, {batch: both[side] for batch, both in timed.items()}, measured)
        for side, network, measured in zip(("before", "after"), (first, thin), measures)
    ]
    device = inputs[0].device
    thinned = record(found, verified, 0, None, is_end=False)
    return thin, Gain(
        costs[0], costs[1], thinned, torch.get_num_threads(), str(device), dense is not None, _stranded(thin)
    )


def _stranded(model: nn.Module) -> dict[str, int]:
    """Filters that are zero, by parameter."""
    table, found = ParameterTable(model), {}
    for name in prunable(table):
        granularity = oriented(Filter(), table.layer(name))
        alive = granularity.group(table[name].detach() != 0).any(dim=1)
        if dead := alive.numel() - int(alive.count_nonzero()):
            found[name] = dead
    return found


def _cost(
    model: nn.Module,
    inputs: Sequence[Tensor],
    latencies: dict[int, Latency],
    evaluate: Callable[[nn.Module], float] | None,
) -> Cost:
    table = ParameterTable(model)
    zeros = sum(count.zeros for count in count_zeros(table, prunable(table)))
    macs = multiply_accumulates(model, inputs)
    return Cost(
        sum(parameter.numel() for parameter in model.parameters()),
        zeros,
        sum(macs.values()) or None,
        latencies,
        None if evaluate is None else evaluate(model),
    )


def _repeated(inputs: Sequence[Tensor], batch: int) -> list[Tensor]:
    if any(len(one) != 1 for one in inputs):  # texts: (length, 1), the examples along the second axis
        return [one.expand(one.shape[0], batch, *one.shape[2:]).clone() for one in inputs]
    return [one.expand(batch, *one.shape[1:]).clone() for one in inputs]


def _nothing(model: nn.Module, found: Thinning, what: What) -> str:
    table = ParameterTable(model)
    counts = count_zeros(table, prunable(table))
    zeros, weights = sum(one.zeros for one in counts), sum(one.weights for one in counts)
    which = "filter or channel" if what == "all" else what.removesuffix("s")
    if found.refused:
        reasons = "\n  ".join(f"{one.channels} channels of {one.layers}: {one.reason}" for one in found.refused)
        return f"nothing can be removed, though some channels are zero:\n  {reasons}"
    return (
        f"nothing to remove: no {which} is zero as a whole; {zeros:,} of {weights:,} Conv and Linear weights are 0"
        + (", one by one, which no dense network gets faster by; prune with 'granularity: filter'" if zeros else "")
    )
