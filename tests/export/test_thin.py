from __future__ import annotations

import copy

import pytest
import torch
from export.networks import FixedView, Gated, Preactivated, UNet, images, lively, zero_filters
from torch import nn

from schedengine.errors import EffectError
from schedengine.export.forward import run
from schedengine.export.thin import plan, settle_
from schedengine.zoo.models import build_model


def chain() -> nn.Sequential:
    """3 -> 4 -> 6 -> 2 channels."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 2, 1))


def removed(model: nn.Module, what: str, example: torch.Tensor | None = None) -> dict[str, tuple[int, ...]]:
    found = plan(model, images() if example is None else example, what=what)  # type: ignore[arg-type]
    return {one.name: one.after for one in found.slices}


def test_nothing_is_planned_where_nothing_is_zero() -> None:
    found = plan(chain(), images())
    assert not found and found.parameters == (60, 60)  # 4*3+4 + 6*4+6 + 2*6+2


def test_a_dead_filter_goes_with_its_bias_and_what_reads_it() -> None:
    model = chain()
    model[0].weight.data[1] = 0
    assert removed(model, "filters") == {"0.weight": (3, 3, 1, 1), "0.bias": (3,), "2.weight": (6, 3, 1, 1)}
    assert removed(model, "channels") == {}
    assert plan(model, images()).parameters == (60, 60 - 3 - 1 - 6)


def test_an_ignored_channel_goes_with_the_filter_that_writes_it() -> None:
    model = chain()
    model[2].weight.data[:, 3] = 0
    assert removed(model, "channels") == {"0.weight": (3, 3, 1, 1), "0.bias": (3,), "2.weight": (6, 3, 1, 1)}
    assert removed(model, "filters") == {}


def test_a_filter_without_inputs_goes_as_well() -> None:
    model = chain()
    model[0].weight.data[1] = 0
    model[2].weight.data[5, [0, 2, 3]] = 0  # reads only the channel that is dead
    assert removed(model, "filters")["2.weight"] == (5, 3, 1, 1)
    assert removed(model, "filters")["4.weight"] == (2, 5, 1, 1)


def test_a_filter_that_only_a_removed_one_read_goes_as_well() -> None:
    model = chain()
    model[4].weight.data[:, 5] = 0
    model[2].weight.data[:5, 1] = 0
    assert removed(model, "channels")["2.weight"] == (5, 3, 1, 1)


def test_dead_for_one_reader_and_ignored_by_the_other_goes_with_all_only() -> None:
    torch.manual_seed(0)
    model = lively(Preactivated())
    model.norm.weight.data[2] = 0  # the branch gets nothing on channel 2
    model.norm.bias.data[2] = 0
    model.norm.running_mean[2] = 0
    model.fc.weight.data[:, 2] = 0
    assert removed(model, "filters") == removed(model, "channels") == {}
    assert removed(model, "all")["stem.weight"] == (7, 3, 3, 3)


def test_a_filter_stays_where_the_residual_is_alive() -> None:
    model = build_model("resnet20_cifar")
    model.get_submodule("layer1.0.conv2").weight.data[3] = 0
    assert removed(model, "all", images(32)) == {}


def test_a_residual_channel_goes_when_all_that_write_it_are_dead() -> None:
    model = build_model("resnet20_cifar")
    for name in ("conv1", "layer1.0.conv2", "layer1.1.conv2", "layer1.2.conv2"):
        model.get_submodule(name).weight.data[3] = 0
    found = plan(model, images(32))
    # conv1 27; conv2 of three blocks 16*9; four norms 2; their readers: three conv1 16*9, layer2.0 32*9, shortcut 32
    assert found.parameters == (272474, 272474 - 27 - 3 * 144 - 4 * 2 - 3 * 144 - 288 - 32)
    assert found.attributes["layer1.1.conv1"] == {"in_channels": 15}
    assert found.attributes["bn1"] == {"num_features": 15}


def test_the_count_of_resnet20_with_half_the_inner_filters() -> None:
    model = build_model("resnet20_cifar")
    for width, stage in ((16, 1), (32, 2), (64, 3)):
        for block in range(3):
            model.get_submodule(f"layer{stage}.{block}.conv1").weight.data[: width // 2] = 0
    # a filter of 9*inputs, 2 of its norm, 9*width of the convolution that reads it
    blocks = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2
    gone = sum(width // 2 * (9 * inputs + 2 + 9 * width) for inputs, width in blocks)
    assert plan(model, images(32), what="filters").parameters == (272474, 272474 - gone)


def test_a_gated_channel_goes_though_its_gate_is_alive() -> None:
    model = Gated()
    model.conv.weight.data[0] = 0
    assert removed(model, "filters")["excite.weight"] == (7, 4, 1, 1)


def test_flattened_maps_go_whole() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Flatten(), nn.Linear(180, 2))
    model[0].weight.data[1] = 0
    (keep,) = plan(model, images(8)).keep["2.weight"]
    assert keep[0] == 1 and keep[1].tolist() == [*range(36), *range(72, 180)]


def test_what_a_dead_filter_says_is_settled() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    lively(model)
    model[0].weight.data[1] = 0
    found = plan(model, images())
    assert {one.name: one.settle for one in found.slices if one.settle} == {
        "0.bias": (1,), "1.bias": (1,), "1.running_mean": (1,),
    }  # fmt: skip
    settle_(model, found)
    assert not model[:3](images())[:, 1].any()


def test_what_an_ignored_channel_says_needs_no_settling() -> None:
    model = chain()
    model[2].weight.data[:, 3] = 0
    assert all(not one.settle for one in plan(model, images()).slices)


def test_a_constant_channel_that_stays_counts_as_alive() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1))
    model[0].weight.data.zero_()  # its bias goes on through a layer that blocks
    assert removed(model, "all") == {}


def test_blocked_channels_stay_and_are_listed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    model[0].weight.data[1] = 0
    found = plan(model, images())
    assert not found
    (refusal,) = found.refused
    assert (refusal.layers, refusal.channels) == ("0", 1)
    assert "1, a GroupNorm, whose statistics run over several channels" in refusal.reason


def test_removing_all_of_a_layer_is_an_error_that_names_it() -> None:
    model = chain()
    model[2].weight.data.zero_()
    with pytest.raises(EffectError, match="^0: all 4 channels would be removed"):
        plan(model, images(), what="channels")
    with pytest.raises(EffectError, match="^2: all 6 channels would be removed"):
        plan(model, images(), what="filters")


def test_a_network_can_be_planned_whose_views_are_fixed() -> None:
    model = FixedView()
    model.conv.weight.data[1] = 0
    assert plan(model, images())  # that it cannot run is what checks and applying find


def test_planning_changes_nothing() -> None:
    model = lively(UNet()).train()
    zero_filters(model, images())
    before, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    first, second = plan(model, images()), plan(model, images())
    assert model.training and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [one.after for one in first.slices] == [one.after for one in second.slices]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_settling_is_all_that_thinning_changes() -> None:
    model = lively(UNet()).eval()
    zero_filters(model, images())
    found = plan(model, images(), what="filters")
    settle_(model, found)
    once = run(model, images())
    settle_(model, plan(model, images(), what="filters"))
    assert torch.equal(run(model, images())[0], once[0])
