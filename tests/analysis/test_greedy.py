"""Greedy search with measures whose answers are known: every filter has its price."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pandas
import pytest
import torch
from torch import Tensor, nn

from schedengine import load_schedule
from schedengine.analysis.greedy import candidates_of, greedy, levels
from schedengine.analysis.greedy.candidates import short
from schedengine.analysis.greedy.schedule import schedule_text
from schedengine.errors import CheckpointError, EffectWarning, SchedEngineError, ScheduleError
from schedengine.export.graph import dimensions
from schedengine.zoo.models import build_model

IMAGE = (torch.zeros(1, 1, 4, 4),)
STREAM = "stem.weight second.weight"


class Residual(nn.Module):
    """1,152 + 6,912 + 6,912 + 24 = 15,000 multiply-accumulates for an image of 4x4; 8 filters added up, and 6 alone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.first, self.second = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        out = torch.relu(self.norm(self.stem(images)))
        out = torch.relu(out + self.second(torch.relu(self.first(out))))
        return self.fc(out.mean((2, 3)))


def residual() -> Residual:
    torch.manual_seed(0)
    return Residual().eval()


def priced(stream: float, alone: float) -> Callable[[nn.Module], tuple[float, float, float]]:
    """A loss that a filter of the stream, and one of the first layer, raise by so much; top-1 falls with it."""

    def measure(network: Any) -> tuple[float, float, float]:
        loss = stream * (8 - network.stem.out_channels) + alone * (6 - network.first.out_channels)
        return 100 - loss, 100.0, loss

    return measure


def chosen(table: pandas.DataFrame) -> list[str]:
    return list(table[(table["chosen"] == 1) & (table["iteration"] > 0)]["layers"])


def search(measure: Callable[[nn.Module], tuple[float, float, float]], **options: Any) -> pandas.DataFrame:
    return greedy(residual(), IMAGE, measure, **{"step": 0.25, "by": "loss_per_mac", **options})


def test_filters_that_are_added_up_are_one_candidate() -> None:
    model = residual()
    found, others = candidates_of(model, dimensions(model, torch.zeros(2, 1, 4, 4)))
    assert [(one.layers, one.size) for one in found] == [(STREAM, 8), ("first.weight", 6)]
    assert others == {}


def test_the_smallest_rise_of_the_loss_per_mac_goes_first() -> None:
    """Two filters of the stream save 3,750 of 15,000, two of the first layer 4,608: 2 / 3,750 against 4 / 4,608."""
    table = search(priced(stream=1, alone=2))
    assert chosen(table) == [STREAM, STREAM]
    assert list(table["macs"]) == [15_000, 11_250, 10_392, 7_500, 7_794]
    assert list(table["loss"]) == [0, 2, 4, 4, 6]


def test_a_step_that_costs_more_and_saves_much_more_is_the_better_one() -> None:
    """2.2 / 4,608 is less than 2 / 3,750."""
    assert chosen(search(priced(stream=1, alone=1.1), target=0.7)) == ["first.weight"]


def test_by_distillers_rule_the_highest_top1_goes_on_whatever_it_saves() -> None:
    assert chosen(search(priced(stream=1, alone=1.1), target=0.8, by="top1")) == [STREAM]


def test_at_equal_top1_top5_decides_and_then_the_loss() -> None:
    def measure(network: Any) -> tuple[float, float, float]:
        is_stream = network.stem.out_channels < 8
        return 50.0, 90.0 - 10 * is_stream, 1.0 - is_stream

    assert chosen(search(measure, target=0.8, by="top1")) == ["first.weight"]


def test_of_steps_that_cost_nothing_the_one_that_saves_most_goes() -> None:
    assert chosen(search(priced(stream=-1, alone=0), target=0.7)) == ["first.weight"]


def test_a_loss_that_is_not_finite_is_never_chosen() -> None:
    def measure(network: Any) -> tuple[float, float, float]:
        return 10.0, 50.0, float("nan") if network.first.out_channels < 6 else 1.0

    assert chosen(search(measure)) == [STREAM, STREAM]


