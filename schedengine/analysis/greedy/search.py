"""The rounds of a greedy search; the model, its data and the disk are the caller's."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import pandas
from torch import Tensor, nn

from schedengine.analysis.greedy.candidates import Candidate, Ranking, candidates_of, remaining
from schedengine.analysis.macs import multiply_accumulates
from schedengine.errors import CheckpointError, EffectWarning, SchedEngineError
from schedengine.export.apply import shrink_
from schedengine.export.check import check
from schedengine.export.forward import private_copy
from schedengine.export.graph import dimensions
from schedengine.export.thin import Thinning, assemble, plan
from schedengine.selection import ParameterTable

Measure = Callable[[nn.Module], tuple[float, float, float]]
"""A network, in evaluation mode -> its top-1 and top-5 in per cent, and its loss."""
Tune = Callable[[nn.Module, str], None]
"""Trains a network in place; the text names the trial, for seeds."""
Rule = Literal["loss_per_mac", "top1"]
"""See ``greedy``."""
_SHOWN = 3
WHOLE = "*"
"""What the dense network is called in the table: as in that of a sensitivity sweep."""


@dataclass(frozen=True)
class Row:
    """One network that was measured.

    Args:
        iteration: of the search, from 1; 0 is the dense network.
        layers: weights that lose filters in it, separated by spaces.
        filters: that each of these layers has then; of the dense network those of all candidates.
        dense_filters: the same in the dense network.
        macs: multiply-accumulates of one example, of the whole network.
        macs_share: of those of the dense network.
        parameters: of the whole network.
        top1, top5: per cent.
        loss: as measured.
        chosen: 1 in the row that its iteration went on with.
    """

    iteration: int
    layers: str
    filters: int
    dense_filters: int
    macs: int
    macs_share: float
    parameters: int
    top1: float
    top5: float
    loss: float
    chosen: int = 0


COLUMNS = tuple(field.name for field in fields(Row))
Price = Callable[[Row, Row], tuple[float, ...]]
"""A row, and the one that its round started from -> what is to be smallest."""


def greedy(
    model: nn.Module,
    inputs: Sequence[Tensor],
    measure: Measure,
    *,
    target: float = 0.5,
    step: float = 0.1,
    least: float = 0.1,
    criterion: str | Mapping[str, object] = "magnitude",
    parameters: Sequence[str] | None = None,
    by: Rule = "top1",
    tune: Tune | None = None,
    known: pandas.DataFrame | None = None,
    watch: Callable[[pandas.DataFrame], None] = lambda table: None,
) -> pandas.DataFrame:
    """Remove filters in rounds until the network needs no more than a share of its multiply-accumulates.

    In a round every candidate (filters that go together) loses one more step in a copy of the network, which is thinned
    and measured; the best copy is what the next round starts from. Which filters go is decided by the dense weights, as
    in one cut of a schedule: without ``tune``, a network is given by how many filters each layer has.

    Args:
        model: dense or thinned before; stays as it is.
        inputs: one example of everything that it takes, (1, ...), on its device.
        measure: network -> top-1, top-5, loss.
        target: share of the dense network's multiply-accumulates to come down to, in (0, 1).
        step: share of a layer's dense filters that goes at a time, in (0, 1); rounded, one filter at least.
        least: share of a layer's dense filters that stays, in [0, 1); one filter always does.
        criterion: as a schedule writes it; one that needs no more than weights.
        parameters: names or globs of weights; None for all Conv and Linear weights.
        by: ``loss_per_mac``: the smallest rise of the loss per multiply-accumulate saved; where it does not rise, the
            most saved. ``top1``: Distiller's order, the highest top-1, then top-5, then the lowest loss; what a step
            saves does not count there, so steps that save little go first.
        tune: trains each copy before it is measured; the best one as it is then goes on.
        known: rows that an interrupted search has measured; they are taken as they are.
        watch: told of all rows so far after every measurement.

    Returns:
        A row for each network that was measured, the columns of ``Row``.

    Raises:
        SchedEngineError: a number out of range, a target that cannot be reached, nothing to prune, or a network that
            cannot be thinned.
        ModelError: the network does not take the inputs.
        CheckpointError: the known rows are of another search.
    """
    _check(target, step, least)
    search = _Search(model, inputs, measure, step, least, criterion, parameters, tune, known, watch)
    search.check_reach(target)
    return search.run(target, _price if by == "loss_per_mac" else _by_top1)


def levels(table: pandas.DataFrame) -> dict[tuple[str, ...], tuple[int, int]]:
    """What a search chose, in the model's order.

    Returns:
        Weights that go together -> filters that each of them keeps, and that it has in the dense network.
    """
    chosen = table[(table["chosen"] == 1) & (table["iteration"] > 0)]
    last = {row["layers"]: (int(row["filters"]), int(row["dense_filters"])) for _, row in chosen.iterrows()}
    # The first round has a row for each candidate.
    return {tuple(layers.split(" ")): last[layers] for layers in table["layers"].unique() if layers in last}


def _check(target: float, step: float, least: float) -> None:
    wrong = [
        f"{name} {value:g}: a share between 0 and 1"
        for name, value, is_right in (
            ("target", target, 0 < target < 1),
            ("step", step, 0 < step < 1),
            ("least", least, 0 <= least < 1),
        )
        if not is_right
    ]
    if wrong:
        raise SchedEngineError("\n".join(wrong))


def _price(row: Row, before: Row) -> tuple[float, ...]:
    """Rise of the loss per multiply-accumulate saved; a loss that falls is no bargain on few images, but costs 0."""
    saved = before.macs - row.macs
    rise = max(0.0, row.loss - before.loss) if math.isfinite(row.loss) else math.inf
    return rise / saved if saved > 0 else math.inf, -saved


def _by_top1(row: Row, before: Row) -> tuple[float, ...]:
    del before
    return -row.top1, -row.top5, row.loss if math.isfinite(row.loss) else math.inf


def _check_alive(network: nn.Module, pair: Sequence[Tensor]) -> None:
    """Filters that are dead already would go with the first thinning, whatever the search chose."""
    dead = plan(network, pair, what="filters")
    if dead:
        raise SchedEngineError(
            f"the network has filters that are zero already ({_shrinking(dead)}); remove them first, with `schedengine "
            "export --thin --what filters`, and search what that writes"
        )


def _warn_of_dead(network: nn.Module, pair: Sequence[Tensor]) -> None:
    """Where single weights are 0, a filter can be left without inputs by what went before it."""
    dead = plan(network, pair, what="filters")
    if dead:
        warnings.warn(
            f"what was removed leaves other filters dead, which a schedule's thinning removes too: {_shrinking(dead)}",
            EffectWarning,
            stacklevel=3,
        )


def _shrinking(thinning: Thinning) -> str:
    sizes = {one.name: (one.before[0], one.after[0]) for one in thinning.slices if len(one.before) > 1}
    shown = [f"{name} {before} to {after}" for name, (before, after) in sizes.items() if after < before]
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")


@dataclass(frozen=True)
class _Trial:
    """A candidate that lost a step, and its network where it was made (a known row needs none)."""

    candidate: Candidate
    row: Row
    network: nn.Module | None


class _Search:
    """A search that is going on; see ``greedy``."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Sequence[Tensor],
        measure: Measure,
        step: float,
        least: float,
        criterion: str | Mapping[str, object],
        parameters: Sequence[str] | None,
        tune: Tune | None,
        known: pandas.DataFrame | None,
        watch: Callable[[pandas.DataFrame], None],
    ) -> None:
        self.inputs, self.measure, self.tune, self.watch = inputs, measure, tune, watch
        self.step, self.least = step, least
        self.network = private_copy(model)
        pair = tuple(one.expand(2, *one.shape[1:]).clone() for one in inputs)  # statistics over one value need two
        self.found = dimensions(self.network, pair)
        self.candidates, _ = candidates_of(self.network, self.found, parameters)
        _check_alive(self.network, pair)
        self.pair = pair
        check(self.network, pair, [name for one in self.candidates for name in one.names])
        self.ranking = Ranking(ParameterTable(copy.deepcopy(self.network)), criterion)
        self.gone = dict.fromkeys(self.candidates, 0)
        self.now = self.found
        self.macs = self._macs(self.network)
        self.rows: list[Row] = []
        self.known = _known(known)

    def run(self, target: float, price: Price) -> pandas.DataFrame:
        filters = sum(one.size for one in self.candidates)
        current = self._row(0, WHOLE, filters, filters, self.network)
        self._choose(current)
        while current.macs > target * self.macs:
            best = self._best(current, price)
            self._take(best)
            current = best.row
            self._choose(current)
        _warn_of_dead(self.network, self.pair)
        return self._table()

    def check_reach(self, target: float) -> None:
        """Whether the target can be reached at all, before anything is measured.

        Raises:
            SchedEngineError: it cannot; says how far down it goes.
        """
        smallest = copy.deepcopy(self.network)
        most = {one.place: self.ranking.first(one, one.most(self.least)) for one in self.candidates}
        shrink_(smallest, assemble(smallest, [(self.found[place], going, []) for place, going in most.items()]))
        share = self._macs(smallest) / self.macs
        if share > target:
            raise SchedEngineError(
                f"a target of {target:g} of the multiply-accumulates: with the fewest filters that may stay "
                f"(a share of {self.least:g}) {share:.4f} of them remain; choose a higher target, or let fewer stay"
            )

    def _best(self, current: Row, price: Price) -> _Trial:
        """One round; of equal candidates the first."""
        best: _Trial | None = None
        for candidate in self.candidates:
            if self._next(candidate) == self.gone[candidate]:
                continue
            trial = self._trial(current.iteration + 1, candidate)
            if best is None or price(trial.row, current) < price(best.row, current):
                best = trial
        assert best is not None  # as check_reach found
        return best

    def _next(self, candidate: Candidate) -> int:
        """How many of its filters are gone after one more step."""
        return min(self.gone[candidate] + candidate.stride(self.step), candidate.most(self.least))

    def _trial(self, iteration: int, candidate: Candidate) -> _Trial:
        filters, is_known = candidate.size - self._next(candidate), (iteration, candidate.layers) in self.known
        network = None if is_known else self._made(iteration, candidate)
        row = self._row(iteration, candidate.layers, filters, candidate.size, network)
        return _Trial(candidate, row, network)

    def _made(self, iteration: int, candidate: Candidate) -> nn.Module:
        """The network of this round after one more step of a candidate."""
        network, dimension = copy.deepcopy(self.network), self.now[candidate.place]
        gone = set(self.ranking.first(candidate, self.gone[candidate]))
        going = set(self.ranking.first(candidate, self._next(candidate)))
        stays = [filter_ for filter_ in range(candidate.size) if filter_ not in gone]
        positions = [position for position, filter_ in enumerate(stays) if filter_ in going]
        shrink_(network, assemble(network, [(dimension, positions, [])]))
        if self.tune is not None:
            self.tune(network, f"{iteration}/{candidate.layers}")
        return network.eval()

    def _take(self, trial: _Trial) -> None:
        """Go on with it; the best of known rows is made again."""
        network = trial.network
        self.network = self._made(trial.row.iteration, trial.candidate) if network is None else network
        self.gone[trial.candidate] = self._next(trial.candidate)
        self.now = remaining(
            self.found, {one.place: self.ranking.first(one, count) for one, count in self.gone.items()}
        )

    def _row(self, iteration: int, layers: str, filters: int, dense: int, network: nn.Module | None) -> Row:
        """What a network is measured to be, or was."""
        row = self.known.get((iteration, layers))
        if row is None:
            assert network is not None
            macs, parameters = self._macs(network), sum(one.numel() for one in network.parameters())
            top1, top5, loss = map(float, self.measure(network))
            row = Row(iteration, layers, filters, dense, macs, macs / self.macs, parameters, top1, top5, loss)
        if (row.filters, row.dense_filters) != (filters, dense):
            raise CheckpointError(
                f"iteration {iteration}, {layers}: the known row has {row.filters} of {row.dense_filters} filters, "
                f"this search {filters} of {dense}; it is of another one"
            )
        self.rows.append(row)
        self.watch(self._table())
        return row

    def _choose(self, row: Row) -> None:
        self.rows[self.rows.index(row)] = replace(row, chosen=1)
        self.watch(self._table())

    def _macs(self, network: nn.Module) -> int:
        return sum(multiply_accumulates(network, self.inputs).values())

    def _table(self) -> pandas.DataFrame:
        return pandas.DataFrame([asdict(row) for row in self.rows], columns=COLUMNS)


def _known(table: pandas.DataFrame | None) -> dict[tuple[int, str], Row]:
    """Rows by what they are of. Which was chosen follows from them."""
    if table is None:
        return {}
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise CheckpointError(f"the known rows have no column {', '.join(missing)}; they are of no greedy search")
    records: list[dict[str, Any]] = table[[*COLUMNS]].to_dict("records")  # type: ignore[assignment]
    rows = [Row(**{**record, "chosen": 0}) for record in records]
    return {(row.iteration, row.layers): row for row in rows}
