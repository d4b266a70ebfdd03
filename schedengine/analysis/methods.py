"""Pruning methods as templates of schedules. A method joins by an entry of the table, and a contract test tries it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from schedengine.errors import SchedEngineError


@dataclass(frozen=True)
class Stretch:
    """A phase of a method.

    Args:
        name: of the phase.
        share: of the epochs; they add up to 1.
        why: the comment beside it.
        repeat: how often it comes within its share.
    """

    name: str
    share: float
    why: str
    repeat: int = 1


@dataclass(frozen=True)
class Method:
    """A template.

    Args:
        title: what it does, in a few words.
        source: authors, year, title, arXiv number, and where the template differs.
        target: fraction removed where the user does not say.
        removes: ``weights``, or ``filters``, which some layers cannot spare.
        phases: in order of time.
        text: the sections after ``phases``; ``$parameters`` and ``$target`` are filled in, comments aligned.
    """

    title: str
    source: str
    phases: tuple[Stretch, ...]
    text: str
    target: float = 0.9
    removes: Literal["weights", "filters"] = "weights"

    @property
    def least_epochs(self) -> int:
        """One for each phase and repeat."""
        return sum(phase.repeat for phase in self.phases)


def lengths(phases: Sequence[Stretch], epochs: int) -> list[int]:
    """Epochs of each phase, all repeats together: its share, but at least one a repeat.

    Args:
        epochs: of the run; what rounding leaves goes to the longest phase.

    Raises:
        SchedEngineError: too few for the phases.

    Example:
        >>> lengths([Stretch("dense", 1 / 3, ""), Stretch("cycle", 2 / 3, "", repeat=4)], 30)
        [10, 20]
    """
    least = sum(phase.repeat for phase in phases)
    if epochs < least:
        names = ", ".join(f"{phase.name}{f' x {phase.repeat}' if phase.repeat > 1 else ''}" for phase in phases)
        raise SchedEngineError(f"--epochs {epochs}: too few for the phases ({names}); give {least} or more")
    found = [max(phase.repeat, round(phase.share * epochs)) for phase in phases]
    while sum(found) != epochs:
        spare = [length - phase.repeat for length, phase in zip(found, phases, strict=True)]
        found[spare.index(max(spare))] += 1 if sum(found) < epochs else -1
    return found


METHODS: dict[str, Method] = {
    "agp": Method(
        "automated gradual pruning: many small cuts while the network trains",
        "Zhu, Gupta (2017), To prune, or not to prune, arXiv:1710.01878; there each layer is ranked by itself "
        "(allocation: uniform)",
        (
            Stretch("dense", 1 / 3, "train first; with trained weights (--weights) a short one will do"),
            Stretch("prune", 1 / 2, "a cut at the start of each of these epochs"),
            Stretch("tune", 1 / 6, "recover from the last ones"),
        ),
        """
pruners:
  agp:
    parameters:
$parameters
    criterion: magnitude  # small weights are unimportant
    granularity: element  # single weights go
    allocation: global  # one ranking over all layers decides which lose more
    sparsity: {ramp: cubic, to: $target}  # fast at first, slow at the end

lr_schedulers:
  train: {class: cosine, to: 0.0, warmup: 2%}  # from the optimizer's rate (--lr) down; per step

policies:
  - {pruner: agp, during: prune}
  - {lr_scheduler: train, during: run}
""",
    ),
    "one_shot": Method(
        "one cut of a trained network, then retraining",
        "Han, Pool, Tran, Dally (2015), Learning both Weights and Connections, arXiv:1506.02626; the retraining rate: "
        "Zimmer, Spiegel, Pokutta (2023), arXiv:2111.00843 (LLR)",
        (
            Stretch("dense", 2 / 3, "train first; with trained weights (--weights) a short one will do"),
            Stretch("retrain", 1 / 3, "the cut is at its start"),
        ),
        """
