"""The tables at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schedengine.reports.tables import fraction, percent, show_table

if TYPE_CHECKING:
    from schedengine.training.evaluate import Evaluation
    from schedengine.training.report import Pruned, Report


def show_result(result: Report, folder: Path) -> None:
    """Print what was pruned, and what it cost."""
    if result.pruned:
        show_table(
            "Pruned",
            ["pruner", "parameters", "weights", "cuts", "zeros", "target", "achieved"],
            [_pruned(one) for one in result.pruned],
            "target, achieved: fraction removed of the weights that the pruner selected; zeros: counted at the end\n"
            f"of all {result.weights:,} Conv and Linear weights, and whatever else pruners selected, "
            f"{fraction(result.sparsity_all)} are 0",
        )
    before = result.before or {}
    show_table(
        "Accuracy",
        ["split", "images", "top-1\nbefore", "top-1\nafter", "change\n(points)", "top-5\nafter", "loss\nafter"],
        [_scores(split, before.get(split), after) for split, after in result.after.items() if after is not None],
        "\n".join(_notes(result, folder)),
    )


def _pruned(one: Pruned) -> list[str]:
    counts = [f"{one.parameters}", f"{one.weights:,}", f"{one.cuts}", f"{one.zeros:,}"]
    return [one.pruner, *counts, fraction(one.target), fraction(one.achieved)]


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
