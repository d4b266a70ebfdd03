"""What a finished run says of itself: measured on the final weights, beside what was asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from schedengine.export.thinned import Thinned
from schedengine.training.best import Best
from schedengine.training.cuts import CutEffect
from schedengine.training.scores import Scores
from schedengine.training.session import Session
from schedengine.training.soup_report import SoupScores
from schedengine.training.sparsity import share_of_zeros


@dataclass(frozen=True)
class Pruned:
    """One pruner's result.

    Args:
        pruner: its name in the schedule.
        parameters: how many it selected.
        weights: in these parameters.
        zeros: of these weights that are 0 at the end, counted.
        target: fraction of these weights that its last cut asked to be gone; None for a limit, or without a cut.
        cuts: how many it made.
        released: whether its masks were taken away since.
        lasts_a_step: whether its masks never outlast a step, so that nothing is gone at the end.
        holds_back: whether it removes nothing itself: it makes weights small, which another pruner cuts.
    """

    pruner: str
    parameters: int
    weights: int
    zeros: int
    target: float | None
    cuts: int
    released: bool = False
    lasts_a_step: bool = False
    holds_back: bool = False

    @property
    def achieved(self) -> float:
        """Fraction of these weights that is 0."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class Report:
    """A finished run.

    Args:
        epochs: trained.
        pruned: a pruner each.
        sparsity: fraction of the weights selected by pruners that is 0.
        sparsity_all: fraction of all Conv and Linear weights, and of whatever else pruners selected, that is 0.
        weights: how many these are.
        before: the dense model by split: just before the first cut, or as loaded; None where there is none.
        before_note: which of the two.
        after: the final model by split.
        best: the best epoch at the final sparsity.
        cuts: what they did, the last one of each epoch; those of single replicas are in metrics.csv only.
        dense_training: what retraining rates were made from; empty where none were.
        thinned: what was removed from the network.
        soups: averages of replicas, and these.
    """

    epochs: int
    pruned: tuple[Pruned, ...]
    sparsity: float
    sparsity_all: float
    weights: int
    before: Scores | None
    before_note: str
    after: Scores
    best: Best | None
    cuts: tuple[CutEffect, ...] = ()
    dense_training: str = ""
    thinned: tuple[Thinned, ...] = ()
    soups: tuple[SoupScores, ...] = ()

    def plain(self) -> dict[str, Any]:
        """For a JSON file."""
        plain = asdict(self)
        plain["thinned"] = [one.plain() for one in self.thinned]
        plain["soups"] = [one.plain() for one in self.soups]
        plain["pruned"] = [{**asdict(one), "achieved": one.achieved} for one in self.pruned]
        return plain


def report(
    session: Session,
    before: Scores | None,
    before_note: str,
    after: Scores,
    best: Best | None,
    cuts: Sequence[CutEffect] = (),
    soups: Sequence[SoupScores] = (),
) -> Report:
    """Measure the final weights."""
    counts = session.counts()
    return Report(
        epochs=session.epochs,
        pruned=tuple(_pruned(session, name) for name in session.scheduler.pruners),
        sparsity=session.sparsity(counts),
        sparsity_all=share_of_zeros(counts),
        weights=sum(count.weights for count in counts),
        before=before,
        before_note=before_note,
        after=after,
        best=best,
        cuts=tuple(cuts),
        dense_training=session.dense_training(),
        thinned=tuple(session.scheduler.thinnings),
        soups=tuple(soups),
    )


def _pruned(session: Session, name: str) -> Pruned:
    names = set(session.scheduler.pruners[name].names)
    counts = [count for count in session.counts() if count.parameter in names]
    cuts = [cut for cut in session.scheduler.cuts if cut.pruner == name]
    return Pruned(
        pruner=name,
        parameters=len(counts),
        weights=sum(count.weights for count in counts),
        zeros=sum(count.zeros for count in counts),
        target=cuts[-1].target if cuts else None,
        cuts=len(cuts),
        released=session.scheduler.pruners[name].is_released,
        lasts_a_step=session.scheduler.pruners[name].spec.lasts == "step",
        holds_back=session.scheduler.pruners[name].spec.is_edit,
    )
