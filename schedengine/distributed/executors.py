"""Calls that do not depend on each other, in processes of this machine or as tasks on a Ray cluster.

The only module that imports ray.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from schedengine.errors import MissingExtraError, SchedEngineError

Result = TypeVar("Result")


def run_local(function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], jobs: int) -> list[Result]:
    """Each call in a process of its own, ``jobs`` at a time, sharing the processor's cores; results in order.

    Args:
        function: importable by its name.
        calls: arguments that can be pickled.

    Raises:
        SchedEngineError: a process died; what the others did is kept by whatever they wrote.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_limit, initargs=(threads,)) as pool:
        futures = [pool.submit(function, *call) for call in calls]
        try:
            return [future.result() for future in futures]
        except BrokenProcessPool as error:
            raise SchedEngineError("a process died (killed, or out of memory); run again with --resume") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _limit(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def run_ray(function: Callable[..., Result], calls: Sequence[tuple[Any, ...]], address: str) -> list[Result]:
    """Each call as a task on a Ray cluster that is there already; ``local`` starts one on this machine for the while.

    Tasks that fail because their machine died are run again by Ray.

    Args:
        function: importable on the cluster.
        calls: arguments that can be pickled; paths must mean the same everywhere.
        address: of the cluster, as ``ray.init`` takes it; ``auto``, ``ray://host:10001``.

    Raises:
        MissingExtraError: Ray is not installed.
        SchedEngineError: no cluster answers there.
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
        task = ray.remote(function)
        return list(ray.get([task.remote(*call) for call in calls]))
    finally:
        ray.shutdown()
