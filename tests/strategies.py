"""Hypothesis strategies: whole schedules, made of every member of every registry, from what their fields say."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hypothesis import assume
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from schedengine.granularity import Keep
from schedengine.lr import LR_SCHEDULES
from schedengine.lr.retraining import Retraining
from schedengine.lr.shapes import Shape
from schedengine.policies.recalibration import Recalibrate
from schedengine.policies.rewind import Rewind
from schedengine.progress import Time
from schedengine.pruners.pruner import Pruner
from schedengine.registry import Registry
from schedengine.regularizers.regularizer import Regularizer
from schedengine.schedule.document import ACTIONS, Earlier, Phase, Policy, Schedule, Total
from schedengine.schedule.fields import REQUIRED, component_of, fields_of
from schedengine.schedule.retraining import check_retraining
from schedengine.selection import Selector

PHASE_NAMES = ("dense", "cycle", "fine-tune", "warm.up", "a1")
TRICKY = (
    "1",
    "1e3",
    "true",
    "null",
    "~",
    "- a",
    "a: b",
    "#x",
    " lead",
    "no",
    "<<",
    "é",
    "x\ny",
    "*",
    "&a",
    "!b",
    "%",
    "",
)
WORDS = ("conv1.weight", "layer1.*", "first", "last", "*.weight", "module.fc.bias", "[!c]*")


def names() -> st.SearchStrategy[str]:
    """Names of instances: whatever YAML may take for something else too."""
    return st.sampled_from(TRICKY) | st.text(min_size=1, max_size=8)


def times(*, units: Sequence[str] = ("ep", "st", "%")) -> st.SearchStrategy[Time]:
    """Times as a file can write them: steps are whole, the others decimal."""
    amounts = {unit: st.integers(1, 10**6).map(lambda n: Fraction(n, 1000)) for unit in ("ep", "%")}
    amounts["st"] = st.integers(1, 10**6).map(Fraction)
    return st.sampled_from(units).flatmap(lambda unit: st.builds(Time, amounts[unit], st.just(unit)))


def selectors() -> st.SearchStrategy[Selector]:
    """Words, types and patterns; not bound to any model."""
    words = st.lists(st.sampled_from(WORDS) | names().filter(bool), max_size=3).map(tuple)
    kinds = st.lists(st.sampled_from(["Conv2d", "Linear", "Embedding"]), max_size=2).map(tuple)
    patterns = st.lists(st.sampled_from([r".*\.weight", r"layer[12]\..*"]), max_size=2).map(tuple)
    return st.builds(Selector, types=kinds, names=words, regex=patterns, excluded=words)


def members(registry: Registry, *among: str) -> st.SearchStrategy[Any]:
    """A member of a registry (of the names given, or any), with any of its fields."""
    return st.sampled_from(among or registry.names()).flatmap(lambda name: specs(registry.get(name)))


@st.composite
def specs(draw: st.DrawFn, cls: type, without: Sequence[str] = ()) -> Any:
    """An instance of a registered class: required fields, and up to three others."""
    fields = {key: field for key, field in fields_of(cls).items() if key not in without}
    optional = sorted(key for key, field in fields.items() if field.default is not REQUIRED)
    chosen = draw(st.lists(st.sampled_from(optional), unique=True, max_size=3)) if optional else []
    given = {
        field.name: draw(values(field.annotation))
        for key, field in fields.items()
        if field.default is REQUIRED or key in chosen
    }
    try:
        return cls(**given)
    except ValueError:  # fields that exclude each other
        assume(False)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """A value of a field."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    component = component_of(annotation)
    if component is not None:
        return members(component.registry)
    if origin is Annotated:
        base, metadata = arguments[0], arguments[1:]
        limits: dict[str, Any] = {}
        for item in metadata:
            limits |= _limits(item) if isinstance(item, FieldInfo) else {}
        known: dict[Any, st.SearchStrategy[Any]] = {
            Time: times(),
            Selector: selectors(),
            float: _floats(**limits),
            int: _integers(**limits),
        }
        return known[base] if base in known else values(base)
    if origin in (Union, types.UnionType):
        return st.one_of([values(part) for part in arguments if part is not type(None)])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return st.tuples(*(values(part) for part in arguments)).map(_in_order)
    if origin is tuple:
        return st.lists(values(arguments[0]), min_size=1, max_size=3).map(_in_order)
    if origin is dict:
        return st.dictionaries(
            st.sampled_from(WORDS) | st.text(min_size=9, max_size=12), values(arguments[1]), min_size=1
        )
    plain: dict[Any, st.SearchStrategy[Any]] = {bool: st.booleans(), str: names(), float: _floats(), int: _integers()}
    return plain[annotation]


