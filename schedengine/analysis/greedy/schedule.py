"""What a search chose -> a schedule that a run takes as it is."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import pandas

from schedengine.analysis.greedy.search import levels
from schedengine.errors import SchedEngineError

_WIDTH = 118
Levels = Mapping[tuple[str, ...], tuple[int, int]]


def schedule_text(
    table: pandas.DataFrame,
    name: str,
    shape: Sequence[int],
    *,
    criterion: str = "magnitude",
    epochs: int = 10,
    file: str = "schedule.yaml",
    images: str = "",
) -> str:
    """Write the schedule: one cut at the start to what was chosen, thinned at once, then fine-tuning.

    The cut removes the filters that the search removed, where it starts from the same weights.

    Args:
        table: of the search, finished.
        name: of the model, for the commands in the comments.
        shape: of one input, without the batch.
        criterion: of the search, as a schedule writes it.
        epochs: of fine-tuning.
        file: what the schedule's file will be called, for the commands in the comments.
        images: what accuracy was measured on, in words.

    Returns:
        YAML text that ``load_schedule`` reads and that binds to the model.

    Raises:
        SchedEngineError: no epochs, or the search removed nothing.
    """
    chosen = levels(table)
    if not chosen:
        raise SchedEngineError("the search removed nothing, so there is no schedule to write; choose a lower target")
    if epochs < 1:
        raise SchedEngineError(f"--epochs {epochs}: too few to fine-tune; give 1 or more")
    alone: Levels = {names: kept for names, kept in chosen.items() if len(names) == 1}
    sets = {names: kept for names, kept in chosen.items() if len(names) > 1}
    pruners = [*(["greedy"] if alone else []), *(f"joined_{number}" for number in range(1, len(sets) + 1))]
    lines = [
        *_head(table, name, file, images),
        "version: 2",
        "",
        f"phases: [{{name: tune, epochs: {epochs}}}]  # the cut comes before it",
        "",
        "pruners:",
        *(_alone(alone, criterion) if alone else []),
        *(line for number, names in enumerate(sets, 1) for line in _joined(number, names, sets[names], criterion)),
        "",
        "lr_schedulers:",
        "  retrain: {class: linear, to: 0.0, warmup: 10%}  # from the optimizer's rate (--lr) down; per step",
        "",
        "policies:",
        *(f"  - {{pruner: {pruner}, at: start}}" for pruner in pruners),
        f"  - {{thin: {{what: filters, input: {list(shape)}}}, at: start}}  # they are removed physically",
        "  - {lr_scheduler: retrain, during: tune}",
    ]
    return "\n".join(lines) + "\n"


def _head(table: pandas.DataFrame, name: str, file: str, images: str) -> Iterator[str]:
    dense, last = table.iloc[0], table[table["chosen"] == 1].iloc[-1]
    yield from _comment(
        f"Filters found by a greedy search of {name}: {last['iteration']} rounds, {len(table)} networks measured"
        f"{f' on {images}' if images else ''}."
    )
    yield from _comment(
        f"It leaves {last['macs']:,} of {dense['macs']:,} multiply-accumulates ({last['macs_share']:.4f}) and "
        f"{last['parameters']:,} of {dense['parameters']:,} parameters; top-1 there {dense['top1']:.2f} % before, "
        f"{last['top1']:.2f} % after."
    )
    yield "#"
    yield "# For the trained weights that were searched, and a small learning rate; WEIGHTS and DATA are yours to fill."
    yield f"# run: schedengine train --schedule {file} --model {name} --weights WEIGHTS --data DATA --lr 0.01 \\"
    yield "#        --out runs/greedy"


def _alone(alone: Levels, criterion: str) -> Iterator[str]:
    yield "  greedy:"
    yield f"    criterion: {criterion}"
    yield "    granularity: filter"
    yield "    sparsity: {ramp: constant}"
    yield "    allocation:  # fraction of each layer's filters to remove; what is not named keeps its own"
    entries = {names[0]: f"      {json.dumps(names[0])}: {_level(kept)}" for names, kept in alone.items()}
    wide = max(map(len, entries.values()))
    for name, entry in entries.items():
        filters, dense = alone[name,]
        yield f"{entry.ljust(wide)}  # {filters} of {dense} stay"


def _joined(number: int, names: Sequence[str], kept: tuple[int, int], criterion: str) -> Iterator[str]:
    yield f"  joined_{number}:  # added up, so that all lose the same filters"
    yield "    parameters:"
    yield from (f"      - {json.dumps(name)}" for name in names)
    yield f"    criterion: {criterion}"
    yield "    granularity: filter"
    yield "    allocation: uniform"
    yield "    together: joined"
    yield f"    sparsity: {_level(kept)}  # {kept[0]} of {kept[1]} stay"


def _level(kept: tuple[int, int]) -> str:
    """Exact enough for the rounding of a cut to come out at the same count."""
    filters, dense = kept
    return f"{1 - filters / dense:.6g}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
