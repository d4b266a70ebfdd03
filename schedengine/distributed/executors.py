"""Calls that do not depend on each other, in processes of this machine or as tasks on a Ray cluster.

The only module that imports ray.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, TypeVar

from schedengine.errors import EffectWarning, MissingExtraError, SchedEngineError

Result = TypeVar("Result")
Calls = Sequence[tuple[Any, ...]]

_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
_GPUS = "CUDA_VISIBLE_DEVICES"
_GRACE = 10.0
"""Seconds that a process has to end by itself, before it is made to."""


@dataclass(frozen=True)
class Elsewhere:
    """Where calls are made: in processes of this machine, or on a Ray cluster.

    Args:
        jobs: processes at a time, at least 1; of this machine only, a cluster starts as many tasks as it has room for.
        ray: address of a cluster; None for processes of this machine.
        num_gpus: of each task on the cluster, at least 0, a fraction to share one; None: see ``run_ray``.

    Raises:
        SchedEngineError: a number is out of range, or goes with the other place.
    """

    jobs: int = 1
    ray: str | None = None
    num_gpus: float | None = None

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise SchedEngineError(f"--jobs {self.jobs}: processes at a time, 1 or more")
        if self.ray is not None and self.jobs > 1:
            raise SchedEngineError("--jobs is for this machine; with --ray the cluster starts what it has room for")
        if self.num_gpus is None:
            return
        if self.ray is None:
            raise SchedEngineError("--num-gpus goes with --ray; local processes share the GPUs that are here")
        if not 0 <= self.num_gpus < math.inf or (self.num_gpus > 1 and self.num_gpus % 1):
            raise SchedEngineError(f"--num-gpus {self.num_gpus:g}: of each task, a fraction of one or a whole number")

    @property
    def is_here(self) -> bool:
        """Whether nothing is gained by another process: one at a time, on this machine."""
        return self.jobs == 1 and self.ray is None

    def run(
        self,
        function: Callable[..., Result],
        calls: Calls,
        *,
        threads: int | None,
        again: int = 2,
        meanwhile: Callable[[], None] | None = None,
    ) -> list[Result]:
        """Results in order, of ``run_local`` or ``run_ray``; its arguments and errors are theirs."""
        if self.ray is None:
            return run_local(function, calls, self.jobs, threads=threads, again=again, meanwhile=meanwhile)
        return run_ray(
            function,
            calls,
            self.ray,
            threads=threads,
            num_gpus=self.num_gpus,
            again=again,
            meanwhile=meanwhile,
        )


def run_local(
    function: Callable[..., Result],
    calls: Calls,
    jobs: int,
    *,
    threads: int | None = None,
    again: int = 0,
    meanwhile: Callable[[], None] | None = None,
) -> list[Result]:
    """Each call in a process of its own, ``jobs`` at a time; results in order.

    Where this process sees GPUs, each of the others sees one of them, the one with the fewest. When a call raises, or
    the user interrupts, the processes that still run are terminated; none outlives this one.

    Args:
        function: importable by its name.
        calls: arguments that can be pickled.
        jobs: processes at a time, at least 1.
        threads: of each process, on the CPU; None shares the cores.
        again: how often a call is made again whose process died, each time with an ``EffectWarning``.
        meanwhile: called here about once a second while processes run.

    Raises:
        SchedEngineError: a process died once more; what the others did is kept by whatever they wrote.
        Exception: what a call raised; its traceback there is told as the cause.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs) if threads is None else threads
    return _Pool([pickle.dumps((function, call)) for call in calls], jobs, threads, again).run(meanwhile)


def visible_devices(asked: str | None, count: int) -> list[str]:
    """The GPUs that a process sees, as ``CUDA_VISIBLE_DEVICES`` names them: by index, UUID, or MIG name.

    Args:
        asked: the variable in its environment; None where it is not set.
        count: how many it sees; fewer than are named, if a name does not exist.

    Example:
        >>> visible_devices(None, 2), visible_devices("3,GPU-8932f937", 2), visible_devices("1,7", 1)
        (['0', '1'], ['3', 'GPU-8932f937'], ['1'])
    """
    names = [str(index) for index in range(count)] if asked is None else [name.strip() for name in asked.split(",")]
    return names[:count]


def least_used(devices: Sequence[str], used: Sequence[str | None]) -> str | None:
    """The GPU that the next process gets, the first of several; None where there are none.

    Args:
        devices: that there are.
        used: one for each process that runs.

    Example:
        >>> least_used(["0", "1"], []), least_used(["0", "1"], ["0"]), least_used(["0", "1"], ["1", "0"])
        ('0', '1', '0')
    """
    return min(devices, key=used.count, default=None)


def _count_devices() -> int:
    import torch

    return torch.cuda.device_count()


