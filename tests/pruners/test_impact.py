"""What a cut takes, in norms, against numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from loops import one_pruner, sgd, small_model
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from schedengine import PruningScheduler, load_schedule
from schedengine.masks import MaskStore
from schedengine.pruners.impact import Gauge, Impact, _gathered, joint
from schedengine.selection import ParameterTable

MODES = ["zero", "hidden", "dense"]


def counting(values: list[float] | None = None, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """One layer of the weights 1..10, or others."""
    layer = nn.Linear(len(values or range(10)), 1, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([values or list(range(1, 11))], dtype=dtype))
    return layer


def cut_twice(model: nn.Module, **axes: Any) -> PruningScheduler:
    """Half of the weights at epoch 0, 70 % at epoch 1, no training in between."""
    axes = {"sparsity": {"ramp": "list", "values": [0.5, 0.7]}, **axes}
    scheduler = one_pruner(axes, {"at": [0, 1]}).bind(model, epochs=2)
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
        scheduler.on_epoch_end(epoch)
    return scheduler


@pytest.mark.parametrize("pruned", MODES)
def test_the_published_example_in_its_first_cycle(pruned: str) -> None:
    impact = cut_twice(counting(), pruned=pruned).cuts[0].impact
    assert (impact.norm, impact.loss) == pytest.approx((19.62142, 7.41620), rel=1e-6)
    assert (impact.remaining, impact.gone, impact.share) == (10, 5, 0.5)
    assert impact.drop == pytest.approx(0.534522, rel=1e-6)


@pytest.mark.parametrize("pruned", MODES)
def test_the_published_example_in_its_second_cycle(pruned: str) -> None:
    """What was pruned before counts no more, whether its values are kept or not."""
    impact = cut_twice(counting(), pruned=pruned).cuts[1].impact
    assert (impact.norm, impact.loss, impact.share) == pytest.approx((18.16590, 9.21954, 0.4), rel=1e-6)
    assert (impact.drop, impact.layer_drop) == pytest.approx((0.802458, 0.802458), rel=1e-6)


def test_a_network_that_was_sparse_before_counts_its_remaining_weights() -> None:
    model = counting([0, 0, 0, 0, 0, 6, 7, 8, 9, 10])
    impact = one_pruner({"sparsity": 0.7}, {"at": "start"}).bind(model, epochs=1)
    impact.on_epoch_begin(0)
    assert impact.cuts[0].impact.drop == pytest.approx(0.802458, rel=1e-6)


def test_biases_and_normalisation_are_part_of_the_norm() -> None:
    model = nn.Sequential(counting(), nn.BatchNorm1d(1))  # whose scale is 1 and whose shift is 2
    nn.init.constant_(model[1].bias, 2.0)  # type: ignore[arg-type]
    impact = cut_twice(model).cuts[0].impact
    assert impact.norm == pytest.approx(math.sqrt(385 + 1 + 4))
    assert impact.drop == pytest.approx(math.sqrt(55 / 390) / math.sqrt(0.5))
    assert impact.layer_drop == pytest.approx(0.534522, rel=1e-6)


def test_distance_to_pruned_is_that_of_the_kept_values() -> None:
    impact = cut_twice(counting(), pruned="dense").cuts[1].impact
    assert impact.distance_to_pruned == pytest.approx(math.sqrt((1 + 4 + 9 + 16 + 25 + 36 + 49) / 385))


@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_the_layerwise_drop_does_not_hang_on_a_layers_scale(scale: float) -> None:
    model = nn.Sequential(counting(), counting([1, 2, 3, 4]))
    with torch.no_grad():
        model[1].weight.mul_(scale)  # type: ignore[operator]
    impact = cut_twice(model, allocation="uniform").cuts[0].impact
    assert impact.layer_drop == pytest.approx(math.sqrt((10 * 55 / 385 + 4 * 5 / 30) / 7))


@pytest.mark.parametrize("pruned", MODES)
def test_the_layerwise_drop_is_allrs_where_layers_have_one_mean_square(pruned: str) -> None:
    impact = cut_twice(nn.Sequential(counting(), counting()), pruned=pruned, allocation="uniform").cuts[1].impact
    assert impact.layer_drop == pytest.approx(impact.drop)


def test_a_cut_of_nothing_has_no_impact() -> None:
    scheduler = one_pruner({"sparsity": 0.04}, {"at": "start"}).bind(counting(), epochs=1)
    scheduler.on_epoch_begin(0)
    impact = scheduler.cuts[0].impact
    assert (impact.gone, impact.loss, impact.drop, impact.layer_drop, impact.norm_drop) == (0, 0, 0, 0, 0)


def test_a_layer_of_zeros_is_no_division_by_zero() -> None:
    model = nn.Sequential(counting(), counting([0, 0, 0, 0]))
    scheduler = one_pruner({"sparsity": 0.5, "allocation": "uniform"}, {"at": "start"}).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    impact = scheduler.cuts[0].impact
    assert (impact.remaining, impact.gone) == (10, 5) and impact.layer_drop == pytest.approx(0.534522, rel=1e-6)


def test_several_cuts_at_one_moment_are_one() -> None:
    one = Impact(norm=10, loss=3, own=6, distance=3, remaining=10, gone=5, scaled=2)
    other = Impact(norm=9.5, loss=4, own=8, distance=4, remaining=30, gone=5, scaled=3)
    assert joint([one, other]) == Impact(10, 5, 10, 5, 40, 10, 5)


def test_two_pruners_at_one_moment_have_the_drop_of_one() -> None:
    def drop(document: dict[str, Any]) -> float:
        model = nn.Sequential(counting(), counting([3, 5, 7, 9]))
        scheduler = load_schedule({"version": 2, **document}).bind(model, sgd(model), epochs=1)
        scheduler.on_epoch_begin(0)
        return joint([cut.impact for cut in scheduler.cuts]).drop

    both = {"pruners": {"p": {"sparsity": 0.5, "allocation": "uniform"}}, "policies": [{"pruner": "p", "at": "start"}]}
    axes = [{"sparsity": 0.5, "parameters": f"{layer}.weight"} for layer in (0, 1)]
    each = {
        "pruners": {"a": axes[0], "b": axes[1]},
        "policies": [{"pruner": "a", "at": "start"}, {"pruner": "b", "at": "start"}],
    }
    assert drop(each) == pytest.approx(drop(both))


def test_squares_of_bfloat16_weights_are_summed_more_precisely() -> None:
    impact = cut_twice(counting(dtype=torch.bfloat16)).cuts[0].impact
    assert impact.drop == pytest.approx(0.534522, rel=1e-6)


def test_a_gauge_reads_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    table = ParameterTable(model)
    names = ["0.weight", "5.weight"]
    reads: list[Tensor] = []
    real = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: (reads.append(self), real(self))[1])
    monkeypatch.setattr(Tensor, "item", lambda self: pytest.fail("waits for the device"))
    Gauge(table, MaskStore(table), names).impact({name: torch.zeros_like(table[name]).bool() for name in names})
    assert len(reads) == 1


@pytest.mark.parametrize(("devices", "home"), [(("cuda", "cpu"), "cuda"), (("mps", "mps"), "cpu")])
def test_norms_are_gathered_from_several_devices_and_from_one_without_float64(devices: list[str], home: str) -> None:
    with FakeTensorMode():
        norm, count = torch.ones((), device=devices[0]), torch.ones((), dtype=torch.int64, device=devices[1])
        found = _gathered([norm, count])
    assert (found.device.type, found.dtype) == (home, torch.float64)


def test_an_impact_survives_the_state() -> None:
    scheduler = cut_twice(counting())
    again = one_pruner({"sparsity": {"ramp": "list", "values": [0.5, 0.7]}}, {"at": [0, 1]}).bind(counting(), epochs=2)
    again.load_state_dict(scheduler.state_dict())
    assert again.cuts == scheduler.cuts


def test_a_small_cut_of_a_large_layer_keeps_its_digits() -> None:
    """1 % of a million weights near zero: the difference of two single-precision norms would have lost them."""
    values = torch.linspace(-1, 1, 1_000_000)
    layer = nn.Linear(1_000_000, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(values[None])
    scheduler = one_pruner({"sparsity": 0.01}, {"at": 0}).bind(layer, epochs=1)
    scheduler.on_epoch_begin(0)
    removed = values.double().abs().sort().values[:10_000]
    assert scheduler.cuts[0].impact.loss == pytest.approx(float(removed.norm()), rel=1e-4)
