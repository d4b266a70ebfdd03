"""Thinning in a run: what is removed, what follows, and what is refused before anything is trained."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from loops import sgd, step_once, train
from torch import Tensor, nn

from schedengine import EffectError, PruningScheduler, ScheduleError, dump, load_schedule
from schedengine.errors import SchedEngineError, ScheduleWarning
from schedengine.schedule.document import Schedule
from schedengine.zoo.models import build_model

INPUTS = torch.zeros(2, 2, 6, 6)


def network(seed: int = 0) -> nn.Sequential:
    """Two convolutions with normalisation, of 6 and 4 filters, as it may be in the middle of a training."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    for name, parameter in model.named_parameters():
        if name in ("1.bias", "4.bias"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def schedule(*policies: dict[str, Any], **axes: Any) -> Schedule:
    pruner = {"parameters": ["0.weight", "3.weight"], "granularity": "filter", "allocation": "uniform", "sparsity": 0.5}
    chosen = policies or ({"pruner": "p", "at": "start"}, {"thin": "filters", "at": 2})
    return load_schedule({"version": 2, "pruners": {"p": {**pruner, **axes}}, "policies": list(chosen)})


def bound(made: Schedule, model: nn.Module, **options: Any) -> tuple[torch.optim.SGD, PruningScheduler]:
    optimizer = sgd(model, weight_decay=0.01)
    given = {"epochs": 4, "example_inputs": INPUTS, **options}
    return optimizer, made.bind(model, optimizer, **given)


def outputs(model: nn.Module) -> Tensor:
    model.eval()
    found = model(torch.randn(8, 2, 6, 6, generator=torch.Generator().manual_seed(1)))
    model.train()
    return found.detach()  # type: ignore[no-any-return]


def test_half_the_filters_go_and_their_readers_follow() -> None:
    model = network()
    optimizer, scheduler = bound(schedule(), model)
    train(scheduler, model, optimizer)
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes == [(3, 2, 3, 3), (3,), (3,), (3,), (2, 3, 3, 3), (2,), (2,), (2,), (5, 8), (5,)]
    (thinned,) = scheduler.thinnings
    assert thinned.parameters == (6 * 18 + 6 + 12 + 4 * 54 + 4 + 8 + 85, 3 * 18 + 3 + 6 + 2 * 27 + 2 + 4 + 45)


def test_nothing_that_the_trained_network_computes_changes() -> None:
    """Shifts of dead filters are masked from the cut on, so that there is nothing left to lose."""
    model = network()
    optimizer, scheduler = bound(schedule(), model)
    train(scheduler, model, optimizer, epochs=range(2))
    masked = outputs(model)
    scheduler.on_epoch_begin(2)
    assert sum(p.numel() for p in model.parameters()) == 168
    assert torch.allclose(outputs(model), masked, atol=1e-5)
    assert scheduler.thinnings[0].settling == 0
    assert scheduler.thinnings[0].difference < 1e-5


def test_the_shift_of_a_dead_filter_stays_0_while_it_trains() -> None:
    model = network()
    optimizer, scheduler = bound(schedule({"pruner": "p", "at": "start"}, {"thin": "filters", "at": "end"}), model)
    train(scheduler, model, optimizer, epochs=range(2))
    dead = model[0].weight.detach().flatten(1).abs().sum(1) == 0
    assert int(dead.sum()) == 3
    assert model[1].bias.detach()[dead].tolist() == [0, 0, 0]
    assert (model[1].bias.detach()[~dead] != 0).all()


def test_momentum_and_parameter_objects_survive() -> None:
    model = network()
    optimizer, scheduler = bound(schedule(), model)
    weight = model[0].weight
    train(scheduler, model, optimizer, epochs=range(2))
    kept = weight.detach().flatten(1).abs().sum(1) != 0
    momentum = optimizer.state[weight]["momentum_buffer"][kept].clone()
    scheduler.on_epoch_begin(2)
    assert model[0].weight is weight
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], momentum)
    assert step_once(scheduler, model, optimizer, 2, 0, 4) > 0