pruners:
  once:
    parameters:
$parameters
    criterion: magnitude  # small weights are unimportant
    granularity: element  # single weights go
    allocation: global  # one ranking over all layers decides which lose more
    sparsity: $target

lr_schedulers:  # per step
  dense:   {class: cosine, to: 0.0, warmup: 2%}  # from the optimizer's rate (--lr) down
  retrain: {class: LLR}  # from the largest rate of the dense training down to 0

policies:
  - {pruner: once, at: retrain}
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: retrain, during: retrain}
""",
    ),
    "iterative": Method(
        "iterative magnitude pruning: cuts and retraining in turn",
        "Han, Pool, Tran, Dally (2015), Learning both Weights and Connections, arXiv:1506.02626; the retraining rate: "
        "Zimmer, Spiegel, Pokutta (2023), arXiv:2111.00843 (LLR)",
        (
            Stretch("dense", 1 / 3, "train first; with trained weights (--weights) a short one will do"),
            Stretch("cycle", 2 / 3, "a cut at the start of each, then retraining", repeat=4),
        ),
        """
pruners:
  imp:
    parameters:
$parameters
    criterion: magnitude  # small weights are unimportant
    granularity: element  # single weights go
    allocation: global  # one ranking over all layers decides which lose more
    sparsity: {ramp: geometric, to: $target}  # each cut removes the same share of what is left

lr_schedulers:  # per step
  dense:   {class: cosine, to: 0.0, warmup: 2%}  # from the optimizer's rate (--lr) down
  retrain: {class: LLR}  # from the largest rate of the dense training down to 0

policies:
  - {pruner: imp, at: cycle}
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: retrain, during: cycle}  # restarts with every cycle
""",
    ),
    "bimp": Method(
        "budgeted iterative magnitude pruning: a short dense training, then cycles with rates that fit each cut",
        "Zimmer, Spiegel, Pokutta (2023), How I Learned to Stop Worrying and Love Retraining, arXiv:2111.00843",
        (
            Stretch("dense", 3 / 5, "from scratch: dense training and cycles share one budget"),
            Stretch("cycle", 2 / 5, "a cut at the start of each, then retraining", repeat=4),
        ),
        """
pruners:
  imp:
    parameters:
$parameters
    criterion: magnitude  # small weights are unimportant
    granularity: element  # single weights go
    allocation: global  # one ranking over all layers decides which lose more
    sparsity: {ramp: geometric, to: $target}  # each cut removes the same share of what is left

lr_schedulers:  # per step
  dense:   {class: linear, to: 0.0}  # from the optimizer's rate (--lr) down
  retrain: {class: ALLR}  # down to 0 from a peak that fits the damage of the cut and the length of the cycle

policies:
  - {pruner: imp, at: cycle}
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: retrain, during: cycle}  # restarts with every cycle
""",
    ),
    "lottery": Method(
        "lottery ticket: cut, go back to the initial weights, train again",
        "Frankle, Carbin (2019), The Lottery Ticket Hypothesis, arXiv:1803.03635; large networks go back to an epoch "
        "or two instead of 0: Frankle, Dziugaite, Roy, Carbin (2020), arXiv:1912.05671",
        (
            Stretch("dense", 4 / 15, "the training that every cycle repeats"),
            Stretch("cycle", 11 / 15, "a cut at the start of each, then back", repeat=3),
        ),
        """
pruners:
  imp:
    parameters:
$parameters
    criterion: magnitude  # of the trained weights
    granularity: element  # single weights go
    allocation: global  # one ranking over all layers decides which lose more
    sparsity: {ramp: geometric, to: $target}  # each cut removes the same share of what is left

lr_schedulers:
  train: {class: linear, to: 0.0}  # from the optimizer's rate (--lr) down; per step

policies:
  - {pruner: imp, at: cycle}
  - {rewind: {weights: 0, clock: 0}, at: cycle}  # after the cut: initial weights, the rate from its start; masks stay
  - {lr_scheduler: train, during: [dense, cycle]}
