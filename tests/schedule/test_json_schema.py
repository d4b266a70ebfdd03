"""The JSON Schema accepts what the reader accepts, and refuses typos."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator  # type: ignore[import-untyped,unused-ignore]
from strategies import schedules

from schedengine.criteria import CRITERIA
from schedengine.schedule.document import Schedule
from schedengine.schedule.json_schema import json_schema
from schedengine.schedule.load import dump
from schedengine.schedule.source import read

SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def accepts(text: str) -> bool:
    return bool(VALIDATOR.is_valid(read(text).root.plain()))


def pruner(text: str) -> str:
    return f"version: 2\npruners: {{p: {text}}}\npolicies: [{{pruner: p, at: start}}]\n"


BIMP = """\
version: 2
phases:
  - {name: dense, epochs: 60}
  - {name: cycle, epochs: {total: 30}, repeat: 4}
  - {name: group, repeat: 2, phases: [{name: inner, epochs: 1}]}
pruners:
  imp:
    parameters: {types: [Conv2d, Linear], except: first}
    criterion: magnitude
    granularity: element
    allocation: global
    sparsity: {ramp: geometric, to: 0.95}
    update: shrink
    pruned: zero
regularizers:
  ssl: {penalty: group_lasso, granularity: filter, strength: {ramp: linear, to: 8e-4}}
lr_schedulers:
  dense: {class: linear, from: 0.1, to: 0.0, warmup: 5%}
  steps: {class: StepLR, step_size: 30}
policies:
  - {pruner: imp, at: [cycle, {end: dense}, 3, 10%]}
  - {regularizer: ssl, during: [dense, cycle], from: 0.5, until: 90%}
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: steps, during: cycle, every: 1, clock: run}
"""
DISTILLER = """\
version: 1
pruners:
  agp: {class: AutomatedGradualPruner, initial_sparsity: 0.05, final_sparsity: 0.8, weights: [a]}
policies:
  - pruner: {instance_name: agp, args: {keep_mask: true}}
    starting_epoch: 0
    ending_epoch: 30
    frequency: 2
  - {extension: {instance_name: thinner}, epochs: [30]}
"""
FORMS = (
    "{sparsity: 0.5}", "{sparsity: {cubic: 0.5}}", "{sparsity: {cubic: {to: 0.5}}}", "{sparsity: {remaining: 0.2}}",
    "{sparsity: constant, allocation: {'*': 0.5}}", "{sparsity: 0.5, allocation: uniform}", "{threshold: 0.1}",
    "{threshold: {std: {'fc.*': 0.5}}}", "{sparsity: 0.5, granularity: {block: [4, 1]}}",
    "{sparsity: 0.5, threshold: null}", "{granularity: {keep: [2, 4]}}",
    "{granularity: {keep: [2, 4]}, sparsity: null}",
    "{sparsity: 0.5, granularity: {consecutive: 8}, draw: exact, lasts: step}",
    "{sparsity: {random: {from: 0.1, to: 0.5}}, allocation: uniform, together: leader, counted: current}",
    "{threshold: {spread: {by_name: 0.5, growth: 0.1}}, update: {splice: {low: 0.5, high: 2}}, pruned: dense}",
    "{threshold: {rising: {by_name: {'fc.*': 0.5}, after: 3}}}", "{threshold: {spread: 0.5}, update: splice}",
    "{sparsity: 0.5, parameters: 'layer1.*'}", "{sparsity: 0.5, criterion: {magnitude: {norm: l2}}}",
)  # fmt: skip
TYPOS = (
    "{sparsty: 0.5}", "{sparsity: 1.5}", "{sparsity: '0.5'}", "{sparsity: 0.5, criterion: magnitud}", "{}", "3",
    "{sparsity: {ramp: cubik, to: 0.5}}", "{sparsity: {ramp: cubic, too: 0.5}}", "{sparsity: {ramp: remaining}}",
    "{sparsity: 0.5, threshold: 0.1}", "{granularity: {keep: [2, 4]}, sparsity: 0.5}", "{granularity: {keep: [2]}}",
    "{granularity: {keep: [0, 4]}}", "{sparsity: 0.5, granularity: {consecutive: 0}}", "{sparsity: 0.5, draw: coin}",
    "{sparsity: 0.5, together: all}", "{sparsity: 0.5, lasts: epoch}",
    "{sparsity: 0.5, granularity: {block: [0]}}",
    "{sparsity: 0.5, granularity: block}",
    "{sparsity: 0.5, min_keep: 1.5}", "{sparsity: 0.5, rounding: up}", "{sparsity: 0.5, parameters: {type: [Conv2d]}}",
)  # fmt: skip


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_reference_has_a_definition() -> None:
    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
            return own.union(*map(references, part.values()))
        return set().union(*map(references, part)) if isinstance(part, list) else set()

    assert references(SCHEMA) <= {f"#/$defs/{name}" for name in SCHEMA["$defs"]}


@pytest.mark.parametrize("text", [BIMP, DISTILLER, "policies: []\n", *map(pruner, FORMS)])
def test_a_good_file_passes(text: str) -> None:
    VALIDATOR.validate(read(text).root.plain())


@pytest.mark.parametrize("text", [*map(pruner, TYPOS)])
def test_a_typo_in_a_pruner_fails(text: str) -> None:
    assert not accepts(text)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("policies:", "polices:"), ("version: 2", "version: 3"), ("name: dense", "nam: dense"), ("repeat: 4",
        "repeat: 0"),
        ("total: 30", "totl: 30"), ("penalty: group_lasso", "penalty: l3"), ("class: linear", "class: linaer"),
        ("step_size: 30", "step_size: 0"), ("step_size: 30", "gamma: 0.1"), ("until: 90%", "untl: 90%"),
        ("until: 90%", "until: 90 percent"), ("clock: run", "clock: phase"), ("pruner: imp", "prnr: imp"),
        ("during: dense", "every: 1"), ("{end: dense}", "{ende: dense}"),
    ],
)  # fmt: skip
def test_a_typo_anywhere_fails(good: str, bad: str) -> None:
    assert good in BIMP and not accepts(BIMP.replace(good, bad, 1))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("class: Auto", "clas: Auto"),
        ("instance_name: agp", "instance: agp"),
        ("frequency: 2", "freq: 2"),
        ("pruners", "pruner"),
    ],
)
def test_a_typo_in_distillers_dialect_fails(good: str, bad: str) -> None:
    assert not accepts(DISTILLER.replace(good, bad, 1))


def test_keys_are_described_by_the_docstrings() -> None:
    definitions = SCHEMA["$defs"]
    assert definitions["Pruner"]["description"].startswith("What is removed, how much of it")
    assert definitions["Pruner"]["properties"]["criterion"]["description"].startswith("what makes a group unimportant")
    assert definitions["ramp.cubic"]["properties"]["from"]["description"].startswith("where the ramp starts")


def test_a_class_of_your_own_is_in_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CRITERIA._entries, "mine", CRITERIA.get("random"))
    text = pruner("{sparsity: 0.5, criterion: mine}")
    assert not accepts(text)
    assert Draft202012Validator(json_schema()).is_valid(read(text).root.plain())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedules())
def test_every_schedule_that_can_be_written_passes(schedule: Schedule) -> None:
    VALIDATOR.validate(read(dump(schedule)).root.plain())