def test_a_dear_layer_keeps_its_filters() -> None:
    def measure(network: Any) -> tuple[float, float, float]:
        return 90.0, 99.0, float(1000 * (64 - network.conv3.out_channels))

    table = greedy(
        build_model("digits_cnn"), (torch.zeros(1, 1, 8, 8),), measure, step=0.25, target=0.6, by="loss_per_mac"
    )
    assert ("conv3.weight",) not in levels(table)
    assert list(levels(table)) == [("conv2.weight",), ("conv4.weight",)]  # which save most, in the model's order


def test_a_row_counts_the_whole_thinned_network() -> None:
    row = search(priced(1, 2)).iloc[1]
    assert (row["filters"], row["dense_filters"], row["macs_share"]) == (6, 8, 0.75)
    assert row["parameters"] == 6 * 9 + 2 * 6 + (6 * 6 * 9 + 6) + (6 * 6 * 9 + 6) + (3 * 6 + 3)


def test_a_step_is_one_filter_at_least() -> None:
    assert search(priced(1, 2), step=0.01, target=0.99).iloc[1]["filters"] == 7


def test_a_target_that_is_out_of_reach_is_refused_before_anything_is_measured() -> None:
    def measure(network: nn.Module) -> tuple[float, float, float]:
        raise AssertionError("measured")

    with pytest.raises(SchedEngineError, match=r"0\.2696 of them remain"):  # 4 and 3 filters: 4,044 of 15,000
        search(measure, least=0.5, target=0.2)


def test_what_must_stay_ends_a_layers_steps_early() -> None:
    table = search(priced(stream=1, alone=1000), least=0.5, step=0.4, target=0.3)
    assert list(table[table["layers"] == STREAM]["filters"]) == [5, 4]
    assert list(table[table["layers"] == "first.weight"]["filters"]) == [4, 4, 4, 3]


def test_the_filters_of_the_smallest_norm_go() -> None:
    model, seen = residual(), list[Any]()
    with torch.no_grad():
        model.first.weight *= torch.tensor([3, 1, 6, 5, 2, 4.0]).view(6, 1, 1, 1) / model.first.weight.abs().sum(
            (1, 2, 3), keepdim=True
        )
    greedy(model, IMAGE, lambda network: seen.append(network) or (0, 0, 0), target=0.7, step=0.5)  # type: ignore[func-returns-value]
    thinned = seen[2]
    assert torch.equal(thinned.first.weight, model.first.weight[[2, 3, 5]])
    assert torch.equal(thinned.second.weight, model.second.weight[:, [2, 3, 5]])


