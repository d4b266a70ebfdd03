"""Writes docs/yaml.md and schedules/schedule.schema.json from the classes that a schedule can name: `make docs`.

A test fails while one of them is out of date.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from schedengine import regularizers
from schedengine.analysis.catalogue import arguments, entries
from schedengine.criteria import CRITERIA
from schedengine.granularity import GRANULARITIES
from schedengine.lr import LR_SCHEDULES
from schedengine.policies.recalibration import Recalibrate
from schedengine.policies.rewind import Rewind
from schedengine.policies.thinning import Thin
from schedengine.pruners import PRUNED, THRESHOLDS, UPDATES
from schedengine.pruners.pruner import Pruner
from schedengine.registry import Registry
from schedengine.regularizers import PENALTIES, STRENGTHS
from schedengine.regularizers.regularizer import Regularizer
from schedengine.schedule import distiller
from schedengine.schedule.document import Earlier, Phase, Policy
from schedengine.schedule.json_schema import json_schema
from schedengine.sparsity import ALLOCATIONS, RAMPS

PAGE = Path(__file__).parent / "yaml.md"
SCHEMA = Path(__file__).parent.parent / "schedules" / "schedule.schema.json"
SECTIONS: list[tuple[str, str, type, list[Registry]]] = [
    ("phases", "Stretches of the run, in order.", Phase, []),
    (
        "pruners",
        "Instances by name. One of `sparsity` and `threshold` is needed, but for `{keep: [N, M]}`.",
        Pruner,
        [CRITERIA, GRANULARITIES, ALLOCATIONS, RAMPS, THRESHOLDS, UPDATES, PRUNED],
    ),
    ("regularizers", "Instances by name.", Regularizer, [PENALTIES, STRENGTHS, regularizers.THRESHOLDS]),
    ("policies", "In the order in which they act at one instant.", Policy, []),
    ("rewind", "Of a policy: `{rewind: {weights: 2, clock: 2}, at: cycle}`. One of its keys or more.", Rewind, []),
    ("thin", "Of a policy: `{thin: filters, at: tune}`, or with its keys `{thin: {what: all}, at: tune}`.", Thin, []),
    (
        "recalibrate",
        "Of a policy: `{recalibrate: {batches: 50}, at: cycle}`, or `{recalibrate: all, at: cycle}`.",
        Recalibrate,
        [],
    ),
    (
        "trace",
        "How the weights were trained before this run, for the retraining rates (FT, LRW, SLR, CLR, LLR, ALLR,\n"
        "LayerwiseALLR). Not needed where they carry their own record of it (those of `schedengine train` do), or "
        "where\nthis run trains before its first cut.",
        Earlier,
        [],
    ),
]


def page() -> str:
    """The whole page."""
    return "\n".join(_lines()).replace("``", "`").replace("from_`", "from`") + "\n"


def schema() -> str:
    """The JSON Schema's text, as `schedengine schema` prints it."""
    return json.dumps(json_schema(), indent=2) + "\n"


def _lines() -> Iterator[str]:
    yield "# YAML reference"
    yield ""
    yield "Generated from the code by `make docs`. Version 2 is ours; [version 1](#version-1) is Distiller's."
    yield "Scalars are those of YAML 1.2: `1e-4` is a number, `off` a string. A name that begins with `*` is quoted."
    yield "`schedengine schema` prints all of this as a JSON Schema for editors."
    for name, text, cls, registries in SECTIONS:
        yield from ("", f"## `{name}:`", "", text, "")
        yield from _table(cls)
        for registry in registries:
            yield from _registry(registry)
    yield from ("", "## `lr_schedulers:`", "", "Instances by name; `class` names one of these.")
    yield from _registry(LR_SCHEDULES)
    yield from ("", "## `effects:`", "")
    yield "`error` (default) or `warn`: what becomes of an effect that misses: a cut that removed another count than it"
    yield "should, a mask that did not hold, a pruner that never cut."
    yield from _version_1()


def _registry(registry: Registry) -> Iterator[str]:
    yield from ("", f"### {registry.kind}", "")
    for entry in entries(registry):
        source = f" *{entry.source}*" if entry.source else ""
        yield f"- **`{entry.name}`** {entry.meaning}{source}"
        for one in entry.arguments:
            default = " (needed)" if one.default is None else f" = `{one.default}`"
            yield f"  - `{one.key}`{default}: {one.meaning}"


def _table(cls: type) -> Iterator[str]:
    yield "| key | default | meaning |"
    yield "|---|---|---|"
    for one in arguments(cls):
        default = "**needed**" if one.default is None else f"`{one.default}`"
        yield f"| `{one.key}` | {default} | {one.meaning.replace('|', '/')} |"


def _version_1() -> Iterator[str]:
    yield from ("", "## Version 1", "")
    yield from ("Distiller's own files run as they are; [what becomes of its classes](from_distiller.md).", "")
    yield "| section | classes |"
    yield "|---|---|"
    for section, rows in (
        ("pruners", distiller.PRUNERS),
        ("regularizers", distiller.REGULARIZERS),
        ("extensions", distiller.EXTENSIONS),
    ):
        yield f"| `{section}` | {', '.join(f'`{name}`' for name in rows)} |"
    yield "| `lr_schedulers` | every class above with a capital letter; `PolynomialLR` is Distiller's |"
    yield "| `quantizers` | not yet: an error with the line |"


if __name__ == "__main__":
    PAGE.write_text(page())
    SCHEMA.write_text(schema())