def _in_order(items: list[Any]) -> tuple[Any, ...]:
    return tuple(sorted(items)) if all(isinstance(item, (int, float)) for item in items) else tuple(items)


def _limits(info: FieldInfo) -> dict[str, Any]:
    bounds = ("ge", "gt", "le", "lt")
    return {key: getattr(item, key) for item in info.metadata for key in bounds if hasattr(item, key)}


def _floats(ge: float | None = None, gt: float | None = None, le: float = 1e6, lt: float | None = None) -> Any:
    low, high = (gt if gt is not None else -1e6 if ge is None else ge), (lt if lt is not None else le)
    return st.floats(low, high, exclude_min=gt is not None, exclude_max=lt is not None)


def _integers(ge: int = 0, gt: int | None = None, le: int = 1000, lt: int | None = None) -> Any:
    return st.integers(ge if gt is None else gt + 1, le if lt is None else lt - 1)


@st.composite
def pruners(draw: st.DrawFn) -> Pruner:
    """Any axis with any other; a target or a threshold."""
    axes = {
        key: field for key, field in fields_of(Pruner).items() if key not in ("sparsity", "threshold", "allocation")
    }
    chosen = draw(st.lists(st.sampled_from(sorted(axes)), unique=True, max_size=4))
    given = {axes[key].name: draw(values(axes[key].annotation)) for key in chosen}
    is_pattern = isinstance(given.get("granularity"), Keep)
    rule = "pattern" if is_pattern else draw(st.sampled_from(["sparsity", "levels", "threshold"]))
    if rule == "levels":
        level = st.floats(0, 1, exclude_max=True)
        given["allocation"] = draw(st.dictionaries(st.sampled_from(WORDS), level, min_size=1))
        ramp = draw(st.sampled_from(["constant", "linear", "cubic", "geometric"]))
        component = component_of(fields_of(Pruner)["sparsity"].annotation)
        assert component is not None
        given["sparsity"] = draw(specs(component.registry.get(ramp), without=("to",)))
    elif rule != "pattern":
        given[rule] = draw(values(fields_of(Pruner)[rule].annotation))
        if rule == "sparsity" and draw(st.booleans()):
            given["allocation"] = draw(values(fields_of(Pruner)["allocation"].annotation))
    try:
        return Pruner(**given)
    except ValueError:
        assume(False)
        raise


@st.composite
def phases(draw: st.DrawFn) -> tuple[Phase, ...]:
    """Up to three phases, repeated, with shared totals, the last one perhaps a group."""
    found = [draw(_phase(name)) for name in draw(st.lists(st.sampled_from(PHASE_NAMES), unique=True, max_size=3))]
    is_grouped = draw(st.booleans())
    if found and is_grouped:
        inner = found[0]
        most = inner.epochs.total // inner.repeat if isinstance(inner.epochs, Total) else 3
        found = [*found[1:], Phase(name="group", phases=(inner,), repeat=draw(st.integers(1, min(3, most))))]
    return tuple(found)


@st.composite
def _phase(draw: st.DrawFn, name: str) -> Phase:
    repeat = draw(st.integers(1, 4))
    epochs: int | Total = draw(st.integers(1, 100) | st.integers(repeat, 100).map(lambda total: Total(total=total)))
    return Phase(name=name, epochs=epochs, repeat=repeat)


