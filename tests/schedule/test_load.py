"""Whole files: everything that is wrong at once, in the order of the file, and what is legal but doubtful."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedengine.errors import ScheduleError, ScheduleWarning
from schedengine.schedule.document import Schedule
from schedengine.schedule.load import load_schedule

PRUNER = "version: 2\npruners: {fine: {sparsity: 0.5}}\n"


def refusal(document: str | Path | dict[str, Any]) -> str:
    with pytest.raises(ScheduleError) as caught:
        load_schedule(document)
    return str(caught.value).replace("<text>:", "")


def policy(text: str) -> str:
    return refusal(f"{PRUNER}policies: [{text}]\n")


# --- sections --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 2\npolicies: []\npruner: {}\n", "3:1: pruner: unknown section; did you mean pruners?"),
        ("version: 2\npruners:\npolicies: []\n", "2:1: pruners: the section is empty; fill it or remove it"),
        ("version: 2\n", "1:1: needs 'policies': what acts, and when"),
        ("version: 3\npolicies: []\n", "1:10: version: must be 1 (Distiller's) or 2 (got 3)"),
        ("version: true\npolicies: []\n", "1:10: version: must be 1 (Distiller's) or 2 (got true)"),
        ("- a\n", "1:1: must be a mapping of sections (got ['a'])"),
        ("version: 2\npolicies: {a: 1}\n", "2:11: policies: must be a list (got {'a': 1})"),
        ("version: 2\npruners: [a]\npolicies: []\n", "2:10: pruners: must be a mapping of names (got ['a'])"),
        ("version: 2\neffects: wran\npolicies: []\n",
         "2:10: effects: must be 'error' or 'warn' (got 'wran'); did you mean warn?"),
    ],
)  # fmt: skip
def test_a_section_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    assert refusal(text) == message


def test_duplicate_keys_are_an_error_in_version_2() -> None:
    text = "version: 2\npruners:\n  a: {sparsity: 0.5}\n  a: {sparsity: 0.6}\npolicies: [{pruner: a, at: start}]\n"
    assert (
        refusal(text)
        == "4:3: pruners.a: the key stands twice, first at line 3; the last one would win: remove or rename one"
    )


def test_a_file_without_version_is_distillers_and_says_so() -> None:
    with pytest.warns(ScheduleWarning, match="has no version; read as version 1"):
        load_schedule("policies: []\n")


def test_a_dict_is_as_good_as_a_file() -> None:
    schedule = load_schedule(
        {"version": 2, "pruners": {"a": {"sparsity": 0.5}}, "policies": [{"pruner": "a", "at": 3}]}
    )
    assert schedule == load_schedule("version: 2\npruners: {a: {sparsity: 0.5}}\npolicies: [{pruner: a, at: 3}]\n")
    assert refusal({"version": 2, "policies": [{"pruner": "a", "at": 3}]}).startswith(
        "policies[0].pruner: there is no pruner"
    )


# --- everything at once ----------------------------------------------------------------------------------------------

WRONG = """\
version: 2
phases: [{name: dense, epochs: 4}]
pruners:
  fine: {sparsty: 0.5}
  fine: {sparsity: 1.5}
regularizers:
  ssl: {penalty: l3, strength: 1e-4}
policies:
  - {pruner: fin, at: start}
  - {pruner: fine, at: dnese}
  - {pruner: fine, during: dense, from: 4}
  - {pruner: fine, at: start, during: run}
  - {regularizer: ssl, durng: run}
