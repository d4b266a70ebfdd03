"""The folder of a run: what it refuses, and what it goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from schedengine.errors import CheckpointError, EffectWarning, SchedEngineError
from schedengine.training.run import RunFolder
from schedengine.training.settings import Settings
from schedengine.zoo.data import load_data

TEXT = "# kept as it is\nversion: 2\npolicies: []\n"


@pytest.fixture
def create(tmp_path: Path) -> Callable[[], RunFolder]:
    def make() -> RunFolder:
        (tmp_path / "asked.yaml").write_text(TEXT)
        settings = Settings(str(tmp_path / "asked.yaml"), "digits_cnn", seed=3)
        return RunFolder.create(tmp_path / "run", settings, load_data("fake", image_size=4))

    return make


def test_the_schedule_is_kept_verbatim_and_the_settings_as_they_were(create: Callable[[], RunFolder]) -> None:
    folder = create()
    assert folder.schedule.read_text() == TEXT
    assert RunFolder.open(folder.path).settings == folder.settings
    content = json.loads((folder.path / "run.json").read_text())
    assert content["settings"]["seed"] == 3 and "torch" in content["versions"]


def test_what_images_are_normalised_with_is_kept(create: Callable[[], RunFolder]) -> None:
    data = json.loads((create().path / "run.json").read_text())["data"]
    assert (data["classes"], data["shape"], data["mean"]) == (10, [3, 4, 4], [0.485, 0.456, 0.406])


def test_a_folder_takes_one_run_only(create: Callable[[], RunFolder]) -> None:
    create()
    with pytest.raises(SchedEngineError, match="holds a run already; go on with it \\(--resume\\)"):
        create()


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run to resume"):
        RunFolder.open(tmp_path)


def test_damaged_settings_are_refused(create: Callable[[], RunFolder]) -> None:
    folder = create()
    (folder.path / "run.json").write_text('{"settings": ')
    with pytest.raises(CheckpointError, match=r"run.json: damaged"):
        RunFolder.open(folder.path)


def test_a_run_without_a_finished_epoch_starts_at_the_beginning(create: Callable[[], RunFolder]) -> None:
    assert create().journal.load() is None


def test_rows_after_the_checkpoint_are_forgotten(create: Callable[[], RunFolder]) -> None:
    folder = create()
    for epoch in range(3):
        folder.journal.metrics.append([{"epoch": epoch}])
    folder.journal.save({"epochs_done": 2})
    folder.journal.load()
    assert [line.split(",")[0] for line in folder.journal.metrics.path.read_text().splitlines()] == ["epoch", "0", "1"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(create: Callable[[], RunFolder]) -> None:
    folder = create()
    for done in (1, 2):
        folder.journal.save({"epochs_done": done})
    (folder.path / "checkpoint.pt").write_bytes(b"PK\x03\x04")
    with pytest.warns(EffectWarning, match=r"going on from checkpoint.previous.pt"):
        state = folder.journal.load()
    assert state is not None and state["epochs_done"] == 1


def test_a_crash_between_the_two_renames_leaves_a_checkpoint(create: Callable[[], RunFolder]) -> None:
    folder = create()
    folder.journal.save({"epochs_done": 1})
    (folder.path / "checkpoint.pt").rename(folder.path / "checkpoint.previous.pt")
    state = folder.journal.load()
    assert state is not None and state["epochs_done"] == 1


def test_with_both_checkpoints_damaged_nothing_is_trained(create: Callable[[], RunFolder]) -> None:
    folder = create()
    (folder.path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(CheckpointError):
        folder.journal.load()


def test_a_checkpoint_of_another_schedule_is_refused(create: Callable[[], RunFolder]) -> None:
    folder = create()
    folder.journal.save({"epochs_done": 1})
    folder.schedule.write_text(TEXT + "# edited\n")
    with pytest.raises(CheckpointError, match="belongs to another run"):
        folder.journal.load()


def test_a_schedule_given_again_must_have_the_same_text(create: Callable[[], RunFolder], tmp_path: Path) -> None:
    folder = create()
    folder.check_schedule(tmp_path / "asked.yaml")
    (tmp_path / "asked.yaml").write_text("version: 2\n")
    with pytest.raises(SchedEngineError, match="not the text that the run was begun with"):
        folder.check_schedule(tmp_path / "asked.yaml")


def test_what_a_killed_process_was_writing_is_removed(create: Callable[[], RunFolder]) -> None:
    folder = create()
    (folder.path / "soups" / "cycle-1").mkdir(parents=True)
    for leftover in (".checkpoint.pt.123.tmp", "soups/cycle-1/.replica-0.safetensors.123.tmp"):
        (folder.path / leftover).write_bytes(b"half")
    RunFolder.open(folder.path).tidy()
    assert not list(folder.path.rglob(".*"))
