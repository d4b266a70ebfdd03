"""Calls in other processes: results in order, errors as they are, deaths survived, nobody left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schedengine.distributed.cluster import check_room, gpus_of_a_task, run_ray
from schedengine.distributed.executors import Elsewhere
from schedengine.distributed.gpus import least_used, visible_devices
from schedengine.distributed.processes import run_local
from schedengine.errors import EffectWarning, MissingExtraError, Problem, SchedEngineError, ScheduleError

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc, sends signals")


def threads_and_gpus(number: int) -> tuple[int, int, str | None]:
    import torch

    return number, torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")


def sleep_or_fail(folder: str, is_failing: bool) -> None:
    Path(folder, str(os.getpid())).touch()
    if not is_failing:
        time.sleep(600)
    while len(os.listdir(folder)) < 2:  # until the others are there to be stopped
        time.sleep(0.05)
    raise MissingExtraError("a library", "extra")  # takes two arguments, so that pickle cannot make it again


def die_at_first(folder: str, number: int, times: int) -> int:
    """Another file for each time that it is called."""
    made = [Path(folder, f"{number}-{time}") for time in range(9)]
    here = next(path for path in made if not path.exists())
    here.touch()
    if made.index(here) < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def is_running(pid: str) -> bool:
    try:
        return "\nState:\tZ" not in Path("/proc", pid, "status").read_text()
    except OSError:
        return False


def test_each_process_has_its_threads_and_one_of_the_gpus_seen_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8932f937")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    seconds: list[float] = []
    found = run_local(
        threads_and_gpus, [(0,), (1,)], 2, threads=1, meanwhile=lambda: seconds.append(time.perf_counter())
    )
    assert found == [(0, 1, "3"), (1, 1, "GPU-8932f937")]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,GPU-8932f937"
    assert seconds


def test_no_calls_have_no_results() -> None:
    assert run_local(threads_and_gpus, [], 2) == []


def test_gpus_are_those_of_this_process() -> None:
    assert visible_devices(None, 0) == visible_devices("", 0) == visible_devices("0", 0) == []
    assert visible_devices("GPU-8932f937, MIG-GPU-8932f937/1/2", 2) == ["GPU-8932f937", "MIG-GPU-8932f937/1/2"]
    assert visible_devices("2,-1,0", 1) == ["2"]  # CUDA sees what stands before a name that does not exist


def test_gpus_go_round_and_a_freed_one_is_next() -> None:
    running: list[str | None] = []
    for _ in range(5):
        running.append(least_used(["0", "1"], running))
    assert running == ["0", "1", "0", "1", "0"]
    running.remove("1")
    assert least_used(["0", "1"], running) == "1"
    assert least_used([], []) is None


@linux
def test_the_work_of_a_process_that_died_is_run_again_alone(tmp_path: Path) -> None:
    with pytest.warns(EffectWarning, match="a process died .killed: out of memory.*run again"):
        assert run_local(die_at_first, [(str(tmp_path), 0, 0), (str(tmp_path), 1, 1)], 2, again=1) == [0, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-0", "1-0", "1-1"]


@linux
def test_a_process_that_dies_too_often_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SchedEngineError, match="a process died .*--resume"):
        run_local(die_at_first, [(str(tmp_path), 0, 9)], 2)
    assert len(list(tmp_path.iterdir())) == 1


@linux
def test_an_error_of_a_call_stops_the_others(tmp_path: Path) -> None:
    with pytest.raises(SchedEngineError, match=r"a library is not installed.*extra") as raised:
        run_local(sleep_or_fail, [(str(tmp_path), False), (str(tmp_path), True)], 2, again=2)
    assert "in sleep_or_fail" in str(raised.value.__cause__)
    assert not any(is_running(path.name) for path in tmp_path.iterdir())


SCRIPT = """
import pathlib, subprocess, sys, time
from schedengine.distributed.processes import run_local
def work(folder):
    reader = subprocess.Popen(["sleep", "600"])
    for pid in (__import__("os").getpid(), reader.pid):
        (pathlib.Path(folder) / str(pid)).touch()
    time.sleep(600)
