"""The tables at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schedengine.reports.tables import fraction, percent, show_table

MOST_CUTS = 10
"""Rows of the table of cuts."""

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedengine.export.thinned import Thinned
    from schedengine.training.cuts import CutEffect
    from schedengine.training.evaluate import Evaluation
    from schedengine.training.report import Pruned, Report
    from schedengine.training.soup_report import SoupScores


def show_result(result: Report, folder: Path) -> None:
    """Print what was pruned, and what it cost."""
    pruned = [one for one in result.pruned if not one.holds_back]
    if pruned:
        show_table(
            "Pruned",
            ["pruner", "parameters", "weights", "cuts", "zeros", "target", "achieved"],
            [_pruned(one) for one in pruned],
            "target, achieved: fraction removed of the weights that the pruner selected; zeros: counted at the end\n"
            f"of all {result.weights:,} Conv and Linear weights, and whatever else pruners selected, "
            f"{fraction(result.sparsity_all)} are 0{' or were removed' if result.thinned else ''}",
        )
    if result.thinned:
        show_table(
            "Thinned",
            ["epoch", "parameters\nbefore", "parameters\nafter", "after / before", "outputs\ndiffer by"],
            [_thinned(one) for one in result.thinned],
            "parameters: of the whole model; outputs: of the thinned network and the masked one on random inputs, as\n"
            "a fraction of the largest; removed weights (channels that went with another layer's filters too) count\n"
            "as zeros above; `schedengine export` measures speed",
        )
    if result.cuts:
        with_batch_norms = any(one.recalibrated is not None for one in result.cuts)
        columns = ["top-1\nbefore", "top-1\nright after", *["top-1\nrecalibrated"] * with_batch_norms]
        show_table(
            "Cuts",
            ["epoch", "sparsity", *columns, "stability", "norm\ndrop", "distance\nto pruned"],
            [_cut(one, with_batch_norms) for one in _shown(result.cuts)],
            "\n".join(_cut_notes(result, with_batch_norms)),
        )
    if result.soups:
        _show_soups(result.soups, folder)
    before = result.before or {}
    show_table(
        "Accuracy",
        ["split", "images", "top-1\nbefore", "top-1\nafter", "change\n(points)", "top-5\nafter", "loss\nafter"],
        [_scores(split, before.get(split), after) for split, after in result.after.items() if after is not None],
        "\n".join(_notes(result, folder)),
    )


def _pruned(one: Pruned) -> list[str]:
    counts = [f"{one.parameters}", f"{one.weights:,}", f"{one.cuts}", f"{one.zeros:,}"]
    released = ", released" if one.released else ""
    target = "for a step" if one.lasts_a_step else f"{fraction(one.target)}{released}"
    return [one.pruner, *counts, target, fraction(one.achieved)]


def _thinned(one: Thinned) -> list[str]:
    epoch = f"{one.epoch}, step {one.step}" if one.step else f"{one.epoch}{', end' if one.is_end else ''}"
    before, after = one.parameters
    return [epoch, f"{before:,}", f"{after:,}", f"{after / before:.3f}", f"{one.difference:.1e}"]


def _shown(cuts: Sequence[CutEffect]) -> list[CutEffect]:
    """The first and the last ones, if they are many."""
    return [*cuts] if len(cuts) <= MOST_CUTS else [*cuts[: MOST_CUTS // 2], *cuts[-MOST_CUTS // 2 :]]


def _cut(one: CutEffect, with_batch_norms: bool) -> list[str]:
    epoch = f"{one.epoch}, step {one.step}" if one.step else f"{one.epoch}"
    accuracy = [percent(one.before), percent(one.after), *[percent(one.recalibrated)] * with_batch_norms]
    norms = [fraction(one.norm_drop), fraction(one.distance_to_pruned)]
    return [epoch, fraction(one.sparsity), *accuracy, fraction(one.stability), *norms]


def _cut_notes(result: Report, with_batch_norms: bool) -> list[str]:
    notes = [
        "top-1: on validation; right after: with the batch norms it has then; stability: right after / before",
        "norm drop: sqrt(before^2 - after^2) / before, L2 norm of all parameters; distance to pruned: L2 norm of what",
        "went of the selected weights / of all of them",
    ]
    if len(result.cuts) > MOST_CUTS:
        notes.append(f"{MOST_CUTS} of {len(result.cuts)} epochs with cuts; all of them are in metrics.csv")
    if any(one.is_repruned for one in result.soups):
        notes.append("cuts of each replica (masks: reprune) are in metrics.csv; that of their average is not measured")
    if result.dense_training:
        notes.append(f"learning rates of the retraining are made from a dense training of {result.dense_training}")
    if any(one.after is None for one in result.cuts):
        notes.append("-: not measured: no validation images, a cut within an epoch, or weights rewound with the cut")
    if with_batch_norms:
        notes.append("recalibrated: with batch-norm statistics of the pruned network, measured on the side")
    return notes


def _show_soups(soups: Sequence[SoupScores], folder: Path) -> None:
    rows = [_soup(one) for one in soups]
    headers = [header for header in rows[0] if any(row[header] != "-" for row in rows)]
    cells = [[row[header] for header in headers] for row in rows]
    show_table("Soups", headers, cells, "\n".join(_soup_notes(soups, folder)))


def _soup(one: SoupScores) -> dict[str, str]:
    """Header -> cell; a dash where a split is missing."""
    averaged = f"{len(one.chosen)} of {len(one.candidates)}{', cut back' * one.is_repruned}"
    names = {"phase": one.title, "epoch": f"{one.epoch}", "averaged": averaged}
    cells = {**names, "sparsity": fraction(one.sparsity)}
    for split, short in (("validation", "valid."), ("test", "test")):
        found = one.soup.get(split)
        top1 = {"mean": one.mean(split), "best": one.best(split), "soup": None if found is None else found.top1}
        cells |= {f"{short}\n{name}": "-" if value is None else f"{value:.2f}" for name, value in top1.items()}
    gains = {f"over\n{name}": _gain(top1["soup"], top1[name]) for name in ("mean", "best")}  # on test, the last
    return {**cells, **gains}


def _gain(top1: float | None, other: float | None) -> str:
    return "-" if top1 is None or other is None else f"{round(top1 - other, 2) + 0.0:+.2f}"  # no "-0.00"


def _soup_notes(soups: Sequence[SoupScores], folder: Path) -> list[str]:
    return [
        "epoch: the last one of the phase, counted from 0; averaged: networks, of those trained",
        "sparsity: fraction removed of the weights selected by pruners; valid., test: top-1 in % on these images",
        "over mean, over best: what the soup gains on test, in points",
        "mean: of all candidates; their batch norms are estimated anew as the soup's are, unless the phase says none",
        "best: the candidate that is best on validation; without validation images there is none",
        "soup: the average that training went on with",
        f"`schedengine soup {folder / 'soups' / soups[-1].title}` measures more:",
        "the prediction ensemble, corrupted images (--corrupted), loss barriers (--figure)",
    ]


def _scores(split: str, before: Evaluation | None, after: Evaluation) -> list[str]:
    change = "-" if before is None else f"{after.top1 - before.top1:+.2f}"
    top1 = [percent(None if before is None else before.top1), percent(after.top1)]
    return [split, f"{after.samples:,}", *top1, change, percent(after.top5), f"{after.loss:.4f}"]


def _notes(result: Report, folder: Path) -> list[str]:
    notes = [f"before: the dense model, {result.before_note}"] if result.before else []
    notes.append(f"after: the final weights, {folder / 'model.safetensors'}")
    best = result.best
    if best is not None and best.top1 is not None:
        notes.append(
            f"best epoch at sparsity {best.sparsity:.3f}: {best.epoch} (counted from 0), "
            f"top-1 {percent(best.top1)} on validation, {folder / best.file}"
        )
    return notes