def test_later_cuts_count_the_weights_that_are_gone() -> None:
    policies = ({"pruner": "p", "at": [0, 2]}, {"thin": "filters", "at": 1})
    model = network()
    optimizer, scheduler = bound(
        schedule(*policies, parameters="0.weight", sparsity={"ramp": "list", "values": [0.5, 0.75]}), model
    )
    train(scheduler, model, optimizer)
    first, second = scheduler.cuts
    assert (first.removed, second.removed, second.weights) == (54, 72 + 18, 108)  # 4.5 filters: 5, halves up


def test_version_1_counts_what_is_there() -> None:
    text = """
version: 1
pruners:
  p: {class: L1RankedStructureParameterPruner, group_type: Filters, desired_sparsity: 0.5, weights: [module.0.weight]}
extensions:
  net_thinner: {class: FilterRemover, thinning_func_str: remove_filters, arch: any, dataset: mnist}
policies:
  - {pruner: {instance_name: p}, epochs: [0, 1]}
  - {extension: {instance_name: net_thinner}, epochs: [0, 1]}
"""
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 26 * 26, 3))
    scheduler = load_schedule(text).bind(model, sgd(model), epochs=2)
    sizes = []
    for epoch in range(2):
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        sizes.append(len(model[0].weight))
        scheduler.on_minibatch_end(epoch, 0, 1)
        scheduler.on_epoch_end(epoch)
    assert sizes == [4, 2]


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_ends_where_the_whole_run_ends(stop: int) -> None:
    policies = ({"pruner": "p", "during": "run"}, {"thin": "filters", "at": [1, 3]})
    made = schedule(*policies, sparsity={"ramp": "cubic", "to": 0.6}, pruned="zero")
    whole = network()
    optimizer, scheduler = bound(made, whole)
    train(scheduler, whole, optimizer)
    first = network()
    optimizer, scheduler = bound(made, first)
    train(scheduler, first, optimizer, epochs=range(stop))
    file = io.BytesIO()
    torch.save([scheduler.state_dict(), first.state_dict(), optimizer.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    second = network(seed=1)
    optimizer, scheduler = bound(made, second)
    for one, state in zip((scheduler, second, optimizer), states, strict=True):
        one.load_state_dict(state)
    train(scheduler, second, optimizer)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert len(scheduler.thinnings) == 2


def test_snapshots_are_thinned_too() -> None:
    policies = (
        {"pruner": "p", "at": 1},
        {"thin": "filters", "at": 2},
        {"rewind": {"weights": 0}, "at": 3},
    )
    model = network()
    begun = model[0].weight.detach().clone()
    optimizer, scheduler = bound(schedule(*policies), model)
    train(scheduler, model, optimizer, epochs=range(3))
    scheduler.on_epoch_begin(3)
    rows = {tuple(row) for row in begun.flatten(1).tolist()}
    assert all(tuple(row) in rows for row in model[0].weight.detach().flatten(1).tolist())


def test_nothing_to_remove_is_an_error() -> None:
    model = network()
    _, scheduler = bound(schedule({"pruner": "p", "at": 1}, {"thin": "filters", "at": "start"}), model)
    with pytest.raises(EffectError, match="nothing to remove: no filter or channel"):
        scheduler.on_epoch_begin(0)


def test_a_network_that_cannot_be_thinned_is_refused_with_the_line() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 5))
    text = """
version: 2
pruners: {p: {parameters: 0.weight, granularity: filter, allocation: uniform, sparsity: 0.5}}
policies:
  - {pruner: p, at: start}
  - {thin: filters, at: start}
"""
    with pytest.raises(ScheduleError, match=r"(?s):6:.*policies\[1\].thin.*0\.weight.*groups") as caught:
        load_schedule(text).bind(model, epochs=1, example_inputs=INPUTS)
    assert len(caught.value.problems) == 1


def test_inputs_that_are_missing_are_asked_for() -> None:
    with pytest.raises(ScheduleError, match="pass example_inputs to bind"):
        schedule().bind(network(), epochs=4)


