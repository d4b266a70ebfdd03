"""What a schedule's selectors pick from a model, word by word, and what each parameter gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas

from schedengine.errors import Problem, SchedEngineError, ScheduleError
from schedengine.granularity import oriented
from schedengine.pruners.bound import BoundPruner
from schedengine.pruners.pruner import Pruner
from schedengine.registry import Component
from schedengine.regularizers.regularizer import Regularizer
from schedengine.regularizers.strengths import Strength
from schedengine.schedule.document import Schedule
from schedengine.schedule.fields import fields_of
from schedengine.schedule.writer import component_to_plain, plain
from schedengine.selection import ParameterTable, Selector, lookup
from schedengine.sparsity.ramps import Drawn

Outcome = Callable[[str], tuple[float, float, str]]
"""Parameter -> its target, the instance's total, and what decides."""
COLUMNS = ("parameter", "kind", "name", "selector", "criterion", "granularity", "target", "total", "decided")


@dataclass(frozen=True)
class Selections:
    """What a schedule's instances work on.

    Args:
        rows: a row for each parameter and each pruner or regularizer that a policy uses: ``parameter``, ``kind``,
            ``name`` of the instance, the words of its ``selector`` that match, ``criterion`` (of a regularizer the
            penalty), ``granularity``, ``target`` (fraction of this parameter's weights that the last cut asks to be
            gone, not yet rounded to whole groups; nan where shapes do not decide it), ``total`` (the same of all that
            the instance selects; nan where no ramp says it), ``decided`` (by what; of a regularizer its strength).
        problems: words that match nothing, and whatever else of the selection does not fit the model.
    """

    rows: pandas.DataFrame
    problems: tuple[Problem, ...]


def select(schedule: Schedule, table: ParameterTable) -> Selections:
    """Match a schedule with a model. Needs no values, no optimizer and no length of the run; goes on after a mistake.

    Args:
        schedule: from ``load_schedule``.
        table: of the model, which may be on the meta device.
    """
    used = {(policy.kind, policy.instance) for policy in schedule.policies}
    pruners = [_Instance(schedule, "pruner", spec, name, table) for name, spec in schedule.pruners.items()]
    others = [_Instance(schedule, "regularizer", spec, name, table) for name, spec in schedule.regularizers.items()]
    instances = [one for one in [*pruners, *others] if (one.kind, one.name) in used]
    rows = [row for one in instances for row in one.rows()]
    problems = [problem for one in instances for problem in one.problems]
    return Selections(pandas.DataFrame(rows, columns=list(COLUMNS)), tuple(dict.fromkeys(problems)))


