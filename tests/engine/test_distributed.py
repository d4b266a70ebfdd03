"""Two processes on the CPU: every rank has the same masks and weights, whatever decides them; every method."""

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
from loops import batch, sgd, small_model
from methods import METHODS
from torch import nn
from torch.nn.functional import cross_entropy

from schedengine import load_schedule

AXES: dict[str, dict[str, Any]] = {
    "global": {"sparsity": {"ramp": "cubic", "to": 0.8}},
    "random": {"criterion": "random", "sparsity": {"ramp": "cubic", "to": 0.8}},
    "dense": {"sparsity": {"ramp": "cubic", "to": 0.8}, "update": "reselect", "pruned": "dense"},
    "std": {"threshold": {"std": 0.5}, "update": "reselect"},
}


def document(axes: dict[str, Any]) -> dict[str, Any]:
    return {"version": 2, "pruners": {"p": axes}, "policies": [{"pruner": "p", "during": "run"}]}


DOCUMENTS = {**{name: document(axes) for name, axes in AXES.items()}, **METHODS}


def digest(scheduler: Any, model: nn.Module) -> str:
    masks = [scheduler.masks.mask(name) for name in scheduler.masks.names]
    values = [parameter.detach() for parameter in model.parameters()]
    return hashlib.sha256(b"".join(one.numpy().tobytes() for one in (*masks, *values))).hexdigest()


def images_of(epoch: int, step: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Other images on every rank."""
    return batch(epoch + 50 * rank, step)


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    if sys.platform == "linux":  # not whatever address the machine's name resolves to
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # They meet at a file: a port that was free a moment ago may be taken.
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    lines = []
    data = [images_of(9, step, rank) for step in range(3)]
    for name, schedule in DOCUMENTS.items():
        model = nn.parallel.DistributedDataParallel(small_model())
        model.module[1].eval()  # statistics are each rank's own
        optimizer = sgd(model, weight_decay=0.01)
        given: dict[str, Any] = {"data": data, "loss": cross_entropy, "example_inputs": data[0][0][:1]}
        scheduler = load_schedule(schedule).bind(model, optimizer, epochs=6, steps_per_epoch=3, **given)
        for epoch in scheduler.epochs():
            scheduler.on_epoch_begin(epoch)
            for step in range(3):
                scheduler.on_minibatch_begin(epoch, step, 3)
                images, labels = images_of(epoch, step, rank)
                loss = scheduler.before_backward_pass(epoch, step, 3, cross_entropy(model(images), labels))
                optimizer.zero_grad()
                loss.backward()
                scheduler.before_parameter_optimization(epoch, step, 3)
                optimizer.step()
                scheduler.on_minibatch_end(epoch, step, 3)
            scheduler.on_epoch_end(epoch)
            lines.append(f"{name}: {epoch} {digest(scheduler, model)}")
    Path(folder, str(rank)).write_text("\n".join(lines))
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process that is torn down in order; what matters is written


@pytest.mark.filterwarnings("ignore")
def test_masks_and_weights_are_identical_on_both_ranks(tmp_path: Path) -> None:
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = ((tmp_path / str(rank)).read_text().splitlines() for rank in range(2))
    assert [line for line, other in zip(first, second) if line != other] == []
    assert len(first) == len(second) == 6 * len(DOCUMENTS)
    assert len({line.split()[-1] for line in first}) > len(DOCUMENTS)