def test_the_file_may_say_what_the_network_takes() -> None:
    thin = {"thin": {"what": "filters", "input": [2, 6, 6]}, "at": "start"}
    model = network()
    scheduler = schedule({"pruner": "p", "at": "start"}, thin).bind(model, epochs=1)
    scheduler.on_epoch_begin(0)
    assert len(model[0].weight) == 3


@pytest.mark.parametrize("thin", ["all", {"what": "channels", "apply": "step"}, {"input": [3, 8, 8]}])
def test_it_reads_back_from_its_dump(thin: Any) -> None:
    made = schedule({"pruner": "p", "at": "start"}, {"thin": thin, "at": ["start", {"end": "run"}]})
    assert load_schedule(dump(made)) == made


def test_filters_that_are_added_up_go_together() -> None:
    """Without it, only those that both sides happen to choose could be removed."""
    model = build_model("resnet8_cifar")
    axes = {"parameters": {"regex": r"conv1\.weight|layer1\.0\.conv2\.weight"}, "together": "joined"}
    made = schedule({"pruner": "p", "at": "start"}, {"thin": "filters", "at": "start"}, **axes)
    scheduler = made.bind(model, epochs=1, example_inputs=torch.zeros(1, 3, 32, 32))
    scheduler.on_epoch_begin(0)
    sizes = {name: len(parameter) for name, parameter in model.named_parameters() if parameter.dim() == 4}
    assert sizes["conv1.weight"] == sizes["layer1.0.conv2.weight"] == 8
    assert sizes["layer1.0.conv1.weight"] == 16
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_a_version_1_file_may_regularise_the_channels_of_the_images() -> None:
    """They cannot go, and in version 2 asking for it is an error."""
    text = """
regularizers: {r: {class: GroupLassoRegularizer, reg_regims: {module.0.weight: [0.1, Channels]}}}
extensions: {thin: {class: ChannelRemover, thinning_func_str: remove_channels, dataset: mnist}}
policies:
  - {extension: {instance_name: thin}, epochs: [0]}
  - {regularizer: {instance_name: r}, starting_epoch: 0, ending_epoch: 1, frequency: 1}
"""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 26 * 26, 3))
    with pytest.warns(ScheduleWarning, match="no version"):
        schedule_1 = load_schedule(text)
    assert schedule_1.bind(model, sgd(model), epochs=1).policies
    text_2 = {
        "version": 2,
        "pruners": {
            "p": {"parameters": "0.weight", "granularity": "channel", "allocation": "uniform", "sparsity": 0.5}
        },
        "policies": [{"pruner": "p", "at": "start"}, {"thin": "channels", "at": "start"}],
    }
    with pytest.raises(ScheduleError, match="they are the network's inputs"):
        load_schedule(text_2).bind(model, epochs=1, example_inputs=torch.zeros(1, 1, 28, 28))


KEEPING = {"pruner": "q", "at": 3}
AT_LAST = {"thin": "filters", "at": 3}


def with_another(first: dict[str, Any], *policies: dict[str, Any]) -> Schedule:
    """A pruner ``p`` of the first convolution, and ``q`` of the second, before a thinning at epoch 3."""
    filters = {"granularity": "filter", "allocation": "uniform", "sparsity": 0.5}
    pruners = {"p": {**filters, "parameters": "0.weight", **first}, "q": {**filters, "parameters": "3.weight"}}
    return load_schedule({"version": 2, "pruners": pruners, "policies": [*policies, KEEPING, AT_LAST]})


def test_released_filters_have_their_shifts_back() -> None:
    """Masked for good, a filter that is 0 behind a ReLU would never train again."""
    model = network()
    begun = model[1].bias.detach().clone()
    made = with_another({}, {"pruner": "p", "at": "start"}, {"release": "p", "at": 1})
    optimizer = sgd(model, lr=0.0)
    scheduler = made.bind(model, optimizer, epochs=4, example_inputs=INPUTS)
    train(scheduler, model, optimizer, epochs=range(2))
    assert scheduler.masks.names == [] and torch.equal(model[1].bias.detach(), begun)


