"""Batch-norm statistics estimated anew: of the network as it is shown, and nothing else of the run changes."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from loops import batch, sgd, small_model, train
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from schedengine import ScheduleError, dump, load_schedule
from schedengine.analysis import plan_schedule
from schedengine.errors import SchedEngineError
from schedengine.policies.recalibration import Recalibrate, recalibrate_from_

DATA = [batch(9, step) for step in range(3)]
ALL = {"recalibrate": "all", "at": "end"}
PAIRS = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [8.0]])]
"""Means 1 and 6, variances 2 and 8."""


def document(*policies: dict[str, Any], **axes: Any) -> dict[str, Any]:
    pruners = {"p": {"sparsity": 0.5, **axes}} if any("pruner" in one for one in policies) else {}
    return {"version": 2, "pruners": pruners, "policies": list(policies)}


def run(written: dict[str, Any], data: Any = DATA, epochs: int = 2) -> nn.Sequential:
    model = small_model()
    optimizer = sgd(model)
    given = {"data": data, "example_inputs": DATA[0][0]}
    train(load_schedule(written).bind(model, optimizer, epochs=epochs, **given), model, optimizer)
    return model


def of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    return norm.state_dict()["running_mean"], norm.state_dict()["running_var"]


def expected(model: nn.Sequential, batches: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Averages over batches of what the convolution makes, by hand."""
    made = [model[0](images).detach().transpose(0, 1).flatten(1) for images, _ in batches]
    return torch.stack([one.mean(1) for one in made]).mean(0), torch.stack([one.var(1) for one in made]).mean(0)


def agree(model: nn.Sequential, batches: list[tuple[Tensor, Tensor]]) -> None:
    for found, right in zip(of(model[1]), expected(model, batches), strict=True):
        torch.testing.assert_close(found, right)


# --- in a schedule ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "axes",
    [
        {},
        {"pruned": "hidden"},
        {"pruned": "dense", "update": "reselect"},
        {"update": "learned", "pruned": {"soft_threshold": {"init": -3.0}}, "sparsity": None},
    ],
    ids=str,
)
def test_statistics_are_those_of_the_network_that_is_shown(axes: dict[str, Any]) -> None:
    kept = {key: value for key, value in {"sparsity": 0.5, **axes}.items() if value is not None}
    written = {"version": 2, "pruners": {"p": kept}, "policies": [{"pruner": "p", "during": "run"}, ALL]}
    agree(run(written), DATA)


def test_statistics_follow_a_network_that_was_thinned() -> None:
    cut = {"parameters": "0.weight", "granularity": "filter", "sparsity": 0.34}
    model = run(document({"pruner": "p", "at": 1}, {"thin": "filters", "at": 1}, ALL, **cut))
    assert model[0].out_channels == 2
    agree(model, DATA)


def test_only_so_many_batches_are_used() -> None:
    agree(run(document({"recalibrate": {"batches": 2}, "at": "end"})), DATA[:2])


CUT, ESTIMATE = {"pruner": "p", "at": 0}, {"recalibrate": "all", "at": 0}


