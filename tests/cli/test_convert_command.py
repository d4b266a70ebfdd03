"""``schedengine convert``: what it writes, where, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from schedengine.cli import app as program

OLD = """\
# dense
lr_schedulers:
  lr: {class: StepLR, step_size: 45}  # slow
policies:
  - lr_scheduler: {instance_name: lr}
    epochs: [3]
"""
NEW = """\
# dense
version: 2
effects: warn

lr_schedulers:
  lr: {class: StepLR, step_size: 45}  # slow

policies:
  - {lr_scheduler: lr, clock: run, during: run, from: 4, until: 5, every: 1}
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    file = tmp_path / "old.yaml"
    file.write_text(OLD)
    return file


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        program.main(["convert", *map(str, arguments)])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_text_goes_to_standard_output_and_what_is_doubtful_to_the_other(
    capsys: pytest.CaptureFixture[str], old: Path
) -> None:
    code, out, err = run(capsys, old)
    assert (code, out) == (0, NEW)
    assert err.startswith(f"warning: {old}:2:1: has no version; read as version 1")


def test_out_writes_a_file_and_not_over_another(capsys: pytest.CaptureFixture[str], old: Path) -> None:
    new = old.parent / "made" / "new.yaml"
    assert run(capsys, old, "--out", new)[:2] == (0, "")
    assert new.read_text() == NEW
    code, _, err = run(capsys, old, "--out", new)
    assert code == 1
    assert err == f"error: --out {new}: is there already; choose another name, or write over it with --force\n"


def test_force_writes_over_the_file_itself(capsys: pytest.CaptureFixture[str], old: Path) -> None:
    assert run(capsys, old, "--out", old, "--force")[0] == 0
    assert old.read_text() == NEW
    code, out, err = run(capsys, old)
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == (
        f"{old}:2:10: error: version: is version 2 already; only version 1, Distiller's, is converted"
    )


def test_a_wrong_file_exits_1_and_writes_nothing(capsys: pytest.CaptureFixture[str], old: Path) -> None:
    old.write_text(OLD.replace("StepLR", "StopLR"))
    code, out, err = run(capsys, old, "--out", old.parent / "new.yaml")
    assert (code, out) == (1, "") and "did you mean StepLR" in err
    assert not (old.parent / "new.yaml").exists()
