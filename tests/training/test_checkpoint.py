"""Checkpoints: whole or not there, and never believed blindly."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from schedengine.errors import CheckpointError
from schedengine.training.checkpoint import CHECKPOINT_MARK, load_checkpoint, previous, save_checkpoint


class Payload:
    """Runs a command when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pt"


def saved(path: Path, epoch: int = 1) -> bytes:
    save_checkpoint({"epoch": epoch, "weights": torch.arange(1000.0)}, path)
    return path.read_bytes()


def test_what_was_saved_is_loaded(path: Path) -> None:
    saved(path)
    state = load_checkpoint(path)
    assert state["epoch"] == 1 and torch.equal(state["weights"], torch.arange(1000.0))


def test_the_checkpoint_before_the_last_is_kept(path: Path) -> None:
    saved(path, 1), saved(path, 2)
    assert (load_checkpoint(previous(path))["epoch"], load_checkpoint(path)["epoch"]) == (1, 2)


def test_a_crash_in_the_middle_of_a_write_leaves_the_last_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(path, 1)

    def dies(state: object, file: object) -> None:
        file.write(b"PK half a file")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", dies)
    with pytest.raises(OSError, match="no space"):
        saved(path, 2)
    assert load_checkpoint(path)["epoch"] == 1
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_a_missing_file_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load_checkpoint(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(path: Path, share: float) -> None:
    whole = saved(path)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="cut off"):
        load_checkpoint(path)


def test_a_changed_bit_is_noticed(path: Path) -> None:
    content = bytearray(saved(path))
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_a_foreign_state_dict_is_refused(path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of schedengine"):
        load_checkpoint(path)


def test_any_other_archive_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match="not a checkpoint of schedengine"):
        load_checkpoint(path)


def test_a_pickle_is_refused_and_its_code_does_not_run(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_forged_mark_does_not_make_code_run(path: Path, tmp_path: Path) -> None:
    torch.save({"mark": CHECKPOINT_MARK, "version": 1, "state": Payload(tmp_path / "ran")}, path)
    with pytest.raises(CheckpointError, match="more than tensors"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_another_version_is_refused(path: Path) -> None:
    torch.save({"mark": CHECKPOINT_MARK, "version": 99, "state": {}}, path)
    with pytest.raises(CheckpointError, match="has version 99; this release reads 2"):
        load_checkpoint(path)