@st.composite
def policies(
    draw: st.DrawFn, kind: str, instance: Any, stretches: Sequence[str], is_retraining: bool = False
) -> Policy:
    """A policy of an instance: instants, or a window that is never empty, whatever the phase's length."""
    given: dict[str, Any] = {kind: instance}
    if is_retraining:
        return Policy(**given, during=draw(st.sampled_from(stretches)))  # type: ignore[arg-type]  # as a file writes it
    if kind == "pruner":
        given["keep_mask"] = draw(st.booleans())
        given["refresh"] = draw(st.none() | times(units=["st"]))
    if kind == "lr_scheduler":
        given["clock"] = draw(st.sampled_from(["window", "run"]))
    if kind in ACTIONS or (kind != "regularizer" and draw(st.booleans())):
        instant: Any = st.just("start") | st.sampled_from(stretches) | times()
        if kind == "pruner" or kind in ACTIONS:
            instant |= st.just("end") | st.fixed_dictionaries({"end": st.sampled_from(stretches)})
        at: Any = draw(st.lists(instant, min_size=1, max_size=3))
        return Policy(**given, at=at)
    given["during"] = draw(st.lists(st.sampled_from(stretches), min_size=1, max_size=2, unique=True))
    if draw(st.booleans()):
        start = draw(st.integers(0, 99))
        given["from_"], given["until"] = f"{start}%", f"{draw(st.integers(start + 1, 100))}%"
    steps = st.nothing() if kind == "regularizer" else times(units=["st"])
    given["every"] = draw(st.none() | steps | st.just("0.01ep"))
    return Policy(**given)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """A whole version 2 document that names only what it defines."""
    spans = draw(phases())
    stretches = ["run", *(phase.name for phase in spans)]
    sections = {
        "pruner": draw(st.dictionaries(names(), pruners(), max_size=2)),
        "regularizer": draw(st.dictionaries(names(), specs(Regularizer), max_size=2)),
        "lr_scheduler": draw(st.dictionaries(names(), members(LR_SCHEDULES), max_size=2)),
    }
    instances: list[tuple[str, Any]] = [(kind, name) for kind, section in sections.items() for name in section]
    instances += [("release", name) for name in sections["pruner"]]
    instances += [("check_collapse", word) for word in draw(st.lists(st.sampled_from(["error", "warn"]), max_size=1))]
    instances += [("rewind", rewind) for rewind in draw(st.lists(specs(Rewind), max_size=1))]
    counts = st.none() | st.integers(1, 99)
    instances += [("recalibrate", Recalibrate(count)) for count in draw(st.lists(counts, max_size=1))]
    chosen = draw(st.lists(st.sampled_from(instances), max_size=4)) if instances else []
    schedule = Schedule(
        phases=spans,
        trace=draw(st.none() | earlier()),
        pruners=sections["pruner"],
        regularizers=sections["regularizer"],
        lr_schedulers=sections["lr_scheduler"],
        policies=tuple(
            draw(
                policies(kind, name, stretches, kind == "lr_scheduler" and isinstance(sections[kind][name], Retraining))
            )
            for kind, name in chosen
        ),
        effects=draw(st.sampled_from(["error", "warn"])),
    )
    return _placed(schedule)


def _placed(schedule: Schedule) -> Schedule:
    """Without those policies that retraining and rewinding have no place for; what is left has none too many."""
    wrong = {problem.path.partition("]")[0] for problem in check_retraining(schedule)}
    if not wrong:
        return schedule
    kept = [policy for number, policy in enumerate(schedule.policies) if f"policies[{number}" not in wrong]
    return _placed(dataclasses.replace(schedule, policies=tuple(kept)))


def earlier() -> st.SearchStrategy[Earlier]:
    """The training before a run: any curve of ours that says where it begins."""
    curves = [name for name in LR_SCHEDULES.names() if issubclass(LR_SCHEDULES.get(name), Shape)]
    rates = st.floats(0.001, 1)
    placed = st.tuples(members(LR_SCHEDULES, *curves), rates).map(lambda pair: replace(pair[0], from_=pair[1]))
    return st.builds(Earlier, epochs=st.integers(1, 200), lr=placed)
