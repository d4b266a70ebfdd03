"""A version 1 file as version 2 text."""

from __future__ import annotations

import copy
from pathlib import Path

from schedengine.errors import ScheduleError
from schedengine.schedule import distiller
from schedengine.schedule.convert.comments import Pieces, runs
from schedengine.schedule.convert.layout import written
from schedengine.schedule.convert.places import find_places, sort_
from schedengine.schedule.load import load_schedule
from schedengine.schedule.source import Node, read


def convert(document: str | Path) -> str:
    """A version 1 schedule, Distiller's, as the version 2 text that does the same, with all its comments.

    What the file says keeps its order; after it stand the axes that Distiller's class decides. A comment stays above or
    beside its key; one beside a key that is gone moves above what that key was part of.

    Args:
        document: a path, or the YAML text itself (it has a line break or a ``key: value``).

    Returns:
        The text; ``load_schedule`` reads the same schedule from it.

    Raises:
        ScheduleError: the file is version 2 already, or everything that is wrong with it.

    Example:
        >>> print(convert('''
        ... version: 1
        ... lr_schedulers:
        ...   steps: {class: StepLR, step_size: 45, gamma: 0.1}  # three times
        ... policies:
        ...   - lr_scheduler: {instance_name: steps}
        ...     starting_epoch: 0
        ...     ending_epoch: 180  # exclusive
        ...     frequency: 1
        ... '''), end="")
        version: 2
        effects: warn
        <BLANKLINE>
        lr_schedulers:
          steps: {class: StepLR, step_size: 45, gamma: 0.1}  # three times
        <BLANKLINE>
        policies:
          - lr_scheduler: steps
            clock: run
            during: run
            from: 1
            until: 181  # exclusive
            every: 1
    """
    source = read(document)
    version = source.root.child("version")
    if version is not None and version.value == 2:
        raise ScheduleError([version.problem("is version 2 already; only version 1, Distiller's, is converted")])
    load_schedule(document)  # says what is wrong or doubtful
    new = _rewritten(source.root)
    places = find_places(source.root, new)
    sort_(new, places)
    pieces = Pieces(source, places)
    text = written(new, [note for run in runs(source) for note in pieces.attach(run)])
    assert read(text).root.plain() == new.plain(), "the text reads as another schedule"
    return text


def _rewritten(root: Node) -> Node:
    old = copy.deepcopy(root)
    old.value.pop("version", None)
    new = distiller.rewrite(old, [], [])
    new.value = {"version": Node(2), **new.value}
    return new
