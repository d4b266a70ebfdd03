"""What the command line may name, and what is settled by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from schedengine.analysis.soups.members import find_members
from schedengine.analysis.soups.settled import settle
from schedengine.errors import SchedEngineError


def run(path: Path, **settings: Any) -> Path:
    path.mkdir(parents=True)
    (path / "run.json").write_text(json.dumps({"settings": {"model": "digits_cnn", **settings}}))
    (path / "model.safetensors").touch()
    return path


def test_a_run_stands_for_its_last_weights(tmp_path: Path) -> None:
    found = find_members([run(tmp_path / "a", seed=1), run(tmp_path / "b", seed=2)])
    assert [one.name for one in found.members] == ["a", "b"]
    assert found.members[0].path == tmp_path / "a" / "model.safetensors"
    assert [one["seed"] for one in found.settings] == [1, 2]


def test_replicas_come_by_number_and_have_the_settings_of_the_run_above(tmp_path: Path) -> None:
    folder = run(tmp_path / "run") / "soups" / "cycle-1"
    folder.mkdir(parents=True)
    for name in ("replica-10", "replica-2", "parent", "soup"):
        (folder / f"{name}.safetensors").touch()
    found = find_members([folder])
    assert [one.name for one in found.members] == ["replica-2", "replica-10"]
    assert found.parent == folder / "parent.safetensors" and found.settings[0]["model"] == "digits_cnn"


def test_no_member_is_called_as_what_is_made_of_them(tmp_path: Path) -> None:
    paths = [tmp_path / name / "ensemble.safetensors" for name in "ab"] + [tmp_path / "a" / "soup.safetensors"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert [one.name for one in find_members(paths).members] == ["a/ensemble", "b/ensemble", "a/soup"]
    assert find_members([paths[0], paths[2]]).members[1].name == "a/soup"


def test_names_are_as_long_as_tells_them_apart(tmp_path: Path) -> None:
    found = find_members([run(tmp_path / "x" / "seed0"), run(tmp_path / "y" / "seed0")])
    assert [one.name for one in found.members] == ["x/seed0", "y/seed0"]


def test_runs_that_began_with_the_same_weights_have_a_parent(tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    start.touch()
    runs = [run(tmp_path / name, weights=str(start)) for name in "ab"]
    assert find_members(runs).parent == start
    assert find_members([*runs, run(tmp_path / "c", weights=None)]).parent is None


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "only .*a/model.safetensors"),
        (["a", "a"], "stands twice"),
        (["a", "nowhere"], "nowhere: no such file or folder"),
        (["a", "empty"], "empty: an empty folder; give weights"),
        (["a", "going"], "not finished"),
    ],
)
def test_what_makes_no_soup_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    (run(tmp_path / "going") / "model.safetensors").unlink()
    with pytest.raises(SchedEngineError, match=message):
        find_members([tmp_path / name for name in names])


def test_what_the_user_says_wins_over_the_runs_and_these_over_the_usual() -> None:
    found = settle({"batch_size": 8}, [{"model": "digits_cnn", "batch_size": 32, "validation": 0.2}] * 2, 2)
    assert (found.model, found.batch_size, found.validation, found.data) == ("digits_cnn", 8, 0.2, "digits")
    assert found.is_of_runs


def test_settings_that_runs_differ_in_must_be_said() -> None:
    runs = [{"model": "digits_cnn", "data": "digits"}, {"model": "digits_cnn", "data": "fake"}]
    with pytest.raises(SchedEngineError, match=r"--data: the runs differ in it \(digits and fake\)"):
        settle({}, runs, 2)
    assert settle({"data": "fake"}, runs, 2).data == "fake"


def test_seeds_that_differ_are_remembered_unless_one_is_given() -> None:
    runs = [{"model": "digits_cnn", "seed": seed} for seed in (1, 2)]
    assert settle({}, runs, 2).seeds == (1, 2)
    chosen = settle({"seed": 2}, runs, 2)
    assert (chosen.seed, chosen.seeds, chosen.is_of_runs) == (2, (), False)


def test_files_need_a_model() -> None:
    with pytest.raises(SchedEngineError, match="--model"):
        settle({}, [], 2)