""",
    ),
    "dsd": Method(
        "dense-sparse-dense: a pruned stretch in the middle of a training that ends dense",
        "Han, Pool, Narang, Mao, Gong, Tang, Elsen, Vajda, Paluri, Tran, Catanzaro, Dally (2017), DSD: "
        "Dense-Sparse-Dense Training for Deep Neural Networks, arXiv:1607.04381",
        (
            Stretch("dense", 1 / 2, "train first; with trained weights (--weights) a short one will do"),
            Stretch("sparse", 1 / 4, "the cut is at its start"),
            Stretch("redense", 1 / 4, "masks are taken away at its start"),
        ),
        """
pruners:
  dsd:
    parameters:
$parameters
    criterion: magnitude  # small weights are unimportant
    granularity: element  # single weights go
    allocation: uniform  # each layer loses the same share
    sparsity: $target

lr_schedulers:  # per step
  dense:   {class: cosine, to: 0.0, warmup: 2%}  # from the optimizer's rate (--lr) down
  sparse:  {class: LLR}  # from the largest rate of the dense training down to 0
  redense: {class: step, drops: [0], gamma: 0.1}  # a tenth of the optimizer's rate (--lr)

policies:
  - {pruner: dsd, at: sparse}
  - {release: dsd, at: redense}  # what was pruned trains again, from 0
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: sparse, during: sparse}
  - {lr_scheduler: redense, during: redense}
""",
        target=0.3,
    ),
    "dpf": Method(
        "dynamic pruning with feedback: pruned weights train on behind the mask, and may come back",
        "Lin, Stich, Barba, Dmitriev, Jaggi (2020), Dynamic Model Pruning with Feedback, arXiv:2006.07253",
        (
            Stretch("prune", 5 / 6, "dense and sparse training in one: no dense phase is needed"),
            Stretch("tune", 1 / 6, "the masks are fixed"),
        ),
        """
pruners:
  dpf:
    parameters:
$parameters
    criterion: magnitude  # small weights are unimportant
    granularity: element  # single weights go
    allocation: global  # one ranking over all layers decides which lose more
    sparsity: {ramp: cubic, to: $target}  # fast at first, slow at the end
    update: reselect  # every cut chooses among all weights
    pruned: dense  # by the values behind the mask, which train on

lr_schedulers:
  train: {class: cosine, to: 0.0, warmup: 2%}  # from the optimizer's rate (--lr) down; per step

policies:
  - {pruner: dpf, during: prune, every: 16st, keep_mask: true}  # new masks every 16 steps
  - {lr_scheduler: train, during: run}
""",
    ),
    "filters": Method(
        "gradual filter pruning: whole output channels go, the same share of them in every layer",
        "Li, Kadav, Durdanovic, Samet, Graf (2017), Pruning Filters for Efficient ConvNets, arXiv:1608.08710; there in "
        "one cut",
        (
            Stretch("dense", 1 / 3, "train first; with trained weights (--weights) a short one will do"),
            Stretch("prune", 1 / 2, "a cut at the start of each of these epochs"),
            Stretch("tune", 1 / 6, "recover from the last ones"),
        ),
        """
pruners:
  filters:
    parameters:
$parameters
    criterion: magnitude  # filters of small mean magnitude are unimportant
    granularity: filter  # all weights of an output channel go at once
    allocation: uniform  # each layer loses the same share of its filters
    sparsity: {ramp: cubic, to: $target}  # fast at first, slow at the end

lr_schedulers:
  train: {class: cosine, to: 0.0, warmup: 2%}  # from the optimizer's rate (--lr) down; per step

policies:
  - {pruner: filters, during: prune}
  - {lr_scheduler: train, during: run}
""",
        target=0.5,
        removes="filters",
    ),
}
"""What ``init`` can draft."""
