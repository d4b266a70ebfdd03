"""A suggestion -> a schedule that a run takes as it is."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator

from schedengine.analysis.sensitivity.suggest import Suggestion
from schedengine.errors import SchedEngineError
from schedengine.selection import normalise

_WIDTH = 118


def schedule_text(
    suggestion: Suggestion, name: str, epochs: int, file: str, granularity: str = "", criterion: str = ""
) -> str:
    """Write the schedule; the arguments are those of ``Suggestion.schedule``."""
    if not suggestion.levels:
        raise SchedEngineError(
            "the suggestion removes nothing beyond what is 0 already, so there is no schedule to write; ask for more"
        )
    if epochs < 2:
        raise SchedEngineError(f"--epochs {epochs}: too few for the phases (prune, tune); give 2 or more")
    axes = {
        "criterion": criterion or suggestion.sweep["criterion"],
        "granularity": granularity or suggestion.sweep["granularity"],
    }
    for axis, value in axes.items():
        if not value:
            raise SchedEngineError(f"the table does not say with which {axis} was swept; say it ({axis}=...)")
    cuts = math.ceil(epochs / 2)
    return "\n".join([
        *_head(suggestion, name, file),
        "version: 2",
        "",
        f"phases:  # {epochs} epochs in all",
        f"  - {{name: prune, epochs: {cuts}}}  # a cut at the start of each",
        f"  - {{name: tune, epochs: {epochs - cuts}}}  # recover from the last ones",
        "",
        "pruners:",
        "  suggested:",
        *(f"    {axis}: {value}" for axis, value in axes.items()),
        "    sparsity: {ramp: cubic}  # fast at first, slow at the end; to the levels below",
        "    allocation:  # fraction of each parameter to remove; what is not named keeps its weights",
        *_levels(suggestion),
        "",
        "lr_schedulers:",
        "  retrain: {class: linear, to: 0.0, warmup: 10%}  # from the optimizer's rate (--lr) down; per step",
        "",
        "policies:",
        "  - {pruner: suggested, during: prune}",
        "  - {lr_scheduler: retrain, during: run}",
    ]) + "\n"  # fmt: skip


def _head(suggestion: Suggestion, name: str, file: str) -> Iterator[str]:
    images = suggestion.sweep["images"] or "an unknown number of"
    swept = f"{len(suggestion.sizes)} parameters pruned one at a time, on {images} images"
    yield from _comment(f"Levels suggested by a sensitivity sweep of {name}: {swept}.")
    for line in suggestion.said:
        yield from _comment(line)
    yield "#"
    yield "# For the trained weights that were swept, and a small learning rate; WEIGHTS and DATA are yours to fill in."
    yield f"# run: schedengine train --schedule {file} --model {name} --weights WEIGHTS --data DATA --lr 0.01 \\"
    yield "#        --out runs/suggested"


def _levels(suggestion: Suggestion) -> Iterator[str]:
    entries = [f"      {json.dumps(normalise(name))}: {level:g}" for name, level in suggestion.levels.items()]
    wide = max(map(len, entries))
    for entry, name in zip(entries, suggestion.levels):
        size = suggestion.sizes[name]
        yield f"{entry.ljust(wide)}  # of {size:,.0f} weights" if math.isfinite(size) else entry


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
