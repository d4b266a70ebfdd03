"""Calls that do not depend on each other, as tasks on a Ray cluster. The only module that imports ray."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from schedengine.distributed.outcome import Outcome, attempt
from schedengine.errors import MissingExtraError, SchedEngineError

Result = TypeVar("Result")
_ANSWER = 10.0
"""Seconds that a cluster has to answer."""


def run_ray(
    function: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
    address: str,
    *,
    threads: int | None = None,
    num_gpus: float | None = None,
    again: int = 3,
    meanwhile: Callable[[], None] | None = None,
) -> list[Result]:
    """Each call as a task on a Ray cluster that is there already; ``local`` starts one on this machine for the while.

    A task is run in this process's working directory where the machine has it, so that relative paths mean the same.
    When a call raises, or the user interrupts, tasks that still run are ended.

    Args:
        function: importable on the cluster.
        calls: arguments that can be pickled; paths must mean the same everywhere.
        address: of the cluster, as ``ray.init`` takes it; ``auto``, ``ray://host:10001``.
        threads: of each task, on the CPU, and the CPUs that it asks for; None asks for 1 and leaves them to Ray.
        num_gpus: that each task asks for; None: 1 where the cluster has any, else 0.
        again: how often Ray runs a task again whose process or machine died (``max_retries``); one that its memory
            monitor ends, it runs again without end.
        meanwhile: called here about once a second while tasks run.

    Raises:
        MissingExtraError: Ray is not installed.
        SchedEngineError: no cluster answers there, it has no room for a task, or a process died once more.
        Exception: what a call raised; its traceback there is told as the cause.
    """
    with _connected(address) as ray:
        cpus, gpus = _resources(ray, threads, num_gpus)
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=again)(_in_folder)
        tasks = [task.remote(os.getcwd(), function, call, threads) for call in calls]
        return _gathered(tasks, meanwhile)


def check_cluster(address: str, threads: int | None, num_gpus: float | None) -> None:
    """Miss now what ``run_ray`` would miss later: Ray, a cluster that answers, room for a task.

    Raises:
        MissingExtraError: Ray is not installed.
        SchedEngineError: no cluster answers there, or it has no room for a task.
    """
    if address == "local":
        _imported()
        return
    with _connected(address) as ray:
        _resources(ray, threads, num_gpus)


def _imported() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    return ray


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    ray = _imported()
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SchedEngineError(f"--ray {address}: no cluster answers there ({error})") from error
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise SchedEngineError(f"--ray {address}: {_reason(error)}; run again with --resume") from error
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Whether anything listens there; Ray itself would try for minutes."""
    found = re.fullmatch(r"(?:ray://)?([^/]+):(\d+)", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise SchedEngineError(f"--ray {address}: no cluster answers there ({error})") from error


def _resources(ray: Any, threads: int | None, num_gpus: float | None) -> tuple[float, float]:
    """CPUs and GPUs that a task asks for, of which some machine has as many."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = 1 if threads is None else threads, gpus_of_a_task(machines, num_gpus)
    check_room(machines, cpus, gpus)
    return cpus, gpus


def gpus_of_a_task(machines: Sequence[Mapping[str, float]], num_gpus: float | None) -> float:
    """As asked; else one where any machine has one.

    Example:
        >>> gpus_of_a_task([{"CPU": 8}, {"CPU": 8, "GPU": 2}], None), gpus_of_a_task([{"CPU": 8}], None)
        (1, 0)
    """
    if num_gpus is not None:
        return num_gpus
    return 1 if any(resources.get("GPU", 0) >= 1 for resources in machines) else 0


def check_room(machines: Sequence[Mapping[str, float]], cpus: float, gpus: float) -> None:
    """Whether some machine could run a task; Ray waits for one without end.

    Args:
        machines: the resources of each.

    Raises:
        SchedEngineError: none could.
    """
    shapes = [(resources.get("CPU", 0), resources.get("GPU", 0)) for resources in machines]
    if any(has_cpus >= cpus and has_gpus >= gpus for has_cpus, has_gpus in shapes):
        return
    there = "; ".join(f"{count} with {cpu:g} CPUs and {gpu:g} GPUs" for (cpu, gpu), count in Counter(shapes).items())
    raise SchedEngineError(
        f"no machine of the cluster has room for a task, which asks for {cpus:g} CPUs (--threads) and {gpus:g} GPUs "
        f"(--num-gpus); machines there: {there or 'none'}"
    )


def _in_folder(folder: str, function: Callable[..., Any], call: tuple[Any, ...], threads: int | None) -> Outcome:
    """In the task."""
    if os.path.isdir(folder):
        os.chdir(folder)
    return attempt(function, call, threads)


def _gathered(tasks: Sequence[Any], meanwhile: Callable[[], None] | None) -> list[Any]:
    """Results in order; the first error of any, as soon as it is there."""
    import ray

    found: dict[Any, Any] = {}
    pending = list(tasks)
    while pending:
        done, pending = ray.wait(pending, num_returns=len(pending), timeout=1)
        found |= {task: ray.get(task).get() for task in done}
        if meanwhile is not None:
            meanwhile()
    return [found[task] for task in tasks]


def _reason(error: Exception) -> str:
    """What Ray says in one line: the first, and of a traceback the last."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines() or [type(error).__name__]
    first, last = lines[0].rstrip(".:"), lines[-1]
    return first if len(lines) == 1 or first.endswith(last) else f"{first}: {last}"
