"""Copies of the network that a plain loop trains one after another without knowing it, and their average."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from loops import sgd, small_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from schedengine import PruningScheduler, SchedEngineError, load_schedule
from schedengine.errors import CheckpointError, EffectError, EffectWarning
from schedengine.soups.average import average

STEPS = 3
IMP = {"sparsity": {"ramp": "geometric", "to": 0.8}}
DATA = [(torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0)), torch.zeros(4))]


def soup(*policies: dict[str, Any], pruner: dict[str, Any] = IMP, **phase: Any) -> dict[str, Any]:
    """A dense epoch, and two cycles of two epochs by two replicas."""
    cycle = {"name": "cycle", "epochs": 2, "repeat": 2, "replicas": 2, "recalibrate": "none", **phase}
    return {
        "version": 2,
        "phases": [{"name": "dense", "epochs": 1}, cycle],
        "pruners": {"imp": pruner},
        "lr_schedulers": {"lr": {"class": "linear", "from": 0.1, "to": 0.0}},
        "policies": [
            *(policies or [{"pruner": "imp", "at": "cycle"}]),
            {"lr_scheduler": "lr", "during": ["dense", "cycle"]},
        ],
    }


Seen = dict[str, Tensor]


def loop(
    scheduler: PruningScheduler,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    after_step: Callable[[int, int], None] = lambda epoch, step: None,
    after_epoch: Callable[[int], bool | None] = lambda epoch: None,
) -> None:
    """A loop whose images come from the global generator, as those of a shuffled DataLoader do."""
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        for step in range(STEPS):
            scheduler.on_minibatch_begin(epoch, step, STEPS)
            loss = cross_entropy(model(torch.randn(4, 2, 6, 6)), torch.randint(0, 5, (4,)))
            optimizer.zero_grad()
            scheduler.before_backward_pass(epoch, step, STEPS, loss).backward()
            scheduler.before_parameter_optimization(epoch, step, STEPS)
            optimizer.step()
            scheduler.on_minibatch_end(epoch, step, STEPS)
            after_step(epoch, step)
        scheduler.on_epoch_end(epoch, metrics={"loss": 1.0, "top1": 50.0})
        if after_epoch(epoch):
            return


def state(model: nn.Module) -> Seen:
    return {name: value.clone() for name, value in model.state_dict().items()}


def run(document: dict[str, Any], **given: Any) -> tuple[nn.Module, PruningScheduler, list[tuple[int, Seen]]]:
    """A whole run; the network, and its state after the last step of every epoch that was trained."""
    model = small_model()
    optimizer = sgd(model, weight_decay=0.01)
    scheduler = load_schedule(document).bind(model, optimizer, steps_per_epoch=STEPS, **given)
    seen: list[tuple[int, Seen]] = []

    def note(epoch: int, step: int) -> None:
        if step == STEPS - 1:
            seen.append((epoch, state(model)))

    torch.manual_seed(7)
    loop(scheduler, model, optimizer, after_step=note)
    return model, scheduler, seen


def bound(document: dict[str, Any], **given: Any) -> tuple[PruningScheduler, nn.Module, torch.optim.Optimizer]:
    model = small_model()
    optimizer = sgd(model)
    return load_schedule(document).bind(model, optimizer, steps_per_epoch=STEPS, **given), model, optimizer


def equal(one: Seen, other: Seen) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_each_replica_walks_through_the_epochs_of_its_phase() -> None:
    _, scheduler, seen = run(soup())
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 1, 2, 3, 4, 3, 4]
    assert scheduler.trained_epochs == 9


def test_a_phase_ends_with_the_average_of_what_its_replicas_ended_with() -> None:
    model, _, seen = run(soup())
    assert equal(state(model), average([seen[6][1], seen[8][1]]))
    assert not equal(seen[6][1], seen[8][1])


def test_every_replica_begins_with_the_weights_that_the_cut_has_left() -> None:
    begun: list[Seen] = []
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(soup()).bind(model, optimizer, steps_per_epoch=STEPS)
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        begun.append(state(model))
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(torch.randn_like(parameter))
        scheduler.on_minibatch_begin(epoch, 0, STEPS)
        scheduler.on_minibatch_end(epoch, 0, STEPS)
        scheduler.on_epoch_end(epoch)
    assert equal(begun[1], begun[3]) and equal(begun[5], begun[7])
    assert (begun[1]["0.weight"] == 0).sum() > 0


def test_masks_and_exact_zeros_survive_the_average() -> None:
    model, scheduler, seen = run(soup())
    weights = torch.cat([model[0].weight.flatten(), model[5].weight.flatten()])  # type: ignore[index]
    assert int((weights == 0).sum()) == round(0.8 * weights.numel())
    assert scheduler.cuts[-1].number == scheduler.cuts[-1].count == 2
    assert torch.equal(seen[-1][1]["0.weight"] == 0, model[0].weight == 0)  # type: ignore[index]


def test_a_soup_of_one_is_the_schedule_without_replicas() -> None:
    without = soup()
    del without["phases"][1]["replicas"], without["phases"][1]["recalibrate"]
    assert equal(state(run(soup(replicas=1))[0]), state(run(without)[0]))


def test_the_optimizer_goes_on_with_the_mean_velocity() -> None:
    momenta: dict[tuple[int, int], Tensor] = {}
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(soup()).bind(model, optimizer, steps_per_epoch=STEPS)

    def note(epoch: int, step: int) -> None:
        momenta[scheduler.trained_epochs, step] = optimizer.state[model[0].weight]["momentum_buffer"].clone()

    def stop(epoch: int) -> bool:
        return scheduler.trained_epochs == 5

    loop(scheduler, model, optimizer, after_step=note, after_epoch=stop)
    mean = (momenta[2, 2] + momenta[4, 2]) / 2
    torch.testing.assert_close(optimizer.state[model[0].weight]["momentum_buffer"], mean)


def test_an_optimizer_that_is_reset_remembers_nothing() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(soup(optimizer="reset", repeat=1)).bind(model, optimizer, steps_per_epoch=STEPS)
    loop(scheduler, model, optimizer)
    assert all(not entry["momentum_buffer"].any() for entry in optimizer.state.values())


def test_what_belongs_to_the_end_of_the_phase_finds_the_average() -> None:
    document = soup({"pruner": "imp", "at": {"end": "cycle"}})
    model, scheduler, seen = run(document)
    mean = average([seen[6][1], seen[8][1]])["0.weight"]
    kept = model[0].weight != 0  # type: ignore[index]
    assert torch.equal(model[0].weight[kept], mean[kept]) and not kept.all()  # type: ignore[index]
    assert scheduler.cuts[-1].epoch == 4 and scheduler.cuts[-1].is_end


@pytest.mark.parametrize(
    "phase",
    [
        {},
        {"recalibrate": "all"},
        {"vary": {"seed": [3, 5], "weight_decay": [0.1, 0.01], "lr": ["0.5x", "2x"], "epochs": [1, 2]}},
        {"masks": "reprune"},
        {"optimizer": "reset", "soup": "greedy"},
    ],
    ids=str,
)
def test_a_run_resumed_after_any_epoch_ends_where_the_whole_one_does(phase: dict[str, Any]) -> None:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer, PruningScheduler]:
        model = small_model()
        optimizer = sgd(model, weight_decay=0.01)
        given = {"data": DATA, "evaluate": lambda one: {"top1": float(one[0].weight.detach().sum())}}  # type: ignore[index]
        return model, optimizer, load_schedule(soup(**phase)).bind(model, optimizer, steps_per_epoch=STEPS, **given)

    def go_on(saved: list[bytes], *, stop_after: int | None = None) -> nn.Module:
        model, optimizer, scheduler = fresh()
        if saved:
            found = torch.load(io.BytesIO(saved[-1]), weights_only=True)
            scheduler.load_state_dict(found["scheduler"])
            model.load_state_dict(found["model"])
            optimizer.load_state_dict(found["optimizer"])
            torch.set_rng_state(found["rng"])
        else:
            torch.manual_seed(7)

        def keep(epoch: int) -> bool:
            buffer = io.BytesIO()
            states = {"scheduler": scheduler.state_dict(), "model": model.state_dict()}
            torch.save({**states, "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, buffer)
            saved.append(buffer.getvalue())
            return scheduler.trained_epochs == stop_after

        loop(scheduler, model, optimizer, after_epoch=keep)
        return model

    whole: list[bytes] = []
    end = state(go_on(whole))
    for done in range(1, len(whole)):
        assert equal(state(go_on(whole[:done])), end)


def test_a_greedy_soup_is_of_those_that_help() -> None:
    """The parent is tried first. The second replica is the better one, and adding the first makes it worse."""
    scores = iter([0.0, 1.0, 3.0, 2.0])
    document = soup(soup="greedy", repeat=1)
    model, scheduler, seen = run(document, evaluate=lambda model: {"top1": next(scores)})
    assert scheduler.walk.chosen == [1]
    assert equal(state(model), seen[4][1])


def test_the_velocity_is_that_of_the_replicas_that_were_chosen() -> None:
    scores, momenta = iter([0.0, 1.0, 3.0, 2.0]), list[Tensor]()
    scheduler, model, optimizer = bound(soup(soup="greedy", repeat=1), evaluate=lambda model: {"top1": next(scores)})
    weight = model[5].weight  # type: ignore[index]
    loop(
        scheduler,
        model,
        optimizer,
        after_step=lambda epoch, step: momenta.append(optimizer.state[weight]["momentum_buffer"].clone()),
    )
    assert scheduler.walk.chosen == [1]
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], momenta[-1])


def test_the_velocity_of_what_an_average_lost_is_0() -> None:
    scheduler, model, optimizer = bound(soup({"pruner": "imp", "during": "run"}, masks="reprune", epochs=3, repeat=1))
    loop(scheduler, model, optimizer)
    weight = model[5].weight  # type: ignore[index]
    assert not optimizer.state[weight]["momentum_buffer"][weight == 0].any()


def test_rates_that_nothing_else_sets_are_the_usual_ones_after_replicas() -> None:
    document = soup(vary={"lr": ["1x", "2x"]}, repeat=1)
    del document["lr_schedulers"], document["policies"][-1]
    scheduler, model, optimizer = bound(document)
    rates: list[float] = []
    loop(scheduler, model, optimizer, after_step=lambda e, s: rates.append(optimizer.param_groups[0]["lr"]))
    assert rates[::STEPS] == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.2])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_a_greedy_soup_accepts_a_tie() -> None:
    scores = iter([0.0, 3.0, 1.0, 3.0])
    _, scheduler, _ = run(soup(soup="greedy", repeat=1), evaluate=lambda model: {"top1": next(scores)})
    assert scheduler.walk.chosen == [0, 1]


def test_what_a_greedy_soup_tries_has_statistics_of_its_own_and_leaves_modes_alone() -> None:
    found: list[Tensor] = []

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert not model.eval().training
        found.append(model[1].running_mean.clone())  # type: ignore[index]
        with torch.no_grad():
            batch = model[0](DATA[0][0])  # type: ignore[index]
        if len(found) > 1:  # the parent's are those that it was trained with
            torch.testing.assert_close(found[-1], batch.mean((0, 2, 3)))
        return {"top1": 50.0}

    model, _, _ = run(soup(soup="greedy", repeat=1, recalibrate="all"), evaluate=evaluate, data=DATA)
    assert len(found) == 4 and all(module.training for module in model.modules())


def test_an_evaluation_that_says_too_little_is_told_before_replicas_are_trained() -> None:
    trained: list[int] = []
    scheduler, model, optimizer = bound(soup(soup="greedy"), evaluate=lambda model: {"acc": 50.0})
    with pytest.raises(SchedEngineError, match=r"goes by 'top1' of the evaluation.*got acc"):
        loop(scheduler, model, optimizer, after_epoch=trained.append)
    assert trained == [0]


@pytest.mark.parametrize("vary", [None, {"seed": [5, 6, 7]}])
def test_replicas_begin_with_the_optimizer_of_their_parent_and_random_numbers_of_their_own(vary: Any) -> None:
    scheduler, model, optimizer = bound(soup(replicas=3, repeat=1, **({"vary": vary} if vary else {})))
    begun: list[tuple[int, Tensor, int]] = []

    def note(epoch: int, step: int) -> None:
        """The momentum before the first step is what the gradient does not explain of the one after it."""
        if step == 0:
            weight = model[5].weight  # type: ignore[index]
            before = optimizer.state[weight]["momentum_buffer"] - weight.grad
            begun.append((epoch, before, torch.initial_seed()))

    loop(scheduler, model, optimizer, after_step=note)
    _, *first = (entry for entry in begun if entry[0] < 2)
    assert len({seed for *_, seed in first}) == 3
    for _, before, _ in first[1:]:
        torch.testing.assert_close(before, first[0][1])


def test_replicas_need_the_optimizer() -> None:
    document = soup()
    del document["lr_schedulers"], document["policies"][-1]
    scheduler = load_schedule(document).bind(small_model(), steps_per_epoch=STEPS)
    with pytest.raises(SchedEngineError, match="'cycle': its replicas begin with .* pass the optimizer to bind"):
        scheduler.on_epoch_begin(next(iter(scheduler.epochs())))


def test_a_scheduler_of_torch_that_goes_on_from_replica_to_replica_is_told_of() -> None:
    scheduler, model, optimizer = bound(soup(repeat=1))
    torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    with pytest.warns(EffectWarning, match="'cycle': a scheduler of torch sets the rates"):
        loop(scheduler, model, optimizer)


def test_an_iterator_is_not_read_twice_for_statistics() -> None:
    scheduler, model, optimizer = bound(soup(recalibrate="all"), data=iter(DATA))
    with pytest.raises(SchedEngineError, match="is an iterator, which one pass uses up"):
        loop(scheduler, model, optimizer)


def test_a_state_of_more_replicas_than_there_are_is_refused() -> None:
    scheduler, model, optimizer = bound(soup(replicas=3))
    loop(scheduler, model, optimizer, after_epoch=lambda epoch: scheduler.trained_epochs == 5)
    assert scheduler.walk.replica == 2
    with pytest.raises(CheckpointError, match=r"within replica 2 \(from 0\).*'cycle' has 2 replicas"):
        bound(soup(replicas=2))[0].load_state_dict(scheduler.state_dict())
    later = soup(replicas=3)
    later["phases"][0]["epochs"] = 2
    with pytest.raises(CheckpointError, match="in this schedule none has replicas there"):
        bound(later)[0].load_state_dict(scheduler.state_dict())


def rates(document: dict[str, Any]) -> list[list[float]]:
    """Learning rates at every step, a list for every epoch that is trained."""
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(document).bind(model, optimizer, steps_per_epoch=STEPS)
    found: list[list[float]] = [[]]

    def after(epoch: int) -> None:
        found.append([])

    loop(
        scheduler,
        model,
        optimizer,
        after_step=lambda epoch, step: found[-1].append(optimizer.param_groups[0]["lr"]),
        after_epoch=after,
    )
    return found[:-1]


def test_replicas_may_have_other_rates() -> None:
    found = rates(soup(vary={"lr": ["1x", "2x"]}, repeat=1))
    assert found[3] == pytest.approx([2 * rate for rate in found[1]])
    assert found[4] == pytest.approx([2 * rate for rate in found[2]])


def test_the_rates_of_a_shorter_replica_are_those_of_a_shorter_phase() -> None:
    short = soup(repeat=1, epochs=1, replicas=1)
    found = rates(soup(vary={"epochs": [2, 1]}, repeat=1))
    assert [len(found), found[3]] == [4, rates(short)[1]]


def test_the_rates_after_a_fork_are_the_usual_ones() -> None:
    varied, usual = rates(soup(vary={"epochs": [2, 1], "lr": ["1x", "3x"]})), rates(soup())
    assert varied[4:6] == usual[5:7]


def test_replicas_may_have_other_weight_decays() -> None:
    model = small_model()
    optimizer = sgd(model, weight_decay=0.5)
    document = soup(vary={"weight_decay": [0.1, 0.2]}, repeat=1)
    scheduler = load_schedule(document).bind(model, optimizer, steps_per_epoch=STEPS)
    found: list[float] = []
    loop(scheduler, model, optimizer, after_step=lambda e, s: found.append(optimizer.param_groups[0]["weight_decay"]))
    assert found[::STEPS] == [0.5, 0.1, 0.1, 0.2, 0.2]
    assert optimizer.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.parametrize(
    ("usual", "varied"), [([0.0, 0.1], [0.0, 0.2]), ([0.2, 0.1], [0.2, 0.1]), ([0.0, 0.0], [0.2, 0.2])]
)
def test_groups_that_do_not_decay_still_do_not(usual: list[float], varied: list[float]) -> None:
    model = small_model()
    groups = [{"params": [one], "weight_decay": decay} for one, decay in zip(model.parameters(), usual, strict=False)]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    document = soup(vary={"weight_decay": [0.2, 0.2]}, repeat=1)
    scheduler = load_schedule(document).bind(model, optimizer, steps_per_epoch=STEPS)
    found: list[list[float]] = []
    loop(
        scheduler,
        model,
        optimizer,
        after_epoch=lambda epoch: found.append([group["weight_decay"] for group in optimizer.param_groups]),
    )
    assert found[1] == found[3] == pytest.approx(varied)


def test_an_optimizer_without_weight_decay_cannot_vary_it() -> None:
    model = small_model()
    optimizer = torch.optim.Rprop(model.parameters())
    scheduler = load_schedule(soup(vary={"weight_decay": [0.1, 0.2]})).bind(model, optimizer, steps_per_epoch=STEPS)
    with pytest.raises(SchedEngineError, match="Rprop has no weight decay"):
        scheduler.on_epoch_begin(next(iter(scheduler.epochs())))


DPF = {"sparsity": {"ramp": "cubic", "to": 0.8, "every": 2}, "update": "reselect", "pruned": "dense"}


def test_dense_masters_are_averaged_and_chosen_from_anew_when_replicas_are_done() -> None:
    model, scheduler, seen = run(soup({"pruner": "imp", "during": "cycle", "every": "1st"}, pruner=DPF))
    inside = [found["0.weight"] == 0 for _, found in seen[5:9]]
    assert all(torch.equal(one, inside[0]) for one in inside)
    weights = torch.cat([model[0].weight.flatten(), model[5].weight.flatten()])  # type: ignore[index]
    assert int((weights == 0).sum()) == round(0.8 * weights.numel())
    assert scheduler.cuts[-1].number == scheduler.cuts[-1].count


def test_replicas_may_cut_by_themselves_and_the_average_is_cut_again() -> None:
    document = soup({"pruner": "imp", "during": "run"}, masks="reprune", epochs=3, repeat=1)
    model, _, seen = run(document)
    ends = [found["0.weight"] == 0 for _, found in (seen[3], seen[6])]
    weights = torch.cat([model[0].weight.flatten(), model[5].weight.flatten()])  # type: ignore[index]
    assert not torch.equal(*ends) and not torch.equal(model[0].weight == 0, ends[1])  # type: ignore[index]
    assert int((weights == 0).sum()) == round(0.8 * weights.numel())


def test_a_range_instead_of_the_schedulers_epochs_is_refused() -> None:
    scheduler = load_schedule(soup()).bind(small_model(), sgd(small_model()), steps_per_epoch=STEPS)
    with pytest.raises(
        SchedEngineError, match=r"replicas of 'cycle'.*loop over scheduler.epochs\(\), not over a range"
    ):
        for epoch in range(5):
            scheduler.on_epoch_begin(epoch)


def test_an_epoch_that_is_not_ended_is_refused() -> None:
    scheduler = load_schedule(soup()).bind(small_model(), sgd(small_model()), steps_per_epoch=STEPS)
    with pytest.raises(SchedEngineError, match=r"epoch 0 ended without on_epoch_end\(0\)"):
        for epoch in scheduler.epochs():
            scheduler.on_epoch_begin(epoch)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ({"soup": "greedy"}, r"phase 'cycle': a greedy soup is judged by an evaluation; pass evaluate="),
        (
            {"recalibrate": "all"},
            r"phase 'cycle' averages networks.*pass data= .*, or write 'recalibrate: none'",
        ),
    ],
)
def test_what_an_average_needs_is_missed_before_anything_is_trained(phase: dict[str, Any], message: str) -> None:
    scheduler = load_schedule(soup(**phase)).bind(small_model(), sgd(small_model()), steps_per_epoch=STEPS)
    with pytest.raises(SchedEngineError, match=message):
        scheduler.on_epoch_begin(next(iter(scheduler.epochs())))


def test_statistics_of_the_average_are_those_of_the_data() -> None:
    model, _, _ = run(soup(recalibrate="all", repeat=1), data=DATA)
    outputs = model[0](DATA[0][0])  # type: ignore[index]
    torch.testing.assert_close(model[1].running_mean, outputs.mean((0, 2, 3)).detach())  # type: ignore[index]


def test_masks_that_change_within_a_replica_are_an_error() -> None:
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(soup()).bind(model, optimizer, steps_per_epoch=STEPS)

    def meddle(epoch: int, step: int) -> None:
        if epoch == 2:
            scheduler.masks.set_("imp", "0.weight", torch.ones(3, 2, 3, 3, dtype=torch.bool))

    with pytest.raises(EffectError, match="replica 0 of 'cycle-1' ends with other masks than it began with"):
        loop(scheduler, model, optimizer, after_step=meddle)
