"""Two processes on the CPU: both cut by what both have seen."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from schedengine.criteria.followers import look
from schedengine.criteria.statistics import Statistics
from schedengine.pruners.reconstruction import reconstructed

IMAGES = torch.tensor([[1.0, -1.0], [2.0, 0.0]])


def one_rank(rank: int, folder: str) -> None:
    if sys.platform == "linux":  # not whatever address the machine's name resolves to
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    layer, statistics = nn.Linear(2, 2, bias=False), Statistics()
    layer.weight.data = torch.eye(2)
    if rank == 1:  # the other has seen nothing
        look(nn.Sequential(layer), {"0.weight": layer}, [statistics], {}, [IMAGES, IMAGES])
    seen = statistics.read({"0.weight": (2, torch.device("cpu"))})["0.weight"]
    inputs = torch.randn(9, 2, generator=torch.Generator().manual_seed(rank))
    weight = reconstructed(torch.ones(1, 2), torch.ones(1, 2), torch.tensor([[True, False]]), inputs).weight
    Path(folder, str(rank)).write_text(f"{seen.count} {seen.zeros.tolist()} {seen.total.tolist()}\n{weight.tolist()}")
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process that is torn down in order; what matters is written


@pytest.mark.filterwarnings("ignore")
def test_statistics_are_added_up_and_weights_are_the_first_ranks(tmp_path: Path) -> None:
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = ((tmp_path / str(rank)).read_text().splitlines() for rank in range(2))
    assert first == second
    assert first[0] == "4 [0, 4] [6.0, 0.0]"
