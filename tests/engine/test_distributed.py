"""Two processes on the CPU: every rank has the same masks, whatever decides them."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from loops import sgd, small_model
from torch import nn

from schedengine import load_schedule

AXES: dict[str, dict[str, Any]] = {
    "global": {"sparsity": {"ramp": "cubic", "to": 0.8}},
    "random": {"criterion": "random", "sparsity": {"ramp": "cubic", "to": 0.8}},
    "dense": {"sparsity": {"ramp": "cubic", "to": 0.8}, "update": "reselect", "pruned": "dense"},
    "std": {"threshold": {"std": 0.5}, "update": "reselect"},
}


def digest(scheduler: Any) -> str:
    masks = [scheduler.masks.mask(name) for name in scheduler.masks.names]
    return hashlib.sha256(b"".join(mask.numpy().tobytes() for mask in masks)).hexdigest()


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # not whatever address the machine's name resolves to
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # They meet at a file: a port that was free a moment ago may be taken.
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    lines = []
    for name, axes in AXES.items():
        model = nn.parallel.DistributedDataParallel(small_model())
        optimizer = sgd(model)
        document = {"version": 2, "pruners": {"p": axes}, "policies": [{"pruner": "p", "during": "run"}]}
        scheduler = load_schedule(document).bind(model, optimizer, epochs=3)
        for epoch in scheduler.epochs():
            scheduler.on_epoch_begin(epoch)
            for step in range(3):
                scheduler.on_minibatch_begin(epoch, step, 3)
                images = torch.randn(
                    4, 2, 6, 6, generator=torch.Generator().manual_seed(100 * epoch + 10 * step + rank)
                )
                loss = scheduler.before_backward_pass(epoch, step, 3, model(images).square().mean())
                optimizer.zero_grad()
                loss.backward()
                scheduler.before_parameter_optimization(epoch, step, 3)
                optimizer.step()
                scheduler.on_minibatch_end(epoch, step, 3)
            scheduler.on_epoch_end(epoch)
            lines.append(f"{name} {epoch} {digest(scheduler)}")
    Path(folder, str(rank)).write_text("\n".join(lines))
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process that is torn down in order; what matters is written


@pytest.mark.filterwarnings("ignore")
def test_masks_are_identical_on_both_ranks(tmp_path: Path) -> None:
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = ((tmp_path / str(rank)).read_text().splitlines() for rank in range(2))
    assert first == second and len(first) == 3 * len(AXES)
    assert len({line.split()[2] for line in first}) > len(AXES)
