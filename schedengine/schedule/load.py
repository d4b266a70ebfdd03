"""A path, a text or a dict -> a Schedule; every problem of the file at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedengine.errors import Problem, ScheduleError, ScheduleWarning, did_you_mean
from schedengine.schedule import distiller
from schedengine.schedule.document import KINDS, REFERENCES, Policy, Schedule
from schedengine.schedule.fields import fields_of
from schedengine.schedule.forking import check_replicas
from schedengine.schedule.plan import check_phases, check_windows
from schedengine.schedule.reader import FAILED, Reader, show
from schedengine.schedule.retraining import check_retraining
from schedengine.schedule.source import Node, Source, join, read, to_text
from schedengine.schedule.writer import to_plain

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from schedengine.export.forward import Inputs
    from schedengine.scheduler import PruningScheduler

SECTIONS = {key: entry for key, entry in fields_of(Schedule).items() if key not in ("marks", "notes")}
"""The sections of a version 2 file, beside ``version``."""


_UNREAD = Policy(pruner="a policy that cannot be read", at="start")  # type: ignore[arg-type]  # as a file writes it
_WHEN = ("starting_epoch", "ending_epoch", "frequency", "epochs")
_INSTEAD = {
    "policies": "{pruner: NAME, during: run, from: 0, until: 30, every: 2}",
    "pruners": "the axes, as in {criterion: magnitude, sparsity: 0.9}",
    "regularizers": "as in {penalty: l1, strength: 0.001}",
}


def load_schedule(document: str | Path | Mapping[str, Any]) -> Schedule:
    """Read and validate a schedule. Needs no model.

    Args:
        document: a path, the YAML text itself (it has a line break or a ``key: value``), or a dict.

    Returns:
        The schedule. What is legal but doubtful is warned of, and kept in its ``notes``.

    Raises:
        ScheduleError: everything that is wrong with it, each with its place.

    Example:
        >>> schedule = load_schedule('''
        ... version: 2
        ... pruners: {once: {sparsity: 0.5}}
        ... policies: [{pruner: once, at: start}]
        ... ''')
        >>> schedule.pruners["once"].sparsity.at(1, 1)
        0.5
    """
    source = read(document)
    problems: list[Problem] = []
    notes: list[Problem] = []
    root, is_first = _dialect(source, problems, notes)
    if is_first:
        root = distiller.rewrite(root, problems, notes)
    schedule = _build(root, problems)
    wrong = check_phases(schedule)
    problems += wrong or [*check_windows(schedule), *check_retraining(schedule), *check_replicas(schedule)]
    if problems:
        raise ScheduleError(sorted(problems, key=lambda one: (one.mark is None, one.mark or 0, one.path)))
    notes += _unused(schedule)
    for note in notes:
        warnings.warn(str(note), ScheduleWarning, stacklevel=2)
    object.__setattr__(schedule, "notes", tuple(notes))
    return schedule


def dump(schedule: Schedule) -> str:
    """A schedule as version 2 text: ``load_schedule(dump(schedule)) == schedule``."""
    return to_text({"version": 2, **to_document(schedule)})


def to_document(schedule: Schedule) -> dict[str, Any]:
    """A schedule as the plain mapping that its text would hold, without the version."""
    written = {key: value for key, value in to_plain(schedule).items() if key in SECTIONS}
    return {**written, "policies": written.get("policies", [])}


def _dialect(source: Source, problems: list[Problem], notes: list[Problem]) -> tuple[Node, bool]:
    """The tree without its version, and whether it is Distiller's."""
    root = source.root
    if not root.is_mapping:
        raise ScheduleError([root.problem(f"must be a mapping of sections (got {show(root.plain())})")])
    version = root.value.pop("version", None)
    if version is None:
        notes.append(root.problem("has no version; read as version 1, Distiller's. Write 'version: 1' or 'version: 2'"))
    elif version.value not in (1, 2) or isinstance(version.value, bool):
        raise ScheduleError([version.problem(f"must be 1 (Distiller's) or 2 (got {show(version.plain())})")])
    is_first = version is None or version.value == 1
    for duplicate in source.duplicates:
        if is_first:
            message = duplicate.message.replace("the last one would win: remove or rename one", "the last one wins")
            notes.append(Problem(message, duplicate.path, duplicate.mark))
        else:
            problems.append(duplicate)
    return root, is_first


