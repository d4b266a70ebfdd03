"""Where calls are made that do not depend on each other: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from schedengine.distributed.cluster import check_cluster, run_ray
from schedengine.distributed.processes import run_local
from schedengine.errors import SchedEngineError

Result = TypeVar("Result")


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

    def check(self, threads: int | None) -> None:
        """Miss now what ``run`` would miss later.

        Raises:
            SchedEngineError: there is a cluster to be asked, and it does not answer, or has no room.
        """
        if self.ray is not None:
            check_cluster(self.ray, threads, self.num_gpus)

    def run(
        self,
        function: Callable[..., Result],
        calls: Sequence[tuple[Any, ...]],
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
