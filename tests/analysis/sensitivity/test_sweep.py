"""The sweep against pruning a copy and evaluating it, on networks that are awkward to share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from analysis.sensitivity.networks import (
    Attention,
    Batches,
    Branches,
    Checks,
    Hidden,
    Residual,
    Tied,
    Together,
    Views,
    batches,
    evaluated,
    naive,
    seeded,
)
from torch import Tensor, nn

from schedengine.analysis.sensitivity.cells import Cell, layer_cells, network_cells
from schedengine.analysis.sensitivity.counts import Counts
from schedengine.analysis.sensitivity.paths import Path
from schedengine.analysis.sensitivity.sweep import Engine, sweep, sweep_by
from schedengine.errors import DataError, ModelError
from schedengine.selection import ParameterTable

LEVELS = (0.0, 0.3, 0.6, 0.9)
NETWORKS = (Residual, Views, Tied, Attention, Checks, Branches, Hidden, Together)


def matrices(model: nn.Module) -> list[Cell]:
    """Every parameter of two or more dimensions at every level."""
    table = ParameterTable(model)
    return layer_cells(table, LEVELS, names=[name for name in table.names if table[name].dim() > 1])


def total(model: nn.Module, data: Batches, cells: Sequence[Cell], path: Path | None = None) -> dict[Cell, Counts]:
    sums = dict.fromkeys(cells, Counts())
    for measured in sweep(model, data, cells, path=path):
        sums = {cell: sums[cell] + counts for cell, counts in measured.counts.items()}
    return sums


def state(model: nn.Module) -> list[Any]:
    tensors = [tensor.clone() for tensor in (*model.parameters(), *model.buffers())]
    return [*tensors, [module.training for module in model.modules()], sorted(vars(model))]


def is_same(before: list[Any], after: list[Any]) -> bool:
    pairs = zip(before, after, strict=True)
    return all(torch.equal(one, two) if isinstance(one, Tensor) else one == two for one, two in pairs)


@pytest.mark.parametrize("path", [None, Path(3), Path(2, channels_last=True), Path(8, fold=False)], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_counts_are_those_of_pruning_a_copy(network: type[nn.Module], path: Path | None) -> None:
    model, data = seeded(network), batches(7, 6, 1)
    for cell, counts in total(model, data, matrices(model), path).items():
        assert cell.parameter is not None
        top1, top5, loss = naive(model, cell.parameter, cell.level, data)
        assert (counts.top1, counts.top5, counts.samples) == (top1, top5, 14)
        assert counts.loss == pytest.approx(loss / 14, rel=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_model_is_left_as_it_was_between_batches(network: type[nn.Module]) -> None:
    model = seeded(network)
    model.fc2 = getattr(model, "fc2", nn.Identity()).eval()  # a mode of its own, among modules that train
    before = state(model)
    for _ in sweep(model, batches(4, 4), matrices(model)):
        assert is_same(before, state(model))


@pytest.mark.parametrize("network", [Residual, Branches])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_batch_leaves_the_model_as_it_was(
    network: type[nn.Module], error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = seeded(network)
    cells, before, calls = matrices(model), state(model), 0
    engine = Engine(model, cells, batches(4)[0][0])

    def interrupted(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise error

    monkeypatch.setattr("schedengine.analysis.sensitivity.sweep.judge", interrupted)
    with pytest.raises(error):
        engine.measure(*batches(4)[0])
    assert is_same(before, state(model))


def test_nothing_is_traced_where_values_decide_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = seeded(Branches)
    engine = Engine(model, matrices(model), batches(4)[0][0])
    assert "cannot be traced" in engine.whole["fc1.weight"] and "fc1.weight" in caplog.text


def test_a_parameter_that_is_also_read_unseen_is_found_out() -> None:
    model = seeded(Hidden)
    engine = Engine(model, matrices(model), batches(4)[0][0])
    assert list(engine.whole) == ["fc1.weight"] and "differ" in engine.whole["fc1.weight"]


def test_images_that_depend_on_each_other_are_kept_together() -> None:
    model = seeded(Together)
    assert set(Engine(model, matrices(model), batches(4)[0][0]).whole) == {"conv.weight", "fc.weight"}


@pytest.mark.parametrize("network", [Residual, Views, Tied, Attention, Checks])
def test_every_other_network_shares_its_beginning(network: type[nn.Module]) -> None:
    model = seeded(network)
    assert Engine(model, matrices(model), batches(4)[0][0]).whole == {}


def test_the_whole_network_is_pruned_in_one_order() -> None:
    model, data = seeded(Residual), batches(9)
    table = ParameterTable(model)
    (cell,) = network_cells(table, [0.5])
    counts = total(model, data, [cell])[cell]
    weights = [table[name].data for name in table.names if table[name].dim() > 1]
    limit = torch.cat([weight.flatten() for weight in weights]).abs().sort().values[cell.zeros - 1]
    for weight in weights:
        weight.mul_(weight.abs() > limit)
    assert (counts.top1, counts.top5) == evaluated(model.eval(), data)[:2]


def test_levels_of_the_same_weights_are_evaluated_once() -> None:
    model, calls = seeded(Branches), []
    cells = matrices(model) + matrices(model)

    def evaluate(pruned: nn.Module) -> dict[str, float]:
        calls.append(pruned.training)
        return {"top1": float(len(calls))}

    found = list(sweep_by(model, evaluate, cells))
    assert calls == [False] * 7  # the dense network, and three levels of two parameters
    assert [metrics["top1"] for _, metrics in found[:8]] == [1, 2, 3, 4, 1, 5, 6, 7]
    assert found[8:] == [(cell, metrics) for cell, (_, metrics) in zip(cells[8:], found[:8], strict=True)]


def test_an_evaluate_function_sees_the_pruned_model_and_leaves_no_trace() -> None:
    model, data = seeded(Residual), batches(9)
    before = state(model)
    for cell, metrics in sweep_by(model, lambda pruned: {"top1": evaluated(pruned, data)[0]}, matrices(model)):
        assert cell.parameter and metrics["top1"] == naive(model, cell.parameter, cell.level, data)[0]
    assert is_same(before, state(model))


def test_images_without_finite_scores_are_counted_apart() -> None:
    model, ((images, labels),) = seeded(Residual), batches(6)
    images[2] = math.nan
    cells = matrices(model)
    counts = total(model, [(images, labels)], cells)
    rest = total(model, [(images[[0, 1, 3, 4, 5]], labels[[0, 1, 3, 4, 5]])], cells)
    assert {found.nonfinite for found in counts.values()} == {1} and math.isnan(counts[cells[0]].accuracy)
    assert [found.top1 for found in counts.values()] == [found.top1 for found in rest.values()]


def test_lost_and_won_images_add_up() -> None:
    model, data = seeded(Residual), batches(40)
    counts = total(model, data, matrices(model))
    scores = model.eval()(data[0][0]).argmax(1) == data[0][1]
    dense = next(found for cell, found in counts.items() if cell.level == 0)
    assert dense.top1 == int(scores.sum()) and dense.lost == 0
    assert all(0 <= found.lost <= dense.top1 for found in counts.values())


def test_scores_that_tie_are_decided_by_the_model_itself() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 7, bias=False))
    nn.init.constant_(model[1].weight, 0.5)
    data = batches(9)
    counts = total(model, data, matrices(model))
    scores = model(data[0][0]).topk(5).indices == data[0][1][:, None]
    dense = next(found for cell, found in counts.items() if cell.level == 0)
    assert (dense.top1, dense.top5) == (int(scores[:, 0].sum()), int(scores.sum()))


def test_where_in_doubt_the_numbers_are_the_models_own_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schedengine.analysis.sensitivity.fast.SAFETY", math.inf)
    model, data = seeded(Residual), batches(9)
    for cell, counts in total(model, data, matrices(model), Path(2, channels_last=True)).items():
        assert cell.parameter is not None
        assert counts.loss == pytest.approx(naive(model, cell.parameter, cell.level, data)[2] / 9, abs=2**-32)


def test_cells_can_be_left_out_as_the_sweep_goes_on() -> None:
    model, data = seeded(Residual), batches(8)
    cells = matrices(model)
    engine = Engine(model, cells, data[0][0])
    everything, some = engine.measure(*data[0]), engine.measure(*data[0], cells[5:7])
    assert some == {cell: everything[cell] for cell in cells[5:7]}


def test_images_may_be_numbers_of_tokens() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(24, 7))
    data = [(torch.randint(0, 9, (8, 6)), torch.randint(0, 7, (8,)))]
    for cell, counts in total(model, data, matrices(model)).items():
        assert cell.parameter and counts.top1 == naive(model, cell.parameter, cell.level, data)[0]


def test_bfloat16_is_near() -> None:
    model, data = seeded(Residual), batches(40)
    cells = matrices(model)
    exact, (near,) = total(model, data, cells), (one.counts for one in sweep(model, data, cells, bfloat16=True))
    assert exact != near and max(abs(exact[cell].loss - near[cell].loss) for cell in cells) < 0.05


def test_a_model_that_scores_no_classes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"returns a tensor \(1, 4, 4, 4\).*evaluate function"):
        list(sweep(nn.Conv2d(2, 4, 3), batches(4), []))


def test_a_label_without_a_score_is_refused() -> None:
    images, labels = batches(4)[0]
    with pytest.raises(DataError, match="labels from .* to 7, and the model scores 7 classes"):
        list(sweep(seeded(Residual), [(images, labels.clamp_min(1).index_fill(0, torch.tensor([0]), 7))], []))