def test_the_model_stays_as_it_was() -> None:
    model = residual().train()
    before, draws = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    greedy(model, IMAGE, priced(1, 2), step=0.25)
    assert model.training and torch.equal(draws, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_best_network_goes_on_as_it_was_trained() -> None:
    """Each trial adds 1 to the biases that it got; only those of the chosen ones add up."""

    def tune(network: Any, name: str) -> None:
        network.fc.bias.data += 1

    seen: list[float] = []

    def measure(network: Any) -> tuple[float, float, float]:
        seen.append(float(network.fc.bias.detach()[0]))
        return priced(1, 2)(network)

    search(measure, tune=tune)
    dense = seen[0]
    assert seen == pytest.approx([dense, dense + 1, dense + 1, dense + 2, dense + 2])


@pytest.mark.parametrize("rows", range(6))
def test_an_interrupted_search_measures_only_what_is_missing(rows: int) -> None:
    tuned: list[str] = []

    def measure(network: Any) -> tuple[float, float, float]:
        counted.append(1)
        top1, top5, loss = priced(1, 2)(network)
        return top1, top5, loss + float(network.fc.bias.detach().sum())

    def tune(network: Any, name: str) -> None:
        tuned.append(name)
        network.fc.bias.data += 0.001 * len(name)

    counted: list[int] = []
    whole = search(measure, tune=tune)
    counted.clear()
    assert search(measure, tune=tune, known=whole[:rows]).equals(whole)
    assert len(counted) == len(whole) - rows


def test_rows_of_another_search_are_refused() -> None:
    table = search(priced(1, 2))
    with pytest.raises(CheckpointError, match="7 filters of 8|6 of 8 filters, this search 7 of 8"):
        search(priced(1, 2), step=0.1, known=table)
    with pytest.raises(CheckpointError, match="no column chosen"):
        search(priced(1, 2), known=table.drop(columns="chosen"))


def test_the_schedule_gives_the_network_that_was_found() -> None:
    model, seen = residual(), list[nn.Module]()
    price = priced(1, 1.6)
    table = greedy(
        model, IMAGE, lambda one: seen.append(one) or price(one), step=0.25, least=0.5, target=0.4, by="loss_per_mac"
    )  # type: ignore[func-returns-value]
    assert levels(table) == {("stem.weight", "second.weight"): (4, 8), ("first.weight",): (4, 6)}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = load_schedule(schedule_text(table, "mine", (1, 4, 4))).bind(model, optimizer, steps_per_epoch=2)
    scheduler.on_epoch_begin(0)
    last = next(one for one in seen if (one.stem.out_channels, one.first.out_channels) == (4, 4))
    assert [one.shape for one in model.parameters()] == [one.shape for one in last.parameters()]
    images = torch.rand(5, 1, 4, 4)
    assert torch.allclose(model.eval()(images), last.eval()(images), atol=1e-6)


def test_channels_that_are_flattened_are_followed_over_several_rounds() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1, bias=False),
        nn.ReLU(), nn.Flatten(), nn.Linear(64, 3),
    )  # fmt: skip
    seen: list[nn.Module] = []
    greedy(model, IMAGE, lambda one: seen.append(one) or (0, 0, 0), step=0.3, target=0.2, by="loss_per_mac")  # type: ignore[func-returns-value]
    masked, images = copy.deepcopy(model), torch.rand(5, 1, 4, 4)
    last = min(seen, key=lambda one: sum(p.numel() for p in one.parameters()))
    for layer in (0, 2):
        norms = model[layer].weight.abs().sum((1, 2, 3))
        gone = norms.argsort()[: len(norms) - len(last[layer].weight)]
        masked[layer].weight.data[gone] = 0
    assert len(last[0].weight) < 6 and len(last[2].weight) < 4
    assert torch.allclose(last(images), masked(images), atol=1e-6)


def test_only_the_parameters_that_are_asked_for_lose_filters() -> None:
    assert set(chosen(search(priced(1, 2), parameters=["first.*"], target=0.7))) == {"first.weight"}
    with pytest.raises(ScheduleError, match="fist"):
        search(priced(1, 2), parameters=["fist.weight"])


def test_a_set_that_is_asked_for_in_part_is_no_candidate() -> None:
    with pytest.raises(SchedEngineError, match="stem, second: not among the parameters"):
        search(priced(1, 2), parameters=["stem.weight"])


def test_filters_that_cannot_go_are_named_with_the_reason() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 1))
    _, others = candidates_of(model, dimensions(model, torch.zeros(2, 1, 4, 4)))
    assert list(others) == ["1.weight"] and "GroupNorm" in others["1.weight"]


def test_filters_that_are_dead_already_are_to_be_removed_first() -> None:
    model = residual()
    with torch.no_grad():
        model.first.weight[:2] = 0
        model.first.bias[:2] = 0  # type: ignore[index]
    with pytest.raises(SchedEngineError, match=r"first\.weight 6 to 4"):
        greedy(model, IMAGE, priced(1, 2))


def test_what_a_schedules_thinning_removes_besides_is_told() -> None:
    """A filter of the first layer that reads only what goes."""
    model = residual()
    with torch.no_grad():
        model.stem.weight[0] = model.second.weight[0] = 1e-6
        model.first.weight[3, 1:] = 0
    with pytest.warns(EffectWarning, match=r"first\.weight 6 to 5"):
        greedy(model, IMAGE, priced(1, 1000), step=0.1, target=0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1.0}, "target 1: a share"),
        ({"step": 0.0}, "step 0: a share"),
        ({"least": -0.1}, "least -0.1: a share"),
        ({"criterion": "magnitud"}, "did you mean magnitude"),
        ({"criterion": "gradient"}, "needs more than weights"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SchedEngineError, match=message):
        search(priced(1, 2), **options)


def test_long_sets_are_named_shortly() -> None:
    assert short("a.weight b.weight c.weight d.weight") == "a, b, c and 1 more"