if __name__ == "__main__":
    try:
        run_local(work, [(sys.argv[1],)], 1)
    except KeyboardInterrupt:
        print("interrupted")
"""


@linux
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_that_was_started_outlives_this_process(how: signal.Signals, tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SCRIPT)
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.05)
    if how is signal.SIGINT:  # as a terminal does it: to all
        os.killpg(process.pid, how)
    else:
        process.kill()
    assert process.communicate(timeout=60)[0] == ("interrupted\n" if how is signal.SIGINT else "")
    time.sleep(0.5)
    assert not any(is_running(path.name) for path in folder.iterdir())


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"jobs": 0}, "1 or more"),
        ({"jobs": 2, "ray": "auto"}, "this machine"),
        ({"num_gpus": 1}, "goes with --ray"),
        ({"ray": "auto", "num_gpus": -1}, "fraction of one or a whole"),
        ({"ray": "auto", "num_gpus": 1.5}, "fraction of one or a whole"),
        ({"ray": "auto", "num_gpus": float("nan")}, "fraction of one or a whole"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(place: dict[str, float], message: str) -> None:
    with pytest.raises(SchedEngineError, match=message):
        Elsewhere(**place)  # type: ignore[arg-type]


def test_one_process_of_this_machine_is_here() -> None:
    assert Elsewhere().is_here
    assert not Elsewhere(jobs=2).is_here
    assert not Elsewhere(ray="auto", num_gpus=0.5).is_here


def test_a_task_that_no_machine_has_room_for_is_refused() -> None:
    machines = [{"CPU": 4.0}, {"CPU": 4.0}, {"CPU": 2.0, "GPU": 1.0}]
    check_room(machines, 4, 0)
    check_room(machines, 2, 1)
    with pytest.raises(
        SchedEngineError, match="4 CPUs .* 1 GPUs .*: 2 with 4 CPUs and 0 GPUs; 1 with 2 CPUs and 1 GPUs"
    ):
        check_room(machines, 4, 1)
    with pytest.raises(SchedEngineError, match="machines there: none"):
        check_room([], 1, 0)


def test_a_task_takes_a_gpu_where_the_cluster_has_any() -> None:
    assert gpus_of_a_task([{"CPU": 4.0}], None) == 0
    assert gpus_of_a_task([{"CPU": 4.0}, {"GPU": 2.0}], None) == 1
    assert gpus_of_a_task([{"GPU": 2.0}], 0.5) == 0.5


def folder_or_error(number: int, error: Exception | None) -> tuple[int, str]:
    if error is not None:
        raise error
    return number, os.getcwd()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of one with a single CPU."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0, "include_dashboard": False})
    yield started.address
    started.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.ray
def test_tasks_are_run_in_the_folder_of_this_process(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = Elsewhere(ray=cluster).run(folder_or_error, [(0, None), (1, None)], threads=None)
    assert found == [(0, str(tmp_path)), (1, str(tmp_path))]


@pytest.mark.ray
def test_an_error_of_a_task_comes_out_as_it_is(cluster: str) -> None:
    error = ScheduleError([Problem("wrong", "here")])
    with pytest.raises(ScheduleError) as raised:
        run_ray(folder_or_error, [(0, error)], cluster)
    assert type(raised.value) is ScheduleError
    assert (raised.value.problems, str(raised.value)) == (error.problems, "here: wrong")


@pytest.mark.ray
def test_a_task_that_asks_for_more_than_the_cluster_has_is_refused(cluster: str) -> None:
    with pytest.raises(SchedEngineError, match="2 CPUs .* there: 1 with 1 CPUs and 0 GPUs"):
        run_ray(folder_or_error, [(0, None)], cluster, threads=2)