def _build(root: Node, problems: list[Problem]) -> Schedule:
    """What could be read, so that problems of the rest show before the first mistake is repaired."""
    reader = Reader()
    values: dict[str, Any] = {}
    for key, node in root.value.items():
        if key not in SECTIONS:
            what = did_you_mean(key, ["version", *SECTIONS])
            reader.problems.append(root.problem(f"unknown section; {what}", key=key))
        elif node.value is None:
            reader.problems.append(root.problem("the section is empty; fill it or remove it", key=key))
        else:
            reader.said += _foreign(key, node, reader.problems)
            values[key] = reader.field(SECTIONS[key], node)
    if "policies" not in root.value:
        reader.problems.append(root.problem("needs 'policies': what acts, and when"))
    reader.problems += _check_references(root, values.get("policies"))
    problems += reader.problems
    return Schedule(**_readable(values), marks=dict(_marks(root)))


def _readable(values: dict[str, Any]) -> dict[str, Any]:
    values = {key: value for key, value in values.items() if value is not FAILED}
    if FAILED in values.get("phases", ()):  # nothing can be said of when
        values = {key: value for key, value in values.items() if key not in ("phases", "policies")}
    for key, value in values.items():
        if isinstance(value, dict):
            values[key] = {name: part for name, part in value.items() if part is not FAILED}
        elif isinstance(value, tuple):
            values[key] = tuple(_UNREAD if part is FAILED else part for part in value)
    return values


def _marks(node: Node, path: str = "") -> list[tuple[str, Any]]:
    """By the path in this tree, which is not a node's own where a version 1 policy became several."""
    children = node.value.items() if node.is_mapping else enumerate(node.value) if node.is_list else ()
    found = [(path, node.mark)] if node.mark is not None else []
    return found + [entry for key, child in children for entry in _marks(child, join(path, key))]


def _foreign(section: str, node: Node, problems: list[Problem]) -> list[Node]:
    """The parts of a section in Distiller's dialect: said once for each, instead of key by key."""
    parts = list(node.value.values()) if node.is_mapping else node.value if node.is_list else []
    words = {"policies": _WHEN, "pruners": ("class",), "regularizers": ("class",)}.get(section, ())
    found = []
    for part in parts:
        key = next((word for word in words if part.child(word) is not None), None)
        if key is not None:
            what = f"{key!r} belongs to version 1, Distiller's dialect; write 'version: 1', or the version 2 form"
            problems.append(part.problem(f"{what}: {_INSTEAD[section]}", key=key))
            found.append(part)
    return found


def _check_references(root: Node, policies: Any) -> list[Problem]:
    """Instances that no section defines, of all policies that could be read, whatever else is wrong with the file."""
    problems = []
    for number, policy in enumerate(policies if isinstance(policies, tuple) else ()):
        if policy is FAILED or policy.kind not in REFERENCES:
            continue
        section = root.child(REFERENCES[policy.kind])
        instances = section.value if section is not None and section.is_mapping else {}
        if policy.instance not in instances:
            kind = REFERENCES[policy.kind].removesuffix("s")
            message = f"there is no {kind} {policy.instance!r} in {REFERENCES[policy.kind]!r}"
            place = root.value["policies"].value[number].value[policy.kind]
            problems.append(place.problem(f"{message}; {did_you_mean(policy.instance, instances)}"))
    return problems


def _unused(schedule: Schedule) -> list[Problem]:
    used = {(policy.kind, policy.instance) for policy in schedule.policies}
    return [
        schedule.problem(f"{section}.{name}", f"the {kind} is defined and no policy uses it")
        for kind, section in KINDS.items()
        for name in getattr(schedule, section)
        if (kind, name) not in used
    ]


def file_config(
    model: nn.Module,
    optimizer: Optimizer | None,
    filename: str | Path,
    scheduler: PruningScheduler | None = None,
    resumed_epoch: int | None = None,
    *,
    epochs: int | None = None,
    example_inputs: Inputs | None = None,
    data: Iterable[Any] | None = None,
) -> PruningScheduler:
    """Distiller's entry point: load a file and bind it.

    Args:
        scheduler: whose masks are taken over, as Distiller does when it resumes, and the learning rates of its dense
            training.
        resumed_epoch: the last epoch that was finished; ``epochs()`` goes on after it. Rates need no help: they are
            functions of the epoch.
        epochs: length of the run, for a file without phases.
        example_inputs, data: see ``Schedule.bind``; a model's ``input_shape``, as Distiller's have, does too.
    """
    trace = None if scheduler is None else scheduler.trace
    bound = load_schedule(filename).bind(
        model, optimizer, epochs=epochs, trace=trace, example_inputs=example_inputs, data=data
    )
    bound.take_over_(scheduler, resumed_epoch)
    return bound
