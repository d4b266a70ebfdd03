"""What no schedule can promise: a sparsity that is learned, and what is computed from data that are not seen here."""

from __future__ import annotations

from collections.abc import Iterator

from schedengine.schedule.document import Schedule


def open_ended(schedule: Schedule) -> Iterator[tuple[str, str]]:
    """Path in the schedule, and what is open there."""
    used = {policy.instance for policy in schedule.policies if policy.kind == "pruner"}
    for name, pruner in schedule.pruners.items():
        if name not in used:
            continue
        if pruner.is_learned:
            word = pruner.treatment
            yield (
                f"pruners.{name}",
                f"{word} is learned, so that its sparsity cannot be set, only steered; `schedengine tune` finds the "
                "value that leads to a target",
            )
        first = pruner.update.criterion(pruner.criterion, is_first=True)
        if first is not pruner.criterion and first.takes:
            yield f"pruners.{name}.update", f"its first cut takes {first.takes}"
        if pruner.criterion.takes and not pruner.is_edit:
            yield f"pruners.{name}.criterion", f"its criterion takes {pruner.criterion.takes} at every cut"
