"""Calls that do not depend on each other, in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection
from typing import Any, TypeVar

from schedengine.distributed.gpus import VARIABLE, count_devices, least_used, visible_devices
from schedengine.distributed.outcome import Outcome, attempt
from schedengine.errors import EffectWarning, SchedEngineError

Result = TypeVar("Result")

_SPAWN = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
_GRACE = 10.0
"""Seconds that a process has to end by itself, before it is made to."""


def run_local(
    function: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
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
        self._devices = visible_devices(os.environ.get(VARIABLE), count_devices())
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

    def outcome(self) -> Outcome | None:
        """What came of the call once it has ended; None if the process died."""
        try:
            answer: Outcome | None = pickle.loads(self.pipe.recv_bytes()) if self.pipe.poll() else None
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


@contextmanager
def _birth(device: str | None) -> Iterator[None]:
    """What a process that is started meanwhile inherits: its GPU, and that interrupts do not reach it.

    Both have to hold before its first line: a user's script may ask for GPUs when it is imported there, and a traceback
    would be printed if the user interrupted the import. An interrupt of this process is delivered at the end.
    """
    before = os.environ.get(VARIABLE)
    if sys.platform != "win32":
        from multiprocessing import resource_tracker

        resource_tracker.ensure_running()  # else started with the process, and that lets interrupts through again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        if device is not None:
            os.environ[VARIABLE] = device
        yield
    finally:
        if before is not None:
            os.environ[VARIABLE] = before
        elif device is not None:
            del os.environ[VARIABLE]
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _answer(pipe: connection.Connection, work: bytes, threads: int) -> None:
    """In the process: make the call, and send what came of it.

    It leads a group of its own: readers of data that it starts notice its death late, or never if they were just born.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal may send it to all; who started this one stops it
    if sys.platform != "win32":
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    pipe.send_bytes(attempt(_unpickled, (work,), threads).pickled())


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
