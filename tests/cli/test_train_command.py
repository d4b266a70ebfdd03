"""``schedengine train``: arguments, what is printed, and going on."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from schedengine.cli.app import main

Run = Callable[..., tuple[int, str, str]]
SCHEDULE = """
version: 2
pruners:
  half: {sparsity: 0.5}
policies:
  - {pruner: half, at: 1}
"""
FAKE = ("--data", "fake", "--image-size", 8, "--batch-size", 256, "--model", "digits_cnn", "--lr", 0.01)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `train` into tmp_path/run: exit code, standard output, standard error."""
    (tmp_path / "s.yaml").write_text(SCHEDULE)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main(["train", "--out", "run", *(str(argument) for argument in arguments)])
        return (int(left.value.code or 0), *capsys.readouterr())

    return call


def test_a_run_ends_with_what_was_pruned_and_what_it_cost(run: Run) -> None:
    code, shown, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    assert (code, errors) == (0, "")
    assert "0.5000     0.5000" in shown  # target beside achieved
    assert "before: the dense model, after 1 epoch, before the first cut" in shown
    assert [line.split()[0] for line in shown.splitlines() if "%" in line][:3] == ["1", "validation", "test"]  # one cut
    left = {path.name for path in Path("run").iterdir()}
    files = "schedule.yaml run.json metrics.csv sparsity.csv checkpoint.pt model.safetensors best.json result.json"
    assert set(files.split()) <= left


def test_json_is_all_that_goes_to_standard_output(run: Run) -> None:
    _, shown, _ = run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--json")
    assert json.loads(shown)["pruned"][0]["target"] == 0.5


@pytest.mark.parametrize("left_out", ["--schedule", "--model"])
def test_schedule_and_model_are_needed_to_begin(run: Run, left_out: str) -> None:
    given = {"--schedule": "s.yaml", "--model": "digits_cnn"}
    del given[left_out]
    code, _, errors = run(*(word for pair in given.items() for word in pair))
    assert code == 2 and left_out in errors


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--model", "digits_cn"), "did you mean digits_cnn"),
        (
            ("--model", "squeezenet1_1", "--data", "fake", "--image-size", 8),
            "does not take the images of fake, 3x8x8: ",
        ),
        (("--model", "digits_cnn", "--workers", 2), "--workers 2: the images are in memory"),
        (("--model", "digits_cnn", "--plugin", "no_such"), "--plugin no_such: cannot import no_such"),
        (("--model", "digits_cnn", "--plugin", "a:b"), "--plugin a:b: not a module; write package.module"),
    ],
)
def test_a_mistake_leaves_no_folder_behind(run: Run, given: tuple[object, ...], message: str) -> None:
    code, _, errors = run("--schedule", "s.yaml", *given, "--epochs", 2)
    assert code == 1 and message in errors
    assert not Path("run").exists()


def test_the_best_epoch_is_said_to_count_from_0(run: Run) -> None:
    _, shown, _ = run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    assert "best epoch at sparsity 0.500: 1 (counted from 0), top-1" in shown


@pytest.mark.parametrize(
    ("line", "is_noted"),
    [
        ("{own: {class: cosine, from: 0.1}}", True),
        ("{own: {class: cosine}}", False),
        ("{own: {class: StepLR, step_size: 1}}", False),
    ],
)
def test_a_rate_that_the_schedule_overrides_is_noted(run: Run, line: str, is_noted: bool) -> None:
    Path("s.yaml").write_text(f"{SCHEDULE}  - {{lr_scheduler: own, during: run}}\nlr_schedulers: {line}\n")
    code, _, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    assert code == 0 and ("note: --lr has no effect" in errors) is is_noted


def test_resuming_takes_the_runs_own_arguments(run: Run) -> None:
    first = run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--json")
    assert run("--resume", "--json", "--epochs", 2, "--schedule", "s.yaml") == first


@pytest.mark.parametrize(
    ("given", "message"),
    [(("--lr", 0.2), "--lr 0.2: the run was started with 0.01"), (("--amp", "bf16"), "--amp bf16")],
)
def test_resuming_with_another_argument_is_an_error(run: Run, given: tuple[object, ...], message: str) -> None:
    run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    code, _, errors = run("--resume", *given)
    assert code == 1 and message in errors


def test_a_second_run_does_not_overwrite_the_first(run: Run) -> None:
    run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    code, _, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    assert code == 1 and "--resume" in errors


def test_an_interrupted_run_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("schedengine.training.train"), "train", interrupted)
    code, _, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2)
    assert (code, errors) == (130, "interrupted; go on with: schedengine train --resume --out run\n")


def test_diverging_is_an_error_with_epoch_and_step(run: Run) -> None:
    code, _, errors = run("--schedule", "s.yaml", *FAKE[:-2], "--lr", 1e30, "--epochs", 2)
    assert code == 1 and "epoch 0, step 1: the training loss is" in errors


@pytest.mark.parametrize(
    "options", [("--amp", "bf16"), ("--channels-last",), ("--accumulate", 2, "--optimizer", "adamw")]
)
def test_options_of_computing_prune_just_the_same(run: Run, options: tuple[object, ...]) -> None:
    code, shown, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--json", *options)
    assert (code, errors) == (0, "")
    assert json.loads(shown)["sparsity"] == pytest.approx(0.5, abs=1e-4)


def test_tensorboard_gets_a_row_an_epoch(run: Run) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--tensorboard")
    events = reader.EventAccumulator("run/tensorboard")
    events.Reload()
    assert [event.step for event in events.Scalars("sparsity")] == [0, 1]


def test_without_tensorboard_its_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.utils, "tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--tensorboard")
    assert code == 1 and "pip install 'schedengine[tensorboard]'" in errors
    assert not Path("run").exists()


def test_jobs_without_replicas_are_pointless_and_take_no_threads_away(run: Run) -> None:
    code, _, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--jobs", 2)
    assert code == 0 and "note: --jobs and --ray have no effect: no phase of the schedule has replicas" in errors
    assert json.loads(Path("run/run.json").read_text())["settings"]["threads"] == torch.get_num_threads()


def test_a_cluster_that_does_not_answer_is_missed_before_anything_is_trained(run: Run) -> None:
    pytest.importorskip("ray")
    code, _, errors = run("--schedule", "s.yaml", *FAKE, "--epochs", 2, "--ray", "127.0.0.1:1")
    assert code == 1 and "--ray 127.0.0.1:1: no cluster answers there" in errors
    assert not Path("run").exists()