@dataclass
class _Instance:
    schedule: Schedule
    kind: str
    spec: Pruner | Regularizer
    name: str
    table: ParameterTable
    problems: list[Problem] = field(default_factory=list)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each parameter that it picks."""
        matched = self._matched()
        values = self._values(list(matched))
        self._check_shapes(list(matched))
        outcome = self._targets(list(matched), values) if self.kind == "pruner" else self._strengths(values)
        return [
            {
                "parameter": name,
                "kind": self.kind,
                "name": self.name,
                "selector": ", ".join(words),
                "criterion": self._said("criterion" if self.kind == "pruner" else "penalty"),
                "granularity": self._said("granularity"),
                **dict(zip(("target", "total", "decided"), outcome(name), strict=True)),
            }
            for name, words in matched.items()
        ]

    def _matched(self) -> dict[str, list[str]]:
        """Parameter -> the words that match it, in the order of the model."""
        selector = self.spec.selector
        found: dict[str, list[str]] = {}
        for label, key, word in _words(selector):
            for name in self._pick(word, key):
                found.setdefault(name, []).append(label)
        left_out = {name for word in selector.excluded for name in self._pick(Selector(names=(word,)), "except")}
        kept = {name: found[name] for name in self.table.names if name in found and name not in left_out}
        if found and not kept:
            self._add("picks no parameter: everything it matches is also excepted", self._path())
        return kept

    def _pick(self, word: Selector, key: str) -> list[str]:
        try:
            return word.pick(self.table)
        except ScheduleError as error:
            for problem in error.problems:
                self._add(problem.message, f"{self._path()}.{key}")
            return []

    def _values(self, names: list[str]) -> dict[str, float] | None:
        """Level, limit or strength of each parameter, where the file has a mapping."""
        if self.spec.by_name is None or not names:
            return None
        try:
            return lookup(self.spec.by_name, self.table, names, self._mapping())
        except ScheduleError as error:
            for problem in error.problems:
                self._add(problem.message, problem.path)
            return {}

    def _check_shapes(self, names: list[str]) -> None:
        for name in names:
            try:
                oriented(self.spec.granularity, self.table.layer(name)).check(tuple(self.table[name].shape))
            except SchedEngineError as error:
                self._add(f"{name}: {error}", "granularity")

    def _targets(self, names: list[str], values: dict[str, float] | None) -> Outcome:
        spec = self.spec
        assert isinstance(spec, Pruner)
        if self.problems:  # shared among other parameters than the file means, it would be another number
            return lambda _name: (math.nan, math.nan, "open, for the errors below")
        if spec.threshold is not None:
            limit = self._said("threshold")
            return lambda _name: (math.nan, math.nan, f"by the weights: threshold {limit}")
        if isinstance(spec.sparsity, Drawn):
            return lambda _name: (math.nan, math.nan, f"drawn: {self._said('sparsity')}")
        if spec.sparsity is not None and not hasattr(spec.sparsity, "to"):
            ramp = self._said("sparsity")
            return lambda _name: (math.nan, math.nan, f"by the number of cuts: {ramp}")
        return self._by_shapes(BoundPruner(self.name, spec, names, values, lenient=True))

    def _by_shapes(self, bound: BoundPruner) -> Outcome:
        """Of the last cut: a ramp that has ``to`` ends there, however many cuts there are."""
        if not bound.names or bound.by_name == {}:
            return lambda _name: (math.nan, math.nan, "")
        try:
            aim = bound.aim(bound.shapes(self.table), 1, 1)
        except SchedEngineError as error:
            self._add(str(error), "sparsity")
            return lambda _name: (math.nan, math.nan, "open, for the errors below")
        assert aim is not None  # no threshold
        total, levels = aim.total, aim.levels
        if levels is None and len(bound.names) > 1:
            return lambda _name: (math.nan, total, "by the weights")
        how = "by name" if bound.by_name else "by shapes"
        return lambda name: (total if levels is None else levels[name], total, how)

    def _strengths(self, values: dict[str, float] | None) -> Outcome:
        strength = getattr(self.spec, "strength", None)
        if not isinstance(strength, Strength):
            return lambda name: (math.nan, math.nan, f"strength {(values or {}).get(name, math.nan):.4g}")
        first, last = strength.at(0), strength.at(1)
        said = f"strength {first:.4g}" + (f" to {last:.4g}" if last != first else "")
        return lambda _name: (math.nan, math.nan, said)

    def _said(self, key: str) -> str:
        """A component as the file may write it, on one line."""
        marker = fields_of(type(self.spec))[key].component
        assert marker is not None
        return written(marker, getattr(self.spec, key))

    def _path(self) -> str:
        return self._mapping() if self.spec.parameters is None and self.spec.by_name else "parameters"

    def _mapping(self) -> str:
        """The key that may hold names and a number each."""
        if self.kind == "regularizer":
            return "strength"
        return "allocation" if isinstance(getattr(self.spec, "allocation", None), dict) else "threshold"

    def _add(self, message: str, path: str) -> None:
        self.problems.append(self.schedule.problem(f"{self.kind}s.{self.name}.{path}", message))


def written(component: Component, member: Any) -> str:
    """A member of a registry as a file may write it, on one line.

    Example:
        >>> from schedengine.criteria import CRITERIA
        >>> from schedengine.criteria.magnitude import Magnitude
        >>> written(Component(CRITERIA), Magnitude(norm="l2"))
        '{magnitude: l2}'
    """
    value = member if isinstance(member, dict) else component_to_plain(component, member)
    return str(plain(value)).replace("'", "")


def _words(selector: Selector) -> Iterator[tuple[str, str, Selector]]:
    """What to call each word of a selector, the key that it stands under, and a selector of that word alone."""
    if selector.types:
        yield f"types {', '.join(selector.types)}", "types", Selector(types=selector.types)
    for word in selector.names:
        yield word, "names", Selector(names=(word,))
    for pattern in selector.regex:
        yield f"regex {pattern}", "regex", Selector(regex=(pattern,))
    if not (selector.types or selector.names or selector.regex):
        yield "Conv and Linear", "types", Selector()
