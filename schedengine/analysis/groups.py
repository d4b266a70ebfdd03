"""Which runs differ only by seed, and what to call them: by what they differ in from the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schedengine.errors import SchedEngineError
from schedengine.training.settings import Settings

Described = tuple[str, Mapping[str, Any], str]
"""A run's name, its settings (empty where unknown), and its schedule's text."""
Key = tuple[str, int]
"""What a group has in common, and how many runs of its first seed came before."""
_WITHOUT_EFFECT = {"seed", "schedule", "root", "download", "workers"}
"""Settings that tell no groups apart: the schedule's text does, not its path."""
_MOST_DIFFERENCES = 3


def group_names(runs: Sequence[Described], labels: Sequence[str] = ()) -> list[str]:
    """The group of each run: the same for runs of one schedule text and the same settings except the seed.

    A second run with a seed that its group has already is a repetition and no further evidence: it is a group of its
    own, and its name says so. A run without settings (a table) is a group of its own.

    Args:
        runs: in order.
        labels: names for the groups, in the order of their first runs; empty: what they differ in (the schedule's name,
            settings), else the folders' names.

    Raises:
        SchedEngineError: another number of labels than groups.
    """
    keys = _keys(runs)
    distinct = list(dict.fromkeys(keys))
    firsts = [runs[keys.index(key)] for key in distinct]
    names = _checked(labels, firsts) if labels else _unlike(firsts, [repeats for _, repeats in distinct])
    return [names[distinct.index(key)] for key in keys]


def _keys(runs: Sequence[Described]) -> list[Key]:
    seen: Counter[tuple[str, Any]] = Counter()
    keys = []
    for name, settings, schedule in runs:
        common = json.dumps([schedule, _effective(settings)], sort_keys=True) if settings else name
        keys.append((common, seen[common, settings.get("seed")]))
        seen[common, settings.get("seed")] += 1
    return keys


def _effective(settings: Mapping[str, Any]) -> dict[str, Any]:
    """With the defaults of settings that a run of an earlier release did not know."""
    try:
        plain = Settings.from_plain(settings).plain()
    except SchedEngineError:
        plain = dict(settings)  # of a later release, or written by hand
    return {name: value for name, value in plain.items() if name not in _WITHOUT_EFFECT}


def _checked(labels: Sequence[str], firsts: Sequence[Described]) -> list[str]:
    if len(labels) != len(firsts) or len(set(labels)) != len(labels):
        found = ", ".join(name for name, _, _ in firsts)
        raise SchedEngineError(
            f"--label {', '.join(labels)}: each group of runs needs one, all different; groups: {len(firsts)}, in this "
            f"order, by their first runs: {found}"
        )
    return list(labels)


def _unlike(firsts: Sequence[Described], repeats: Sequence[int]) -> list[str]:
    again = [f" (seed {settings.get('seed')} again)" * (times > 0) for (_, settings, _), times in zip(firsts, repeats)]
    said = [words + more for words, more in zip(_differences(firsts), again)]
    return [words if said.count(words) == 1 else name + more for words, more, (name, _, _) in zip(said, again, firsts)]


def _differences(firsts: Sequence[Described]) -> list[str]:
    plain = [_effective(settings) if settings else {} for _, settings, _ in firsts]
    known = [one for one in plain if one]
    keys = [key for key in (known[0] if known else {}) if len({json.dumps(one.get(key)) for one in known}) > 1]
    is_one_schedule = len({schedule for _, settings, schedule in firsts if settings}) == 1
    if len(keys) > _MOST_DIFFERENCES:
        return [name for name, _, _ in firsts]
    return [
        _words(settings, one, keys, with_schedule=not is_one_schedule or not keys) if one else name
        for (name, settings, _), one in zip(firsts, plain)
    ]


def _words(settings: Mapping[str, Any], plain: Mapping[str, Any], keys: Sequence[str], *, with_schedule: bool) -> str:
    schedule = [Path(str(settings.get("schedule", ""))).stem] if with_schedule else []
    return ", ".join([*schedule, *(_word(key, plain.get(key)) for key in keys)])


def _word(key: str, value: Any) -> str:
    """Example: ``lr 0.1``, ``augment``, ``no augment``, ``model resnet20_cifar``."""
    words = key.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if value is None or value == []:
        return f"no {words}"
    return f"{words} {Path(value).name if key == 'weights' else value}"