@contextmanager
def _birth(device: str | None) -> Iterator[None]:
    """What a process that is started meanwhile inherits: its GPU, and that interrupts do not reach it.

    Both have to hold before its first line: a user's script may ask for GPUs when it is imported there, and a traceback
    would be printed if the user interrupted the import. An interrupt of this process is delivered at the end.
    """
    before = os.environ.get(_GPUS)
    if sys.platform != "win32":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # else started with the process, and that lets interrupts through again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if device is not None:
            os.environ[_GPUS] = device
        yield
    finally:
        if before is not None:
            os.environ[_GPUS] = before
        elif device is not None:
            del os.environ[_GPUS]
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Pool:
    """Calls in a process each, ``jobs`` at a time.

    Args:
        works: functions with their arguments, pickled.
        jobs, threads, again: as for ``run_local``.
    """

    def __init__(self, works: Sequence[bytes], jobs: int, threads: int, again: int) -> None:
        self._works = works
        self._jobs = jobs
        self._threads = threads
        self._again = again
        self._devices = visible_devices(os.environ.get(_GPUS), _count_devices())
        self._waiting = deque(range(len(works)))
        self._running: list[_Process] = []
        self._found: dict[int, Any] = {}
        self._deaths = Counter[int]()

    def run(self, meanwhile: Callable[[], None] | None) -> list[Any]:
        """Results in order; whatever happens, no process is left."""
        try:
            while self._waiting or self._running:
                self._fill()
                connection.wait([one.pipe for one in self._running], timeout=1)
                self._collect()
                if meanwhile is not None:
                    meanwhile()
        finally:
            _stop(self._running)
        return [self._found[place] for place in range(len(self._works))]

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._jobs:
            place = self._waiting.popleft()
            device = least_used(self._devices, [one.device for one in self._running])
            with _birth(device):
                self._running.append(_Process(place, device, self._works[place], self._threads))

    def _collect(self) -> None:
        for one in [one for one in self._running if one.has_ended()]:
            outcome = one.outcome()
            self._running.remove(one)
            if outcome is None:
                self._bury(one)
            else:
                self._found[one.place] = outcome.get()

    def _bury(self, one: _Process) -> None:
        self._deaths[one.place] += 1
        if self._deaths[one.place] > self._again:
            often = f", {self._again + 1} times over the same work" if self._again else ""
            raise SchedEngineError(f"a process died ({one.death()}){often}; run again with --resume")
        warnings.warn(EffectWarning(f"a process died ({one.death()}); its work is run again"), stacklevel=2)
        self._waiting.append(one.place)


class _Process:
    """A call in a process of its own, started.

    Args:
        place: of the call, from 0.
        device: the GPU that it sees.
        work: function and arguments, pickled.
        threads: on the CPU.
    """

    def __init__(self, place: int, device: str | None, work: bytes, threads: int) -> None:
        self.place = place
        self.device = device
        self.pipe, theirs = _SPAWN.Pipe(duplex=False)
        self.process = _SPAWN.Process(target=_answer, args=(theirs, work, threads))
        self.process.start()
        theirs.close()

    def has_ended(self) -> bool:
        """Whether it answered or died; the pipe alone may be held open by processes that a dead one started."""
        return not self.process.is_alive() or self.pipe.poll()

    def outcome(self) -> _Outcome | None:
        """What came of the call once it has ended; None if the process died."""
        try:
            answer: _Outcome | None = pickle.loads(self.pipe.recv_bytes()) if self.pipe.poll() else None
        except (EOFError, ConnectionResetError):
            answer = None
        self.process.join(_GRACE)
        _stop([self])
        return answer

    def death(self) -> str:
        """In words, how it died."""
        code = self.process.exitcode or 0
        if code == -9:
            return "killed: out of memory?"
        return f"signal {-code}, {signal.strsignal(-code)}" if code < 0 else f"exit code {code}"


def _stop(running: Sequence[_Process]) -> None:
    """End processes, and all that they started."""
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.join(_GRACE)
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
        if sys.platform != "win32" and one.process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):  # of a group that nobody is left in
                os.killpg(one.process.pid, signal.SIGKILL)
        one.pipe.close()


def _answer(pipe: connection.Connection, work: bytes, threads: int) -> None:
    """In the process: make the call, and send what came of it.

    It leads a group of its own: readers of data that it starts notice its death late, or never if they were just born.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal may send it to all; who started this one stops it
    if sys.platform != "win32":
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe.send_bytes(_attempt(_unpickled, (work,), threads).pickled())


def _end_with_parent() -> None:
    """A parent that is killed can stop nobody, and whoever resumes its work must not find it still being done."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _unpickled(work: bytes) -> Any:
    function, call = pickle.loads(work)
    return function(*call)


@dataclass(frozen=True)
class _Outcome:
    """What came of a call: a value, or an error that can be pickled and where it was raised."""

    value: Any = None
    error: Exception | None = None
    where: str = ""

    def get(self) -> Any:
        if self.error is not None:
            raise self.error from _Traceback(self.where)
        return self.value

    def pickled(self) -> bytes:
        try:
            return pickle.dumps(self)
        except Exception as error:  # whatever a value raises that cannot be pickled
            return pickle.dumps(_failure(error))


class _Traceback(Exception):
    """Of another process, as text."""

    def __str__(self) -> str:
        return f"in another process\n{self.args[0]}"


def _attempt(function: Callable[..., Any], call: tuple[Any, ...], threads: int | None) -> _Outcome:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    try:
        return _Outcome(function(*call))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> _Outcome:
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # some classes cannot be made again from their message
        is_ours = isinstance(error, SchedEngineError)
        error = SchedEngineError(str(error)) if is_ours else RuntimeError(f"{type(error).__name__}: {error}")
    return _Outcome(error=error, where=where)


def run_ray(
    function: Callable[..., Result],
    calls: Calls,
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
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error
    try:
        ray.init(address=address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise SchedEngineError(f"--ray {address}: no cluster answers there ({error})") from error
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        cpus, gpus = 1 if threads is None else threads, gpus_of_a_task(machines, num_gpus)
        check_room(machines, cpus, gpus)
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=again)(_in_folder)
        tasks = [task.remote(os.getcwd(), function, call, threads) for call in calls]
        return _gathered(tasks, meanwhile)
    except ray.exceptions.RayError as error:
        raise SchedEngineError(f"--ray {address}: {_reason(error)}; run again with --resume") from error
    finally:
        ray.shutdown()


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


def _in_folder(folder: str, function: Callable[..., Any], call: tuple[Any, ...], threads: int | None) -> _Outcome:
    """In the task."""
    if os.path.isdir(folder):
        os.chdir(folder)
    return _attempt(function, call, threads)


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
