"""Epochs as a policy of version 1 writes them: a window with a frequency, or a list."""

from __future__ import annotations

from schedengine.errors import Problem
from schedengine.schedule.reader import show
from schedengine.schedule.source import Node

WINDOW = ("starting_epoch", "ending_epoch", "frequency")
When = range | list[int]
"""A window, with its frequency as step, or single epochs."""


def when(policy: Node, problems: list[Problem]) -> When | None:
    """Its epochs; None, and a problem, if they cannot be read."""
    if "epochs" not in policy.value:
        return _window(policy, problems)
    keys = [key for key in WINDOW if key in policy.value]
    if keys:
        problems.append(policy.problem(f"'epochs' and {keys[0]!r} exclude each other; remove one", key="epochs"))
        return None
    return _epochs(policy.value["epochs"], problems)


def whole(node: Node, problems: list[Problem]) -> int | None:
    """A number of epochs or steps; None, and a problem, if it is none."""
    if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value >= 0:
        return node.value
    problems.append(node.problem(f"must be a whole number, zero or more (got {show(node.plain())})"))
    return None


def _window(policy: Node, problems: list[Problem]) -> range | None:
    missing = [key for key in WINDOW if key not in policy.value]
    if missing:
        problems.append(policy.problem(f"needs {', '.join(missing)}, or 'epochs'"))
        return None
    start, stop, every = (whole(policy.value[key], problems) for key in WINDOW)
    if start is None or stop is None or every is None:
        return None
    if start >= stop:
        message = f"the window is empty: it begins at epoch {start} and ends before epoch {stop}"
        problems.append(policy.problem(message, key="ending_epoch"))
        return None
    if not 0 < every <= stop - start:
        message = f"must be at least 1 and at most the window's {stop - start} epochs (got {every})"
        problems.append(policy.problem(message, key="frequency"))
        return None
    return range(start, stop, every)


def _epochs(node: Node, problems: list[Problem]) -> list[int] | None:
    if not node.is_list or not node.value:
        problems.append(node.problem(f"must be a list of epochs (got {show(node.plain())})"))
        return None
    epochs = [whole(child, problems) for child in node.value]
    found = sorted({epoch for epoch in epochs if epoch is not None})
    return None if None in epochs else found
