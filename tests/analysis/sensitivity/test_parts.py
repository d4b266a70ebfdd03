"""Shards: parts of a sweep that add up to the whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from schedengine.analysis.sensitivity.images import Shard
from schedengine.analysis.sensitivity.merge import merge
from schedengine.analysis.sensitivity.session import Request, measure, measure_in_parts, put_together
from schedengine.errors import CheckpointError, DataError, SchedEngineError
from schedengine.zoo.models import build_model
from schedengine.zoo.weights import save_weights

WAY = "16:channels_last"


@pytest.fixture(scope="module")
def request_(tmp_path_factory: pytest.TempPathFactory) -> Request:
    weights = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(build_model("digits_cnn", classes=10, channels=1), weights, {})
    return Request("digits_cnn", str(weights), levels="0.5,0.9", batch_size=32, way=WAY, parameters=("conv*",))


@pytest.fixture(scope="module")
def whole(request_: Request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    measure(request_, folder)
    return folder


@pytest.fixture(scope="module")
def shards(request_: Request, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp("shard") for _ in range(3)]
    for number, folder in enumerate(folders, 1):
        measure(replace(request_, shard=f"{number}/3"), folder)
    return folders


def test_merged_shards_are_the_file_of_the_whole(whole: Path, shards: list[Path], tmp_path: Path) -> None:
    put_together([shards[2], shards[0], shards[1]], tmp_path / "merged.csv")
    assert (tmp_path / "merged.csv").read_bytes() == (whole / "sensitivity.csv").read_bytes()


def test_a_missing_shard_is_named(shards: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="2/3 missing"):
        merge([shards[0], shards[2]])


def test_a_shard_that_comes_twice_is_named(shards: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="1/3 more than once; 3/3 missing"):
        merge([shards[0], shards[0], shards[1]])


def test_shards_of_other_sweeps_are_refused(request_: Request, shards: list[Path], tmp_path: Path) -> None:
    measure(replace(request_, shard="3/3", granularity="filter"), tmp_path)
    with pytest.raises(CheckpointError, match="granularity differ"):
        merge([*shards[:2], tmp_path])


def test_an_unfinished_shard_is_refused(shards: list[Path], tmp_path: Path) -> None:
    shutil.copytree(shards[0], tmp_path / "copy")
    about = tmp_path / "copy" / "sweep.json"
    about.write_text(about.read_text().replace('"done": true', '"done": false'))
    with pytest.raises(CheckpointError, match="not finished"):
        merge([tmp_path / "copy", *shards[1:]])


def test_local_processes_give_the_file_of_the_whole(request_: Request, whole: Path, tmp_path: Path) -> None:
    measure_in_parts(request_, tmp_path, jobs=2)
    assert (tmp_path / "sensitivity.csv").read_bytes() == (whole / "sensitivity.csv").read_bytes()


@pytest.mark.ray
def test_tasks_of_a_local_ray_give_the_file_of_the_whole(request_: Request, whole: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    measure_in_parts(request_, tmp_path, jobs=2, ray="local")
    assert (tmp_path / "sensitivity.csv").read_bytes() == (whole / "sensitivity.csv").read_bytes()


def test_a_subset_of_the_images_has_bounds_that_hold(request_: Request, whole: Path, tmp_path: Path) -> None:
    import pandas

    exact = pandas.read_csv(whole / "sensitivity.csv")
    found = measure(replace(request_, subset=80), tmp_path)
    assert set(found["samples"]) == {80}
    assert ((found["drop_low"] <= exact["drop"] + 1e-9) & (exact["drop"] <= found["drop_high"] + 1e-9)).mean() > 0.9


def test_what_does_not_go_together_is_refused(request_: Request) -> None:
    for wrong in ({"shard": "1/2", "subset": 10}, {"floor": 5.0}, {"within": 1.0, "subset": 5}, {"way": "big"}):
        with pytest.raises(SchedEngineError):
            measure(replace(request_, **wrong), Path("nowhere"))  # type: ignore[arg-type]


def test_more_shards_than_batches_are_refused(request_: Request, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fewer batches"):
        measure(replace(request_, shard="9/9"), tmp_path)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_is_one_of_several(text: str) -> None:
    with pytest.raises(SchedEngineError, match="1/4"):
        Shard.parse(text)


def test_what_is_no_shard_is_told(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a whole sweep"):
        merge([whole])
    with pytest.raises(CheckpointError, match="no such shard"):
        merge([whole, tmp_path / "nowhere"])


def test_an_axis_that_is_no_yaml_is_told(request_: Request, tmp_path: Path) -> None:
    with pytest.raises(SchedEngineError, match="not what a schedule could hold"):
        measure(replace(request_, granularity="{block: [4"), tmp_path)
