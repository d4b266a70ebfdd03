"""What a check finds, how sure it must be, and that it leaves everything as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from schedengine import SchedEngineError, load_schedule
from schedengine.analysis.diagnosis import Diagnosis, check_schedule
from schedengine.lr.trace import Trace

CLEAN = """\
version: 2
phases:
  - {name: dense, epochs: 20}
  - {name: cycle, epochs: 5, repeat: 3}
pruners:
  imp: {sparsity: {ramp: geometric, to: 0.95}}
regularizers:
  small: {penalty: l2, strength: 0.001}
lr_schedulers:
  dense: {class: linear, from: 0.1}
  retrain: {class: cosine, from: 0.05}
policies:
  - {pruner: imp, at: cycle}
  - {regularizer: small, during: dense}
  - {lr_scheduler: dense, during: dense}
  - {lr_scheduler: retrain, during: cycle}
"""


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))


def told(found: Diagnosis, severity: str = "error") -> list[str]:
    return [finding.problem.message for finding in found.findings if finding.severity == severity]


def test_a_clean_schedule_has_no_findings() -> None:
    found = check_schedule(CLEAN, network())
    assert found.findings == ()
    assert str(found) == "ok: 1 pruner, 1 regularizer, 2 learning-rate schedules, 35 epochs"


def test_all_problems_of_the_file_are_told_at_once_in_its_order() -> None:
    text = CLEAN.replace("to: 0.95", "too: 0.95").replace("l2", "l3").replace("at: cycle", "at: cycl")
    found = check_schedule(text, network())
    marks = [finding.problem.mark for finding in found.findings]
    assert [(mark.line, mark.column) for mark in marks if mark is not None] == [(6, 37), (8, 20), (13, 23)]
    assert found.summary() == "3 errors"


def test_all_problems_of_the_fit_are_told_at_once() -> None:
    text = CLEAN.replace("imp: {", "imp: {parameters: fc.weight, ").replace("penalty: l2", "penalty: l2, parameters: a")
    text = text.replace("from: 0.05", "from: 0.05, warmup: 9")
    found = check_schedule(text, network(), steps_per_epoch=10)
    assert [row["line"] for row in found.plain() if row["severity"] == "error"] == [6, 8, 16]


def test_a_schedule_is_shown_as_a_compiler_would() -> None:
    found = check_schedule(CLEAN.replace("to: 0.95", "to: 1.95"))
    assert str(found).splitlines() == [
        "<text>:6:41: error: pruners.imp.sparsity.to: must be less than 1 (got 1.95)",
        "  6 |   imp: {sparsity: {ramp: geometric, to: 1.95}}",
        "    |                                         ^",
        "1 error",
    ]


def test_a_target_out_of_reach_is_an_error() -> None:
    text = CLEAN.replace("to: 0.95}", "to: 0.95}, allocation: uniform_plus")
    (message,) = told(check_schedule(text, network()))
    assert "cannot remove 0.95" in message


def test_a_dict_and_a_missing_file_are_told_of_without_a_line(tmp_path: Path) -> None:
    row = check_schedule({"version": 2, "policies": [], "pruner": {}}).plain()[0]
    assert (row["file"], row["line"], row["column"]) == ("<dict>", None, None)
    gone = check_schedule(tmp_path / "gone.yaml")
    assert str(gone).splitlines()[0].endswith("gone.yaml:1:1: error: there is no such file")


def test_without_a_model_names_are_not_checked_and_times_are() -> None:
    text = CLEAN.replace("imp: {", "imp: {parameters: nowhere.weight, ").replace("at: cycle", "at: 99")
    found = check_schedule(text)
    assert told(found) == ["has cuts that a run of 35 epochs ends before; change one, or write 'optional: true'"]
    assert "not checked without a model" in told(found, "note")[0]


def test_a_ramp_that_does_not_fit_its_cuts_shows_without_a_model() -> None:
    found = check_schedule(CLEAN.replace("{ramp: geometric, to: 0.95}", "{ramp: list, values: [0.5]}"))
    assert told(found) == ["ramp list: 1 values for 3 cuts; write one for each cut"]


def test_a_time_without_a_rate_is_an_error_wherever_in_the_window() -> None:
    """Distiller's polynomial has no rate after T_max; binding tries the first epochs of windows only."""
    text = """\
version: 1
lr_schedulers:
  a: {class: PolynomialLR, T_max: 5, power: 0.5}
policies:
  - lr_scheduler: {instance_name: a}
    starting_epoch: 0
    ending_epoch: 10
    frequency: 1
"""
    found = check_schedule(text, network(), epochs=10)
    assert [row["line"] for row in found.plain()] == [5]
    assert "no rate at epoch 6" in told(found)[0]


def test_a_length_that_the_phases_contradict_is_one_error() -> None:
    (message,) = told(check_schedule(CLEAN, network(), epochs=30))
    assert message == "the phases last 35 epochs, and the run is to last 30; change one"


OPEN = """\
version: 2
pruners: {p: {sparsity: 0.5}}
lr_schedulers: {a: {class: linear, warmup: 8}}
policies:
  - {pruner: p, at: 6}
  - {lr_scheduler: a, during: run}
"""


def test_a_run_of_unknown_length_is_as_long_as_its_policies_say() -> None:
    found = check_schedule(OPEN, network())
    (note,) = told(found, "note")
    assert "as if the run had 7 epochs, the last that its policies name" in note
    assert found.summary() == "ok: 1 pruner, 1 learning-rate schedule, epochs not known"