DROPPED = {"criterion": "random", "draw": "bernoulli", "update": "reselect", "pruned": "dense", "lasts": "step"}


def test_filters_that_are_dropped_for_a_step_keep_their_shifts_and_are_never_removed() -> None:
    model = network()
    begun = model[1].bias.detach().clone()
    made = with_another(DROPPED, {"pruner": "p", "during": "run", "every": "1st"})
    optimizer = sgd(model, lr=0.0)
    scheduler = made.bind(model, optimizer, epochs=4, steps_per_epoch=4, example_inputs=INPUTS)
    train(scheduler, model, optimizer)
    assert len(model[0].weight) == 6 and len(model[3].weight) == 2
    assert torch.equal(model[1].bias.detach(), begun)


def test_filters_whose_values_are_kept_come_back_with_their_shifts() -> None:
    made = schedule({"pruner": "p", "at": [0, 1]}, {"thin": "filters", "at": "end"}, pruned="dense", update="reselect")
    model = network()
    begun = model[1].bias.detach().clone()
    _, scheduler = bound(made, model)
    scheduler.on_epoch_begin(0)
    dead = model[1].bias.detach() == 0
    assert int(dead.sum()) == 3
    with torch.no_grad():  # those that stay are now the smallest
        scheduler.masks.fill_("0.weight", scheduler.masks.weight("0.weight") * (1 + 99 * dead.view(-1, 1, 1, 1)))
    scheduler.on_epoch_begin(1)
    assert torch.equal(model[1].bias.detach(), begun * dead)


def test_a_filter_that_no_mask_holds_keeps_its_shift() -> None:
    """It may be 0 because it begins so, or for a moment below a regularizer's threshold, and grow."""
    model = network()
    nn.init.zeros_(model[0].weight[4])
    _, scheduler = bound(schedule({"pruner": "p", "at": 0}, {"thin": "filters", "at": "end"}, sparsity=0.0), model)
    scheduler.on_epoch_begin(0)
    assert float(model[1].bias.detach()[4]) > 0


def test_a_cut_that_a_run_was_stopped_after_is_followed_when_it_goes_on() -> None:
    """One at the end of an epoch, after the policy that thins has had its turn."""
    phases = [{"name": "first", "epochs": 1}, {"name": "second", "epochs": 1}]
    policies = [{"thin": "filters", "at": {"end": "second"}}, {"pruner": "p", "at": {"end": "first"}}]
    pruner = {"parameters": "0.weight", "granularity": "filter", "allocation": "uniform", "sparsity": 0.5}
    made = load_schedule({"version": 2, "phases": phases, "pruners": {"p": pruner}, "policies": policies})
    first = network()
    optimizer = sgd(first)
    scheduler = made.bind(first, optimizer, example_inputs=INPUTS)
    train(scheduler, first, optimizer, epochs=range(1))
    assert int((first[1].bias == 0).sum()) == 0
    second = network(seed=1)
    resumed = made.bind(second, sgd(second), example_inputs=INPUTS)
    resumed.load_state_dict(scheduler.state_dict())
    second.load_state_dict(first.state_dict())
    resumed.on_epoch_begin(1)
    assert int((second[1].bias == 0).sum()) == 3


def test_channels_stay_last_in_memory() -> None:
    model = network().to(memory_format=torch.channels_last)
    optimizer, scheduler = bound(schedule(), model)
    train(scheduler, model, optimizer)
    weight = model[3].weight
    for one in (weight, optimizer.state[weight]["momentum_buffer"]):
        assert one.shape == (2, 3, 3, 3) and one.is_contiguous(memory_format=torch.channels_last)


