"""Model, data and how they are read: as the user says, else as the members' runs had them, else the usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schedengine.errors import SchedEngineError
from schedengine.training.settings import Settings, option

_READING = ("workers", "download", "seed")
"""What runs may differ in: it changes no number, or is told of (see ``Settled.seeds``)."""


@dataclass(frozen=True)
class Settled:
    """What is settled; each as for a run.

    Args:
        seeds: of the members' runs, where they differ and none was given: each held out other validation images.
        is_of_runs: whether every member's run held out the validation images of this seed and share.
    """

    model: str
    data: str
    batch_size: int
    validation: float
    seed: int
    root: str | None
    download: bool
    image_size: int | None
    workers: int
    augment: bool
    classes: int | None
    plugin: tuple[str, ...]
    seeds: tuple[int, ...]
    is_of_runs: bool


NAMES = (
    "model",
    "data",
    "batch_size",
    "validation",
    "seed",
    "root",
    "download",
    "image_size",
    "workers",
    "augment",
    "classes",
    "plugin",
)
"""What a user may give."""


def settle(given: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], members: int) -> Settled:
    """Decide.

    Args:
        given: by name, of ``NAMES``; None, or absent, for what the user did not say.
        runs: settings of the runs that members come from.
        members: how many there are, of runs or not.

    Raises:
        SchedEngineError: no model, or runs differ in something that the user does not say.
    """
    said = {name: value for name, value in given.items() if value is not None}
    had = {name: _different(runs, name) for name in NAMES if name not in said}
    wrong = [
        f"{option(name)}: the runs differ in it ({' and '.join(str(value) for value in values)}); say which to take"
        for name, values in had.items()
        if len(values) > 1 and name not in _READING
    ]
    if wrong:
        raise SchedEngineError("\n".join(wrong))
    usual = {name: getattr(Settings, name, None) for name in NAMES}
    values = {**usual, **{name: found[0] for name, found in had.items() if found}, **said}
    if values["model"] is None:
        raise SchedEngineError("--model: files of weights do not say what network they are of; give its name")
    seeds = had.get("seed", [])
    is_of_runs = len(runs) == members and all(
        run.get(name, usual[name]) == values[name] for run in runs for name in ("seed", "validation", "data")
    )
    return Settled(
        **{**values, "plugin": tuple(values["plugin"])},
        seeds=tuple(seeds) if len(seeds) > 1 else (),
        is_of_runs=is_of_runs,
    )


def _different(runs: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """The values that runs have, each once."""
    found: list[Any] = []
    for run in runs:
        if name in run and run[name] not in found:
            found.append(run[name])
    return found