def test_what_a_longer_run_has_no_trouble_with_is_no_error_of_unknown_length() -> None:
    assert told(check_schedule(OPEN, network())) == []
    assert "warm-up of 800 ticks does not fit" in told(check_schedule(OPEN, network(), epochs=7))[0]


def test_a_run_of_unknown_length_without_any_end_has_100_epochs() -> None:
    (note,) = told(check_schedule(OPEN.replace("at: 6", "at: start"), network()), "note")
    assert "100 epochs, as nothing names an end" in note


def test_times_in_steps_are_placed_as_if_there_were_100_and_it_is_said() -> None:
    text = CLEAN.replace("from: 0.05", "from: 0.05, warmup: 600st")
    found = check_schedule(text, network())
    assert told(found) == []
    assert "an epoch had 100 steps" in told(found, "note")[0]
    assert "warm-up of 600 ticks does not fit" in told(check_schedule(text, network(), steps_per_epoch=100))[0]


def test_notes_of_version_1_are_warnings() -> None:
    found = check_schedule("policies: []\n", epochs=3)
    assert told(found, "warning") == [
        "has no version; read as version 1, Distiller's. Write 'version: 1' or 'version: 2'"
    ]


def test_a_model_without_values_is_enough() -> None:
    with torch.device("meta"):
        model = network()
    assert check_schedule(CLEAN, model).findings == ()


def test_a_check_leaves_the_optimizer_as_it_was() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    check_schedule(CLEAN, model, optimizer=optimizer)
    assert "initial_lr" not in optimizer.param_groups[0]
    load_schedule(CLEAN).bind(model, optimizer)


def test_a_model_without_parameters_is_a_problem_and_no_crash() -> None:
    assert "picks no parameter" in told(check_schedule(CLEAN, nn.ReLU()))[0]


def test_findings_as_a_table() -> None:
    frame = check_schedule(CLEAN.replace("to: 0.95", "to: 1.95")).to_frame()
    assert list(frame.columns) == ["severity", "file", "line", "column", "path", "message"]
    assert frame.drop(columns="message").to_numpy().tolist() == [["error", "<text>", 6, 41, "pruners.imp.sparsity.to"]]
    assert check_schedule(CLEAN, network()).to_frame().empty


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "\t", "version: 3\npolicies: []\n", "version: 2\npolicies: 3\n"])
def test_what_is_no_schedule_is_an_error_and_no_crash(text: str) -> None:
    found = check_schedule(text)
    assert found.count("error") >= 1
    assert str(found).startswith("<text>:")


def test_a_run_beyond_reason_is_refused() -> None:
    text = "version: 2\npruners: {p: {sparsity: 0.5}}\npolicies: [{pruner: p, at: start}]\n"
    with pytest.raises(SchedEngineError, match="a run of 1,000,000 epochs"):
        check_schedule(text, epochs=1_000_000)


# --- retraining, budgets ---------------------------------------------------------------------------------------------

ONE_SHOT = """\
version: 2
phases: [{name: retrain, epochs: 2}]
pruners: {once: {sparsity: 0.5}}
lr_schedulers: {retrain: {class: LLR}}
policies:
  - {pruner: once, at: retrain}
  - {lr_scheduler: retrain, during: retrain}
"""


def test_retraining_rates_without_any_dense_training_are_an_error() -> None:
    found = check_schedule(ONE_SHOT, network())
    (error,), (note,) = told(found), told(found, "note")
    assert error.startswith("LLR: its rates come from those of a dense training, and none is known")
    assert "give --weights" in note


def test_the_weights_own_trace_or_the_files_is_a_dense_training() -> None:
    assert check_schedule(ONE_SHOT, network(), trace=Trace([0.1, 0.05], 1)).findings == ()
    text = ONE_SHOT.replace("pruners", "trace: {epochs: 9, lr: {class: step, from: 0.1}}\npruners")
    assert check_schedule(text, network()).findings == ()


def test_a_warmup_in_steps_is_placed_as_if_there_were_100_and_it_is_said() -> None:
    text = ONE_SHOT.replace("class: LLR", "class: LLR, warmup: 300st")
    found = check_schedule(text, network(), trace=Trace([0.1], 1))
    assert told(found) == [] and "an epoch had 100 steps" in told(found, "note")[0]
    assert (
        "300 steps does not fit" in told(check_schedule(text, network(), steps_per_epoch=100, trace=Trace([1.0], 1)))[0]
    )


def test_a_schedule_is_checked_in_another_budget() -> None:
    assert check_schedule(ONE_SHOT, network(), trace=Trace([0.1], 1), budget=7).epochs == 7


def test_a_budget_that_is_too_small_is_an_error_with_its_place() -> None:
    text = ONE_SHOT.replace("epochs: 2}", "epochs: 2, repeat: 3}")
    (finding,) = check_schedule(text, network(), budget=2).findings
    assert "too small for the phases, which need 3" in finding.problem.message
    assert finding.problem.mark is not None and finding.problem.mark.line == 2


def test_a_budget_for_a_schedule_of_unknown_length_is_an_error() -> None:
    text = "version: 2\npruners: {p: {sparsity: 0.5}}\npolicies: [{pruner: p, at: 1}]\n"
    assert "give that length too (--epochs N)" in told(check_schedule(text, network(), budget=5))[0]
    assert told(check_schedule(text, network(), epochs=10, budget=5)) == []
