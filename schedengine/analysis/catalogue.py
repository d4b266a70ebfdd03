"""What can be named: in a schedule's file (with arguments, defaults and papers), and on the command line.

The reference page, ``docs/yaml.md``, is made from the same entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import pandas

from schedengine.analysis.methods import METHODS
from schedengine.criteria import CRITERIA
from schedengine.errors import SchedEngineError
from schedengine.granularity import GRANULARITIES
from schedengine.lr import LR_SCHEDULES
from schedengine.policies.recalibration import Recalibrate
from schedengine.policies.rewind import Rewind
from schedengine.policies.thinning import Thin
from schedengine.pruners import PRUNED, THRESHOLDS, UPDATES
from schedengine.pruners.pruner import Pruner
from schedengine.registry import Registry
from schedengine.regularizers import PENALTIES, STRENGTHS
from schedengine.regularizers import THRESHOLDS as GROUP_THRESHOLDS
from schedengine.regularizers.regularizer import Regularizer
from schedengine.schedule.describe import describe
from schedengine.schedule.document import Earlier, Phase, Policy
from schedengine.schedule.fields import REQUIRED, Field, fields_of
from schedengine.schedule.writer import component_to_plain, plain
from schedengine.sparsity import ALLOCATIONS, RAMPS

NEEDED = "needed"
"""Stands in a table where a key has no default."""


@dataclass(frozen=True)
class Argument:
    """A key that goes with a name.

    Args:
        key: as the file writes it.
        default: as the file would write it; None where the key is needed.
        meaning: with units and ranges.
    """

    key: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class Entry:
    """A name, and what it stands for.

    Args:
        name: as it is written.
        meaning: in a sentence.
        source: where the idea comes from; empty for none.
        arguments: in the order of the class.
        default: of a name that is a key itself; ``needed`` where there is none, empty for any other name.
    """

    name: str
    meaning: str
    source: str = ""
    arguments: tuple[Argument, ...] = ()
    default: str = ""


def entries(registry: Registry) -> list[Entry]:
    """Every member of a registry, plugins' included, in its order."""
    return [_entry(name, registry.get(name)) for name in registry.names()]


def arguments(cls: type) -> tuple[Argument, ...]:
    """The keys of a class that a file can write."""
    said = describe(cls)
    return tuple(
        Argument(field.key, _default(field), said.args.get(field.key, "") or _type(field))
        for field in fields_of(cls).values()
    )


def list_names(kind: str) -> pandas.DataFrame:
    """Everything of one kind that can be named.

    Args:
        kind: a key of ``KINDS``.

    Returns:
        ``name``, ``argument``, ``default``, ``meaning``, ``source``: a row for each name (``argument`` is empty), and
        one for each key that goes with it; ``default`` is ``needed`` where a key has none.

    Raises:
        SchedEngineError: no such kind; the message has all of them.

    Example:
        >>> list_names("penalties")["name"].tolist()
        ['l1', 'l2', 'group_lasso', 'group_variance']
    """
    if kind not in KINDS:
        raise SchedEngineError(f"unknown kind {kind!r}; kinds: {', '.join(KINDS)}")
    rows = [row for entry in KINDS[kind]() for row in _rows(entry)]
    return pandas.DataFrame(rows, columns=["name", "argument", "default", "meaning", "source"])


def _rows(entry: Entry) -> Iterator[tuple[str, str, str, str, str]]:
    yield entry.name, "", entry.default, _bare(entry.meaning), _bare(entry.source)
    for one in entry.arguments:
        yield entry.name, one.key, one.default or NEEDED, _bare(one.meaning), ""


def _bare(text: str) -> str:
    """Without the marks of code, and with the names of a file instead of Python's."""
    return text.replace("``from_``", "from").replace("``", "")


def _entry(name: str, cls: type) -> Entry:
    said = describe(cls)
    return Entry(name, said.summary, said.reference, arguments(cls))


def _keys(cls: type) -> Callable[[], Iterable[Entry]]:
    """The keys of a section's instances, each as a name."""

    def build() -> list[Entry]:
        found = arguments(cls)
        return [Entry(one.key, one.meaning, default=one.default or NEEDED) for one in found]

    return build


def _models() -> list[Entry]:
    from torchvision import models  # type: ignore[import-untyped]

    from schedengine.zoo.detection import detectors
    from schedengine.zoo.inputs import usual_shape
    from schedengine.zoo.models import MODELS

    def taking(name: str) -> str:
        return "takes " + ("x".join(map(str, usual_shape(name) or ())) or "words")

    ours = [Entry(name, f"ships; {taking(name)}") for name in MODELS]
    theirs = [Entry(name, f"torchvision's; {taking(name)}") for name in models.list_models(module=models)]
    boxes = [Entry(name, "torchvision's; takes images with boxes: not for train and evaluate") for name in detectors()]
    own = Entry("package.module:factory", "your own: a function that returns a torch.nn.Module")
    return [*ours, *theirs, *boxes, own]


def _data() -> list[Entry]:
    from schedengine.zoo.torchvision_sets import SETS

    ours = [
        Entry("digits", "ships: 1,797 images of handwritten digits, 1x8x8, 10 classes"),
        Entry("fake", "noise, 3x32x32 or --image-size, 10 classes; to try whether things run"),
        Entry("imagefolder:PATH", "a folder of pictures, a folder for each class"),
    ]
    theirs = [Entry(name, "torchvision's; --root is its folder, --download fetches it") for name in SETS]
    return [*ours, *theirs, Entry("package.module:factory", "your own: a function that returns Datasets")]


def _methods() -> list[Entry]:
    return [Entry(name, method.title, method.source) for name, method in METHODS.items()]


KINDS: dict[str, Callable[[], Iterable[Entry]]] = {
    "pruners": _keys(Pruner),
    "criteria": lambda: entries(CRITERIA),
    "granularities": lambda: entries(GRANULARITIES),
    "allocations": lambda: entries(ALLOCATIONS),
    "ramps": lambda: entries(RAMPS),
    "thresholds": lambda: entries(THRESHOLDS),
    "updates": lambda: entries(UPDATES),
    "pruned": lambda: entries(PRUNED),
    "regularizers": _keys(Regularizer),
    "penalties": lambda: entries(PENALTIES),
    "group_thresholds": lambda: entries(GROUP_THRESHOLDS),
    "strengths": lambda: entries(STRENGTHS),
    "lr": lambda: entries(LR_SCHEDULES),
    "phases": _keys(Phase),
    "policies": _keys(Policy),
    "rewind": _keys(Rewind),
    "thin": _keys(Thin),
    "recalibrate": _keys(Recalibrate),
    "trace": _keys(Earlier),
    "models": _models,
    "data": _data,
    "methods": _methods,
}
"""What can be listed: the sections and axes of a file, what ``--model`` and ``--data`` take, what ``init`` drafts."""


def _default(field: Field) -> str | None:
    value = field.default
    if value is REQUIRED:
        return None
    if field.component is not None and value is not None and not isinstance(value, dict):
        value = component_to_plain(field.component, value)
    if value is None or value == ():
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(plain(value))


def _type(field: Field) -> str:
    """What a key without a description holds: torch's own classes describe theirs."""
    annotation: Any = field.annotation
    while get_args(annotation) and not isinstance(annotation, type):
        annotation = get_args(annotation)[0]
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}.get(
        getattr(annotation, "__name__", ""), "see torch's documentation"
    )