@pytest.mark.parametrize(("policies", "mean"), [((CUT, ESTIMATE), 0.0), ((ESTIMATE, CUT), 2.0)])
@pytest.mark.parametrize("apply", ["cut", "step"])
def test_policies_at_one_instant_act_in_file_order(policies: Any, mean: float, apply: str) -> None:
    """The weight that is cut is the one that says something of these inputs."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    model.state_dict()["0.weight"].copy_(torch.tensor([[1.0, 10.0]]))
    inputs = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    load_schedule(document(*policies, apply=apply)).bind(model, epochs=1, data=[inputs]).on_epoch_begin(0)
    assert of(model[1])[0].item() == mean


@pytest.mark.parametrize("at", ["3st", "end", 1, {"end": "run"}])
def test_it_acts_at_every_kind_of_instant(at: Any) -> None:
    model = small_model()
    seen: list[int] = []
    model[1].register_forward_hook(lambda norm, *_: seen.append(1))
    scheduler = load_schedule(document({"recalibrate": "all", "at": at})).bind(model, sgd(model), epochs=2, data=DATA)
    train(scheduler, model, sgd(model))
    assert len(seen) == 2 * 4 + len(DATA)


def test_training_is_the_same_but_for_the_statistics() -> None:
    """Dropout and the order of the data draw what they would have drawn; in training no batch norm uses averages."""
    plain, estimated = (run(document(*policies)) for policies in ((), ({"recalibrate": "all", "at": [0, 1]},)))
    for name in ("0.weight", "1.weight", "5.weight"):
        assert plain.state_dict()[name].equal(estimated.state_dict()[name])


def test_it_reads_back_from_its_dump() -> None:
    policies = ({"recalibrate": {"batches": 50}, "at": "end"}, {"recalibrate": {"batches": "all"}, "at": 1}, ALL)
    schedule = load_schedule(document(*policies))
    assert load_schedule(dump(schedule)) == schedule and dump(schedule).count("recalibrate: all") == 2
    assert [one.recalibrate for one in schedule.policies] == [Recalibrate(50), Recalibrate(None), Recalibrate(None)]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{batches: 0}", r"recalibrate.batches: must be a number of batches, 1 or more, or all \(got 0\)"),
        ("{batches: 1.5}", "must be a number of batches"),
        ("some", "must be a number of batches, 1 or more, or all"),
        ("{}", "needs 'batches'"),
    ],
)
def test_what_is_no_number_of_batches_is_refused(written: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        load_schedule(f"version: 2\npolicies: [{{recalibrate: {written}, at: start}}]")


def test_it_happens_at_instants() -> None:
    with pytest.raises(ScheduleError, match="'recalibrate' happens at instants; use 'at'"):
        load_schedule(document({"recalibrate": "all", "during": "run"}))


TEXT = "version: 2\npolicies:\n  - {recalibrate: {batches: 2}, at: {end: run}}\n"


def test_a_run_without_data_is_stopped_before_anything_is_trained() -> None:
    scheduler = load_schedule(TEXT).bind(small_model(), epochs=9)
    with pytest.raises(ScheduleError, match=r"3:19: policies\[0\].recalibrate: needs data: pass data="):
        scheduler.on_epoch_begin(0)


def test_a_network_without_batch_normalisation_is_refused_when_bound() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    with pytest.raises(ScheduleError, match=r"3:19: policies\[0\].recalibrate: the network has no batch normalisation"):
        load_schedule(TEXT).bind(model, epochs=1, data=DATA)


def test_data_that_can_be_gone_through_only_once_are_told() -> None:
    with pytest.raises(SchedEngineError, match="recalibrate, epoch 1: .* no batches; .* more than once: a DataLoader"):
        run(document({"recalibrate": "all", "at": [0, 1]}), data=iter(DATA))


def test_a_plan_on_the_meta_device_lists_it() -> None:
    with torch.device("meta"):
        model = small_model()
    written = document({"pruner": "p", "at": 1}, {"recalibrate": {"batches": 50}, "at": 1}, ALL)
    events = plan_schedule(load_schedule(written), model, epochs=3, steps_per_epoch=4).events
    found = events[events["kind"] == "recalibrate"]
    assert found["step"].tolist() == [4, 12]
    assert found["what"].tolist()[0] == "batch-norm statistics are estimated anew from 50 batches"
    assert found["what"].tolist()[1] == "batch-norm statistics are estimated anew from all batches of the data"


# --- by itself -------------------------------------------------------------------------------------------------------


class Sum(nn.Module):
    """Takes two inputs, drops some of them in training, counts its passes, and has a normalisation that none reach."""

    passes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.unused, self.dropout = nn.BatchNorm1d(1), nn.BatchNorm1d(1), nn.Dropout(0.9)
        self.register_buffer("passes", torch.zeros(()))
        self.unused.state_dict()["running_mean"].fill_(7.0)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        self.passes += 1
        found: Tensor = self.norm(self.dropout(one) + other)
        return found


@pytest.mark.parametrize("targets", [(), (None,)], ids=["inputs alone", "with targets"])
def test_only_statistics_that_were_seen_change(targets: tuple[None, ...]) -> None:
    model = Sum()
    assert recalibrate_from_(model, [((one, one), *targets) for one in PAIRS], None) == 2
    assert [one.item() for one in of(model.norm)] == [7.0, 20.0] and model.norm.momentum == 0.1
    assert of(model.unused)[0].item() == 7.0
    assert model.passes.item() == 0 and model.training and model.dropout.training


def test_generators_are_put_back_so_that_a_second_call_sees_the_same() -> None:
    own, model = torch.Generator().manual_seed(3), nn.BatchNorm1d(1)
    loader = DataLoader(TensorDataset(torch.randn(9, 1)), 3, shuffle=True, generator=own)
    before = own.get_state(), torch.get_rng_state()
    seen = []
    for _ in range(2):
        assert recalibrate_from_(model, loader, 2) == 2
        seen.append(torch.cat(of(model)))
    assert before[0].equal(own.get_state()) and before[1].equal(torch.get_rng_state())
    assert seen[0].equal(seen[1])


def test_fewer_batches_than_asked_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert recalibrate_from_(nn.BatchNorm1d(1), PAIRS, 5) == 2
    assert "the data gave 2 batches of the 5 that were asked for" in caplog.text


@pytest.mark.parametrize(
    ("data", "batches", "message"),
    [
        (None, None, "recalibration needs data: pass data="),
        ([], None, "cannot be estimated from no batches"),
        (PAIRS, 0, "cannot be estimated from no batches"),
        ([*PAIRS, torch.ones(1, 1)], None, r"batch 2 has a single example, .* \(drop_last=True\)"),
    ],
)
def test_what_tells_no_statistics_is_an_error_and_changes_none(data: Any, batches: int | None, message: str) -> None:
    norm = nn.BatchNorm1d(1)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with pytest.raises(SchedEngineError, match=message):
        recalibrate_from_(norm, data, batches)
    assert all(norm.state_dict()[name].equal(value) for name, value in before.items())


def test_a_network_without_batch_normalisation_has_nothing_to_estimate() -> None:
    with pytest.raises(SchedEngineError, match="no batch normalisation that keeps statistics"):
        recalibrate_from_(nn.Linear(1, 1), PAIRS, None)


# --- several processes -----------------------------------------------------------------------------------------------

THIRD = torch.tensor([[10.0], [12.0]])
"""Mean 11, variance 2."""


def one_rank(rank: int, folder: str) -> None:
    if sys.platform == "linux":  # not whatever address the machine's name resolves to
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    lines = []
    for data in ([THIRD], []) if rank else (PAIRS, PAIRS):
        norm = nn.BatchNorm1d(1)
        used = recalibrate_from_(nn.parallel.DistributedDataParallel(norm), data, None)
        count = int(norm.state_dict()["num_batches_tracked"])
        lines.append(f"{used} | {count} {[one.item() for one in of(norm)]}")
    try:
        recalibrate_from_(nn.BatchNorm1d(1), [], None)
    except SchedEngineError:
        lines.append("0 | error")
    Path(folder, str(rank)).write_text("\n".join(lines))
    dist.barrier()
    os._exit(0)  # gloo's threads may abort a process that is torn down in order; what matters is written


@pytest.mark.filterwarnings("ignore")
def test_all_ranks_end_with_the_averages_over_the_batches_of_all(tmp_path: Path) -> None:
    mp.spawn(one_rank, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    used, found = (
        [[line.split(" | ")[part] for line in (tmp_path / str(rank)).read_text().splitlines()] for rank in range(2)]
        for part in range(2)
    )
    assert found[0] == found[1] == ["3 [6.0, 4.0]", "2 [3.5, 5.0]", "error"]
    assert used == [["2", "2", "0"], ["1", "0", "0"]]