def test_blocks_that_thinning_has_broken_are_an_error_that_says_so() -> None:
    axes = {"parameters": "0.weight", "granularity": {"block": [2]}, "allocation": "uniform", "sparsity": 0.3}
    filters = {"parameters": "0.weight", "granularity": "filter", "allocation": "uniform", "sparsity": 0.5}
    policies = [{"pruner": "f", "at": 0}, {"thin": "filters", "at": 1}, {"pruner": "b", "at": 2}]
    model = network()
    made = load_schedule({"version": 2, "pruners": {"f": filters, "b": axes}, "policies": policies})
    optimizer, scheduler = bound(made, model)
    with pytest.raises(SchedEngineError, match=r"pruner 'b', epoch 2: 0\.weight, since it was thinned: .*\[2\]"):
        train(scheduler, model, optimizer)


def test_a_network_in_a_wrapper_of_a_wrapper_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Parallel(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    monkeypatch.setattr(nn.parallel, "DistributedDataParallel", Parallel)
    compiled = torch.compile(Parallel(network()), backend="eager")
    with pytest.raises(ScheduleError, match="DistributedDataParallel keeps buffers"):
        schedule().bind(compiled, epochs=4, example_inputs=INPUTS)


def test_a_scheduler_that_takes_over_knows_the_sizes_too() -> None:
    model = network()
    optimizer, first = bound(schedule(), model)
    train(first, model, optimizer)
    _, second = bound(schedule({"pruner": "p", "at": "start"}), model)
    second.take_over_(first, None)
    fresh = network()
    _, resumed = bound(schedule({"pruner": "p", "at": "start"}), fresh)
    resumed.load_state_dict(second.state_dict())
    assert [one.shape for one in fresh.parameters()] == [one.shape for one in model.parameters()]
    assert len(resumed.thinnings) == 1


def test_layers_that_keep_what_others_lose_are_told() -> None:
    """Of what is added up, nothing can go that is not zero on both sides."""
    model = build_model("resnet8_cifar")
    thin = {"thin": "filters", "at": "start"}
    alone = schedule({"pruner": "p", "at": "start"}, thin, parameters="layer1.0.conv2.weight")
    inputs = torch.zeros(2, 3, 32, 32)
    with pytest.warns(ScheduleWarning, match=r"layer1\.0\.conv2\.weight and conv1\.weight.*only the first"):
        alone.bind(model, epochs=1, example_inputs=inputs)
    both = schedule({"pruner": "p", "at": "start"}, thin, parameters=["conv1.weight", "layer1.0.conv2.weight"])
    with pytest.warns(ScheduleWarning, match="each loses filters of its own choice"):
        both.bind(model, epochs=1, example_inputs=inputs)


def test_a_depthwise_convolution_loses_the_filters_of_the_layer_before() -> None:
    """Ranked by itself, it would lose others, and the channels that work would be fewer than asked."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1)
    )
    axes = {"parameters": ["0.weight", "2.weight"], "together": "joined"}
    made = schedule({"pruner": "p", "at": "start"}, {"thin": "filters", "at": "start"}, **axes)
    scheduler = made.bind(model, epochs=1, example_inputs=INPUTS)
    scheduler.on_epoch_begin(0)
    assert [tuple(model[number].weight.shape) for number in (0, 2, 4)] == [(4, 2, 1, 1), (4, 1, 3, 3), (3, 4, 1, 1)]
    assert all(bool((model[number].weight.flatten(1) != 0).any(1).all()) for number in (0, 2))


def test_targets_are_made_of_the_shapes_before_any_thinning() -> None:
    """From 2 of 6 filters zero to 0.6 in two steps: 0.467, then 0.6, with a thinning between them or without."""
    targets = []
    for at in (1, "end"):
        model = network()
        with torch.no_grad():
            model[0].weight[:2] = 0  # type: ignore[index, operator]
        policies = ({"pruner": "p", "at": [0, 2]}, {"thin": "filters", "at": at})
        axes = {"parameters": "0.weight", "sparsity": {"ramp": "linear", "to": 0.6}}
        optimizer, scheduler = bound(schedule(*policies, **axes), model)
        train(scheduler, model, optimizer)
        targets.append([cut.target for cut in scheduler.cuts])
    assert targets[0] == targets[1] == pytest.approx([1 / 3 + (0.6 - 1 / 3) / 2, 0.6])
