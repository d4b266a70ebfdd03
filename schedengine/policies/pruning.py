"""When a pruner cuts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

from torch import Tensor

from schedengine.criteria.base import Facts
from schedengine.criteria.evidence import Evidence, check_given
from schedengine.errors import SchedEngineError
from schedengine.policies.base import Context, Policy
from schedengine.progress import Moment, Occasion, Occasions, Progress, Window, known
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.choice import Reselection
from schedengine.pruners.cut import Cut
from schedengine.pruners.thresholds import Pace

MOST_CUTS = 10_000
"""How many cuts are remembered: with a cut at every step there is no end to them."""


class PruningPolicy(Policy):
    """Cuts at its own instants; their numbers are counted over all policies of the pruner.

    Where the pruner needs to know more than weights, its layers are watched in the epoch before a cut, or in that which
    the cut lies in.

    Args:
        pruner: shared by all its policies.
        own: this policy's instants.
        every: the instants of all policies of the pruner.
        targets: the instants at which the target moves, where those are fewer (a ramp's ``every``).
        refresh: in an epoch that begins with a cut, cut again (same number, same target) at every step of the run
            that this divides.
        keep_mask: when a window ends, its masks hold for good, whatever the pruner does with pruned weights.
        reselection: shared by all policies of the pruner; default: its own.
    """

    def __init__(
        self,
        pruner: BoundPruner,
        own: Occasions,
        every: Occasions,
        *,
        targets: Occasions | None = None,
        refresh: Moment | None = None,
        keep_mask: bool = False,
        reselection: Reselection | None = None,
    ) -> None:
        self.pruner = pruner
        self.own = own
        self.every = every
        self.targets = targets
        self.refresh = refresh
        self.keep_mask = keep_mask
        self.evidence = Evidence(pruner.names, pruner.needs, pruner.batches)
        self._begins = Occasions.of(window for window in own.windows if not window.is_end)
        self._has_noted = False
        self.reselection = reselection or Reselection(pruner)

    def on_epoch_begin(self, context: Context) -> None:
        if "measured" in self.pruner.needs:
            self._check_given(context)
        if self.own.at(context.progress):
            self._cut(context, context.progress)
        self._look(context)

    def on_minibatch_begin(self, context: Context) -> None:
        progress = context.progress
        if self.own.at(progress):
            self._cut(context, progress)
        elif self.refresh is not None and self._refreshes(progress):
            self._cut(context, Progress(progress.epoch, None, progress.steps_per_epoch))
        self._look(context)

    def before_parameter_optimization(self, context: Context) -> None:
        """Gradients as they are before masks multiply them: those of pruned weights may decide what comes back."""
        if "movement" in self.pruner.needs and not self._is_done(context.progress):
            self.evidence.move_(context.table, {name: context.masks.weight(name) for name in self.pruner.names})
        if self.pruner.needs and self._is_cut_next(context.progress):
            with _copied([context.table[name] for name in self.pruner.names if context.masks.owners(name)]):
                self.evidence.note_(context.table)
            self._has_noted = True

    def on_minibatch_end(self, context: Context) -> None:
        if self.pruner.needs and not self._has_noted and self._is_cut_next(context.progress):
            self.evidence.note_(context.table)  # a loop that left the callback before the update out
        self._has_noted = False
        if self.pruner.spec.lasts == "step":
            context.masks.drop_(self.pruner.name)

    def on_epoch_end(self, context: Context) -> None:
        progress = context.progress
        self.reselection.verify(context.masks)
        if self.own.at_end(progress):
            self._cut(context, progress, is_end=True)
            context.masks.apply_()  # whatever the pruner says: there may be no next step to wait for
        if self.keep_mask and any(self._ends(window, progress) for window in self.own.windows):
            self.pruner.keep_(context.masks)

    def _look(self, context: Context) -> None:
        """Watch the layers from now on, if the next cut comes in this epoch, or as soon as it is over."""
        if self.pruner.needs and self._is_before_cut(context.progress):
            self.evidence.watch_(context.model, context.table)

    def _is_before_cut(self, here: Progress) -> bool:
        steps = here.steps_per_epoch
        if self.own.at_end(here) or (self.refresh is not None and self.own.at(Progress(here.epoch, None, steps))):
            return True
        if steps is None and not all(window.is_epochs for window in self._begins.windows):
            return False  # the first step will tell
        return self._begins.reached(Progress(here.epoch + 1, 0, steps)) > self._begins.reached(here)

    def _is_cut_next(self, here: Progress) -> bool:
        """Whether a cut comes before the next step."""
        assert here.step is not None
        is_last = here.step + 1 == here.steps_per_epoch
        after = replace(here, epoch=here.epoch + is_last, step=0 if is_last else here.step + 1)
        if self._begins.reached(after) > self._begins.reached(here):
            return True
        return (is_last and self.own.at_end(here) is not None) or (self.refresh is not None and self._refreshes(after))

    @staticmethod
    def _ends(window: Window, progress: Progress) -> bool:
        """Whether a window ends in or with this epoch; an instant lasts for its epoch."""
        steps = progress.steps_per_epoch or 1  # unknown before the first step, which nothing in steps comes before
        if window.every is None and not window.is_end:
            return window.start.step(steps) // steps == progress.epoch
        return -(-window.stop.step(steps) // steps) == progress.epoch + 1

    def _refreshes(self, progress: Progress) -> bool:
        assert self.refresh is not None
        if progress.step == 0:  # the beginning of the epoch has just cut
            return False
        stride = max(1, self.refresh.step(known(progress.steps_per_epoch)))
        begin = Progress(progress.epoch, None, progress.steps_per_epoch)
        return progress.moment.steps % stride == 0 and self.own.at(begin) is not None

    def again_(self, context: Context) -> None:
        """Cut anew to the present target, where networks whose masks differ, or are out of date, were averaged."""
        latest = self.every.latest(context.progress)
        if latest is not None:
            self._cut_to(context, latest[0], latest[1], is_end=True)
            context.masks.apply_()

    def _cut(self, context: Context, at: Progress, *, is_end: bool = False) -> None:
        occasion = self.every.at_end(at) if is_end else self.every.at(at)
        assert occasion is not None
        self._cut_to(context, occasion, at, is_end=is_end)

    def _cut_to(self, context: Context, occasion: Occasion, at: Progress, *, is_end: bool) -> None:
        check_tiles(self.pruner, context)
        slow = self.target_number(occasion, at)
        if not context.thinnings and self.reselection.renew_(context.masks, context.table, *slow):
            renumber_(context.cuts, self.pruner.name, occasion.number)
            return
        cut = self.pruner.cut_(
            context.masks,
            context.table,
            context.optimizer,
            context.progress,
            number=occasion.number,
            count=occasion.count,
            target_number=slow[0],
            target_count=slow[1],
            is_end=is_end,
            pace=self.pace(occasion.window, at),
            look=lambda keep: self._facts(context, keep),
        )
        self.evidence.forget_()
        if cut is None:
            return
        self.reselection.note_(context.table, *slow)
        if context.cuts and (context.cuts[-1].pruner, context.cuts[-1].number) == (cut.pruner, cut.number):
            context.cuts.pop()  # a refresh stands for the cut that it repeats
        context.cuts.append(cut)
        del context.cuts[:-MOST_CUTS]

    def _facts(self, context: Context, keep: Mapping[str, Tensor] | None) -> Mapping[str, Facts] | None:
        """What is known now; with masks, of the network without what they remove."""
        with self._telling(context):
            return self.evidence.facts(
                context.model,
                context.table,
                context.example_inputs,
                context.data,
                criterion=self.pruner.criterion(context.masks),
                loss=context.loss_function,
                keep=keep,
            )

    def _check_given(self, context: Context) -> None:
        """Miss what a cut to come will ask for now, not epochs later."""
        if self._is_done(context.progress):
            return
        with self._telling(context):
            criterion = self.pruner.criterion(context.masks)
            check_given(criterion, context.example_inputs, context.data, context.loss_function)

    def _is_done(self, here: Progress) -> bool:
        """Whether no cut of its own comes any more, as far as can be told."""
        steps = here.steps_per_epoch
        if self.refresh is not None or self.own.at_end(here) is not None:
            return False
        is_known = steps is not None or all(window.is_epochs for window in self.own.windows)
        return is_known and self.own.reached(here) == self.own.count(steps)

    @contextmanager
    def _telling(self, context: Context) -> Iterator[None]:
        """Errors say which pruner, and when."""
        try:
            yield
        except SchedEngineError as error:
            where = f"pruner {self.pruner.name!r}, {context.progress.moment}"
            raise type(error)(f"{where}: {error}") from error

    def pace(self, window: Window, at: Progress) -> Pace:
        """Where a cut lies in its window, in epochs; a part of an epoch counts as none, as in Distiller.

        Instants are one window together, from the first of them to the epoch of the last.
        """
        steps = at.steps_per_epoch or 1
        if window.every is None:
            starts = [math.floor(_epochs(one.start, steps)) for one in self.own.windows]
            whole = Window(self.own.windows[0].start, Moment(Fraction(starts[-1] + 1)))
            share = _share(whole, at, is_end=window.is_end)
            return Pace(float(max(0, at.epoch - starts[0])), float(starts[-1] + 1 - starts[0]), share=share)
        start, stop = _epochs(window.start, steps), _epochs(window.stop, steps)
        passed, share = max(0, at.epoch - math.floor(start)), _share(window, at, is_end=window.is_end)
        return Pace(float(passed), float(stop - start), float(_epochs(window.every, steps)), share)

    def target_number(self, occasion: Occasion, at: Progress) -> tuple[int, int]:
        """Which move of the target an instant is at, of how many: that of the cut, unless the ramp moves more slowly.

        The last cut is at the last move, even where the target would have moved again after it.
        """
        if self.targets is None:
            return occasion.number, occasion.count
        moves = self.targets.count(at.steps_per_epoch)
        return moves if occasion.number == occasion.count else self.targets.reached(at), moves

    def state_dict(self) -> dict[str, Any]:
        reselection = self.reselection.state_dict()
        return {**self.pruner.state_dict(), "evidence": self.evidence.state_dict(), "reselection": reselection}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pruner.load_state_dict(state)
        self.evidence.load_state_dict(state["evidence"])
        self.reselection.load_state_dict(state["reselection"])


def check_tiles(pruner: BoundPruner, context: Context) -> None:
    """Whether a pruner's groups still tile what thinning has left: of 8 filters in blocks of 4 it may have taken 1.

    Raises:
        SchedEngineError: they do not.
    """
    for name in pruner.names if context.thinnings else ():
        try:
            pruner.granularity(name).check(tuple(context.table[name].shape))
        except SchedEngineError as error:
            what = f"pruner {pruner.name!r}, {context.progress.moment}: {name}, since it was thinned: {error}"
            raise SchedEngineError(f"{what}; cut before the network is thinned, or remove whole blocks") from error


def renumber_(cuts: list[Cut], pruner: str, number: int) -> None:
    """Let a pruner's last cut stand for one that chose anew at its target."""
    last = max(place for place, cut in enumerate(cuts) if cut.pruner == pruner)
    cuts[last] = replace(cuts[last], number=number)


@contextmanager
def _copied(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Show copies of the gradients, which may be held on to whatever happens to the gradients themselves."""
    gradients = [parameter.grad for parameter in parameters]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = None if gradient is None else gradient.clone()
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def _share(window: Window, at: Progress, *, is_end: bool) -> float:
    """How much of a window has passed, in [0, 1]; what is on whole epochs needs no steps."""
    here = Progress(at.epoch + is_end, None if is_end else at.step, at.steps_per_epoch or 1)
    return min(1.0, max(0.0, window.share(here)))


def _epochs(moment: Moment, steps_per_epoch: int) -> Fraction:
    return moment.epochs + Fraction(moment.steps, steps_per_epoch)