polices: []
"""


def test_every_problem_of_a_file_is_reported_at_once_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    found = refusal(path).replace(f"{path}:", "").splitlines()
    assert [line.split(": ")[:2] for line in found] == [
        ["5:3", "pruners.fine"],
        ["5:20", "pruners.fine.sparsity"],
        ["7:18", "regularizers.ssl.penalty"],
        ["9:14", "policies[0].pruner"],
        ["10:24", "policies[1].at"],
        ["12:5", "policies[3]"],
        ["13:24", "policies[4].durng"],
        ["14:1", "polices"],
    ]


def test_windows_are_checked_as_soon_as_names_of_phases_are_right() -> None:
    text = WRONG.replace("dnese", "dense")
    assert "11:5: policies[2]: the window is empty: it begins at epoch 4 and ends before epoch 4" in refusal(text)


# --- instances -------------------------------------------------------------------------------------------------------


def test_an_undefined_instance_gets_the_nearest_name() -> None:
    assert policy("{pruner: fin, at: start}") == (
        "3:21: policies[0].pruner: there is no pruner 'fin' in 'pruners'; did you mean fine?"
    )


def test_an_instance_of_another_section_is_undefined() -> None:
    assert "there is no regularizer 'fine' in 'regularizers'; none is known" in policy(
        "{regularizer: fine, during: run}"
    )


def test_an_unused_instance_is_warned_of_with_its_place() -> None:
    text = "version: 2\npruners:\n  a: {sparsity: 0.5}\n  b: {sparsity: 0.5}\npolicies: [{pruner: a, at: start}]\n"
    with pytest.warns(ScheduleWarning, match="<text>:4:6: pruners.b: the pruner is defined and no policy uses it"):
        schedule = load_schedule(text)
    assert len(schedule.notes) == 1


# --- policies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{pruner: fine}", "a policy acts 'at' (instants) or 'during' (a phase, or run); this one has neither"),
        (
            "{pruner: fine, at: 1, during: run}",
            "a policy acts 'at' (instants) or 'during' (a phase, or run); this one has both",
        ),
        ("{at: 1}", "lr_scheduler, rewind, release, thin, recalibrate, check_collapse; this one has none"),
        ("{pruner: fine, regularizer: x, during: run}", "this one has pruner and regularizer"),
        ("{pruner: fine, during: run, from: 5, until: 5}", "the window is empty: it begins at 5 and ends before 5"),
        ("{pruner: fine, during: run, from: 9, until: 5}", "the window is empty: it begins at 9 and ends before 5"),
        ("{pruner: fine, during: run, until: 0}", "the window is empty: it begins at 0 and ends before 0"),
        ("{pruner: fine, during: run, until: 5, every: 6}", "'every' (6) is longer than the window, from 0 until 5"),
        ("{pruner: fine, during: run, every: 0}", "'every' must be more than 0"),
        ("{pruner: fine, at: 1, every: 2}", "'every' goes with 'during'; 'at' names instants"),
        ("{regularizer: x, at: 1}", "a regularizer acts during a stretch of time; use 'during'"),
        ("{pruner: fine, at: 1, clock: run}", "'clock' is for a policy with a lr_scheduler"),
        (
            "{lr_scheduler: x, during: run, keep_mask: true}",
            "'keep_mask' is for a policy with a pruner or a regularizer",
        ),
        ("{pruner: fine, during: run, refresh: 3}", "'refresh' is a number of steps, as in \"16st\""),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_at_its_place(text: str, message: str) -> None:
    found = policy(text).splitlines()[0]
    assert found.startswith("3:12: policies[0]: ") and message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{pruner: fine, at: 3 epochs}", "3:31: policies[0].at: not a time; write epochs as 3"),
        ("{pruner: fine, at: -1}", "3:31: policies[0].at: a time is a finite number, zero or more"),
        ("{pruner: fine, at: []}", "3:31: policies[0].at: the list is empty; name at least one instant"),
        (
            "{pruner: fine, at: {begin: run}}",
            "3:31: policies[0].at: write {start: PHASE} or {end: PHASE} (got {'begin': 'run'})",
        ),
        ("{pruner: fine, at: cycle}", "3:31: policies[0].at: there is no phase 'cycle'; known: run"),
        ("{pruner: fine, during: []}", "3:35: policies[0].during: name a phase, a list of phases, or run (got [])"),
        ("{pruner: fine, during: run, every: 2.5st}", "3:47: policies[0].every: a step is not divisible"),
        ("{pruner: 1, at: start}", "3:21: policies[0].pruner: must be a word (got 1); put it in quotes"),
        ("{prnr: fine, at: start}", "3:13: policies[0].prnr: unknown key; did you mean pruner?"),
        ("3", "3:12: policies[0]: must be a mapping of pruner, regularizer, lr_scheduler, rewind, release, thin"),
    ],
)
def test_a_wrong_word_of_a_policy_is_refused_at_its_place(text: str, message: str) -> None:
    assert policy(text).startswith(message)


# --- both dialects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 2\npruners: {a: {class: X, final_sparsity: 0.8}}\npolicies: []\n",
         "2:15: pruners.a.class: 'class' belongs to version 1, Distiller's dialect; write 'version: 1', or the"),
        (f"{PRUNER}policies:\n  - pruner: {{instance_name: fine}}\n    starting_epoch: 0\n",
         "5:5: policies[0].starting_epoch: 'starting_epoch' belongs to version 1"),
        ("version: 1\nphases: []\npolicies: []\n", "2:1: phases: belongs to version 2; write 'version: 2'"),
        ("version: 1\npruners: {a: {sparsity: 0.5}}\npolicies: []\n",
         "2:14: pruners.a: needs 'class'; 'sparsity' belongs to version 2: write 'version: 2'"),
        ("version: 1\npolicies: [{pruner: a, at: start}]\n",
         "2:24: policies[0].at: belongs to version 2; write 'version: 2', or epochs here"),
        ("version: 1\nlr_schedulers: {a: {class: cosine}}\npolicies: []\n",
         "2:28: lr_schedulers.a.class: 'cosine' belongs to version 2; write 'version: 2', or torch's class name"),
    ],
)  # fmt: skip
def test_words_of_the_other_dialect_say_which_version_to_write(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{class: LambdaLR}", "LambdaLR takes a Python function"), ("{class: SequentialLR}", "divide the run into phases"),
     ("{class: StepLr}", "unknown learning-rate schedule 'StepLr'; did you mean StepLR"), ("StepLR",
     "needs 'step_size'"),
     ("{step_size: 3}", "needs 'class', the name of a learning-rate schedule")],
)  # fmt: skip
def test_a_learning_rate_that_a_file_cannot_say_is_refused(text: str, message: str) -> None:
    assert message in refusal(f"version: 2\nlr_schedulers: {{a: {text}}}\npolicies: []\n")


# --- properties ------------------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    [
        "a",
        "b",
        "class",
        "sparsity",
        "ramp",
        "to",
        "from",
        "block",
        "parameters",
        "types",
        "name",
        "epochs",
        "repeat",
        "phases",
        "total",
        "pruner",
        "regularizer",
        "lr_scheduler",
        "at",
        "during",
        "until",
        "every",
        "start",
        "end",
        "penalty",
        "strength",
        "std",
        "instance_name",
        "starting_epoch",
        "weights",
        "group_type",
        "3D",
        "l1",
        "cubic",
    ]
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PARTS = st.dictionaries(KEYS, TREES, max_size=3)
DOCUMENTS = st.fixed_dictionaries(
    {"version": st.sampled_from([1, 2]), "policies": st.lists(PARTS, max_size=3) | TREES},
    optional={
        **dict.fromkeys(["pruners", "regularizers", "lr_schedulers"], st.dictionaries(KEYS, PARTS, max_size=2) | TREES),
        "phases": st.lists(PARTS, max_size=2) | TREES,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(DOCUMENTS)
@pytest.mark.filterwarnings("ignore::schedengine.errors.ScheduleWarning")
def test_any_document_is_a_schedule_or_a_list_of_problems(document: dict[str, Any]) -> None:
    try:
        assert isinstance(load_schedule(document), Schedule)
    except ScheduleError as error:
        assert error.problems and all(problem.message for problem in error.problems)


def test_a_foreign_part_hides_no_problem_of_its_neighbours() -> None:
    text = "version: 2\npolicies:\n- {pruner: p, starting_epoch: 3}\n- {pruner: q, at: start}\n"
    with pytest.raises(ScheduleError) as error:
        load_schedule(text)
    assert [problem.path for problem in error.value.problems] == ["policies[0].starting_epoch", "policies[1].pruner"]


def test_a_learning_rate_at_an_end_is_refused() -> None:
    with pytest.raises(ScheduleError, match="no step follows an end"):
        load_schedule(
            """version: 2
lr_schedulers: {low: {class: constant, from: 0.1}}
policies: [{lr_scheduler: low, at: end}]
"""
        )


def test_batches_of_a_recalibration_may_stand_alone() -> None:
    schedule = load_schedule(
        {"version": 2, "phases": [{"name": "c", "epochs": 2}], "policies": [{"recalibrate": 50, "at": "c"}]}
    )
    assert schedule.policies[0].recalibrate is not None
    assert schedule.policies[0].recalibrate.batches == 50
