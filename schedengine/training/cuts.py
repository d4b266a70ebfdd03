"""What each cut did to the network: accuracy just before and right after it, and how much of the norm went.

Accuracy right after a cut is that of the network as it stands, batch-norm statistics included, which are of the weights
before: what would be deployed without retraining. With ``recalibrate`` it is also measured with statistics from that
many training batches, on the side: the run goes on with the ones that it had.

Reference: Zimmer, Spiegel and Pokutta, 2023, arXiv 2111.00843 (stability, distance to pruned). There accuracy is
compared with the dense network's at every cut; here with the network's just before this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from schedengine.policies.rewind import RewindPolicy
from schedengine.progress import Occasions, Progress
from schedengine.pruners.cut import Cut
from schedengine.pruners.impact import Impact, joint
from schedengine.training.evaluate import Evaluation
from schedengine.training.session import Session


@dataclass(frozen=True)
class CutEffect:
    """The last cut of an epoch; several at one moment count as one.

    Args:
        epoch: from 0.
        step: of the epoch; None at its beginning or end.
        sparsity: fraction of the weights selected by the pruners that cut which their masks remove after it.
        before, after: top-1 in per cent on the validation images, just before and right after; None without such a
            split and for cuts within an epoch; ``after`` also where weights are rewound with the cut.
        recalibrated: the same right after, with batch-norm statistics of the pruned network; None unless asked for.
        norm_drop: sqrt(|n^2 - m^2|) / n with n and m the L2 norm of all parameters before and after.
        distance_to_pruned: L2 norm of what went of the selected weights over that of all of them.
    """

    epoch: int
    step: int | None
    sparsity: float
    before: float | None
    after: float | None
    recalibrated: float | None
    norm_drop: float
    distance_to_pruned: float

    @property
    def stability(self) -> float | None:
        """Accuracy right after over accuracy just before; None where one is not known, or there was none."""
        return self.after / self.before if self.after is not None and self.before else None

    def columns(self) -> dict[str, Any]:
        """For the epoch's row of metrics.csv."""
        return {
            "cut_before": self.before,
            "cut_after": self.after,
            "cut_recalibrated": self.recalibrated,
            "norm_drop": self.norm_drop,
            "distance_to_pruned": self.distance_to_pruned,
        }

    def plain(self) -> dict[str, Any]:
        """For a file; ``CutEffect(**plain)`` reads it back."""
        return asdict(self)


COLUMNS = ("cut_before", "cut_after", "cut_recalibrated", "norm_drop", "distance_to_pruned")


class CutWatch:
    """Measures the cuts of a run.

    Args:
        session: whose scheduler cuts.

    Attributes:
        effects: of every epoch with a cut, in order.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.effects: list[CutEffect] = []
        self._noted = 0
        """Cuts of the scheduler that were measured, or are not to be."""
        self._last: Evaluation | None = None
        self._around: tuple[Evaluation | None, Evaluation | None, Evaluation | None] = (None, None, None)

    def start(self, dense: Evaluation | None) -> None:
        """What the network can do now; None if it was not measured. Cuts that were made are past."""
        self._last = dense
        self._noted = len(self.session.scheduler.cuts)

    def begun(self, epoch: int) -> None:
        """Measure after cuts at the beginning of an epoch, when the masks of its first step are in place."""
        self._around = (None, None, None)
        goes_back = self._goes_back(lambda own: own.at(Progress(epoch)))
        if any(not cut.is_end and not cut.step for cut in self._cuts(epoch)):
            self._around = (self._last, None, None) if goes_back else self._measured()

    def ended(self, epoch: int, evaluation: Evaluation | None) -> CutEffect | None:
        """Note the epoch's last cut, after the scheduler's ``on_epoch_end``.

        Args:
            evaluation: of the epoch, which comes before cuts at its end.
        """
        self._last = evaluation
        cuts = self._cuts(epoch)
        self._noted = len(self.session.scheduler.cuts)
        if not cuts:
            return None
        last = [cut for cut in cuts if (cut.step, cut.is_end) == (cuts[-1].step, cuts[-1].is_end)]
        if last[0].is_end:
            self._around = self._measured()
            self._last = self._around[1]
        if last[0].is_end and self._goes_back(lambda own: own.at_end(Progress(epoch))):
            self._around = (evaluation, None, None)
        elif last[0].step:
            self._around = (None, None, None)
        self.effects.append(self._effect(last))
        return self.effects[-1]

    def poured(self, epoch: int) -> Mapping[str, Any]:
        """Note cuts that an average of several networks was made with, which has no accuracy before them."""
        cuts = self._cuts(epoch)
        self._noted = len(self.session.scheduler.cuts)
        if not cuts:
            return {}
        self._around = (None, None, None)
        self.effects.append(replace(self._effect(cuts), step=None))
        return self.effects[-1].columns()

    def _goes_back(self, falls_here: Callable[[Occasions], object]) -> bool:
        """Whether other weights came in with a cut, whose accuracy says nothing of it.

        Args:
            falls_here: whether one of a policy's instants is at the moment of the cut.
        """
        policies = [policy for policy in self.session.scheduler.policies if isinstance(policy, RewindPolicy)]
        return any(policy.replaces_weights and falls_here(policy.own) for policy in policies)

    def _cuts(self, epoch: int) -> list[Cut]:
        return [cut for cut in self.session.scheduler.cuts[self._noted :] if cut.epoch == epoch]

    def _effect(self, cuts: list[Cut]) -> CutEffect:
        impact: Impact = joint([cut.impact for cut in cuts])
        before, after, recalibrated = (None if one is None else one.top1 for one in self._around)
        return CutEffect(
            epoch=cuts[0].epoch,
            step=cuts[0].step,
            sparsity=sum(cut.removed for cut in cuts) / sum(cut.weights for cut in cuts),
            before=before,
            after=after,
            recalibrated=recalibrated,
            norm_drop=impact.norm_drop,
            distance_to_pruned=impact.distance_to_pruned,
        )

    def _measured(self) -> tuple[Evaluation | None, Evaluation | None, Evaluation | None]:
        session, batches = self.session, self.session.settings.recalibrate
        with session.aside():
            after = session.evaluate("validation")
            if not batches or after is None:
                return self._last, after, None
            session.recalibrate_(batches)
            return self._last, after, session.evaluate("validation")

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "effects": [effect.plain() for effect in self.effects],
            "last": None if self._last is None else self._last.plain(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave, after the session's state."""
        self._noted = len(self.session.scheduler.cuts)
        self.effects = [CutEffect(**effect) for effect in state["effects"]]
        self._last = None if state["last"] is None else Evaluation(**state["last"])
