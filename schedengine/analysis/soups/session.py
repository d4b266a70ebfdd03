"""A soup as the command line asks for it: an average, and what it is compared with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas
from torch import nn

from schedengine.analysis.soups.calibration import Calibration
from schedengine.analysis.soups.corruption import measure_corrupted
from schedengine.analysis.soups.distances import measure_distances
from schedengine.analysis.soups.line import barriers, walk_lines
from schedengine.analysis.soups.members import ENSEMBLE, SOUP
from schedengine.analysis.soups.opened import Opened, open_members
from schedengine.analysis.soups.pot import Change, Pot
from schedengine.analysis.soups.reprune import counts_of, cutter
from schedengine.analysis.soups.request import Request
from schedengine.analysis.soups.scores import measure_together
from schedengine.analysis.soups.table import Measured, tabulate
from schedengine.analysis.soups.words import calibrated, notes
from schedengine.export.pruned import HEADER, manifest
from schedengine.lr.trace import NOTE
from schedengine.training.evaluate import Evaluation
from schedengine.zoo.splits import SplitName
from schedengine.zoo.weights import read_notes, save_weights

SOUP_NOTE = "soup"
"""Key of the note, in JSON, that the file of an average has in its header."""


@dataclass(frozen=True)
class Soup:
    """An average, and what was measured.

    Args:
        network: the average.
        chosen: names of the members in it.
        table: see ``tabulate``.
        pairs: see ``measure_distances``; with the columns of ``barriers`` where lines were measured.
        angles_from: in words, between what the angles are.
        notes: lines that say how the numbers came about.
        calibrated: where batch-norm statistics come from.
        header: for the file of its weights.
        lines: see ``walk_lines``, on the test images; None if they were not asked for.
        corrupted: see ``measure_corrupted``; None likewise.
    """

    network: nn.Module
    chosen: list[str]
    table: pandas.DataFrame
    pairs: pandas.DataFrame
    angles_from: str
    notes: list[str]
    calibrated: str
    header: Mapping[str, str]
    lines: pandas.DataFrame | None = None
    corrupted: pandas.DataFrame | None = None

    def save(self, path: Path) -> None:
        """Write the average as safetensors; every ``--weights`` reads it."""
        save_weights(self.network, path, self.header)


def cook(request: Request, *, with_lines: bool = False) -> Soup:
    """Average networks, and measure the average beside them.

    Args:
        with_lines: also measure along the lines between pairs of members.

    Raises:
        SchedEngineError: whatever does not exist, does not fit together, or cannot be averaged.

    Example, of a finished run::

        soup = cook(Request((Path("runs/sms/soups/cycle-3"),)))
        soup.table[["network", "test_top1", "sparsity"]]
    """
    opened = open_members(request)
    pairs = measure_distances(opened.networks, opened.parent)
    cuts = [cutter(opened.networks, request.allocation, request.sparsity)] if request.reprune else list[Change]()
    calibration = opened.calibration(request.recalibrate)
    calibrate: list[Change] = [] if calibration is None else [calibration]
    for network in opened.networks.values() if calibrate else ():
        calibrate[0](network)
    pot = Pot([*opened.networks.values()], [*cuts, *calibrate])
    numbers = request.recipe.choose(
        len(opened.networks), lambda some: opened.evaluate(pot.mix(some), "validation").metrics()
    )
    chosen, soup = [[*opened.networks][number] for number in numbers], pot.mix(numbers)
    lines = _lines(opened, calibration) if with_lines else None
    spoiled = _corrupted(opened, soup) if request.corrupted else None
    return Soup(
        network=soup,
        chosen=chosen,
        table=_table(request, opened, soup, chosen, spoiled),
        pairs=pairs if lines is None else pairs.merge(barriers(lines), on=["first", "second"], how="left"),
        angles_from=_angles(opened),
        notes=notes(request, opened, calibration, chosen),
        calibrated=calibrated(opened, calibration),
        header=_header(request, opened, calibration, soup, chosen),
        lines=lines,
        corrupted=spoiled,
    )


def _lines(opened: Opened, calibration: Calibration | None) -> pandas.DataFrame:
    finish: Change = calibration or (lambda network: None)
    return walk_lines(opened.networks, lambda network: opened.evaluate(network, "test"), finish=finish)


def _corrupted(opened: Opened, soup: nn.Module) -> pandas.DataFrame:
    networks, count = {**opened.networks, SOUP: soup}, len(opened.networks)
    return measure_corrupted(networks, count, ENSEMBLE, opened.data, opened.settled.batch_size, opened.compute)


def _table(
    request: Request, opened: Opened, soup: nn.Module, chosen: Sequence[str], spoiled: pandas.DataFrame | None
) -> pandas.DataFrame:
    splits: list[SplitName] = ["test"] if opened.unvalidated else ["validation", "test"]
    names, count = [*opened.networks, SOUP, ENSEMBLE], len(opened.networks)
    found: dict[str, dict[str, Evaluation]] = {name: {} for name in names}
    for split in splits:
        networks = [*opened.networks.values(), soup]
        each, joint = measure_together(networks, count, opened.loader(split), opened.compute)
        for name, one in zip(names, [*each, joint], strict=True):
            found[name][split] = one
    zeros = {name: counts_of(network) for name, network in {**opened.networks, SOUP: soup}.items()}
    zeros[ENSEMBLE] = [one for name in opened.networks for one in zeros[name]]
    means = {} if spoiled is None else spoiled.groupby("network")["top1"].mean().to_dict()
    cut_back = ", cut back" if request.reprune else ""
    titles = {
        SOUP: f"soup ({request.method}, {len(chosen)} of {count}{cut_back})",
        ENSEMBLE: f"prediction ensemble ({count} networks)",
    }
    *members, mixed, joint_one = (
        Measured(titles.get(name, name), found[name], zeros[name], means.get(name, math.nan)) for name in names
    )
    return tabulate(members, mixed, joint_one, request.metric)


def _angles(opened: Opened) -> str:
    if opened.parent is None:
        return "between the members, seen from 0, since what they began with is not known"
    return f"between their ways from {opened.members.parent}, without weights that are 0 in all members"


def _header(
    request: Request, opened: Opened, calibration: Calibration | None, soup: nn.Module, chosen: Sequence[str]
) -> dict[str, str]:
    """How the average was made, and the members' own notes as far as all agree."""
    headers = [read_notes(member.path) for member in opened.members.members]
    made = {
        "members": list(opened.networks),
        "method": request.method,
        "metric": request.metric if request.method == "greedy" else None,
        "chosen": list(chosen),
        "recalibrated_batches": 0 if calibration is None else calibration.batches,
        "batch_size": opened.settled.batch_size,
        "repruned": request.allocation if request.reprune else None,
    }
    found = {SOUP_NOTE: json.dumps(made)}
    traces = {one.get(NOTE) for one in headers}
    if len(traces) == 1 and None not in traces:
        found[NOTE] = headers[0][NOTE]
    if any(HEADER in one for one in headers):
        found[HEADER] = json.dumps(manifest(soup))
    return found
