"""Retraining in the loop: peaks from cuts, traces, and the identities that tie the methods together."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import batch, sgd, small_model, train
from torch import Tensor, nn

from schedengine import PruningScheduler, SchedEngineError, ScheduleError, load_schedule
from schedengine.lr.trace import Trace
from schedengine.schedule.budget import rescale

DENSE = {"lr_scheduler": "dense", "during": "dense"}
AGAIN = {"lr_scheduler": "again", "during": "cycle"}
CUT = {"pruner": "p", "at": "cycle"}
CYCLES = [{"name": "dense", "epochs": 4}, {"name": "cycle", "epochs": 2, "repeat": 2}]


def document(rule: Any, *, phases: Any = CYCLES, policies: Any = (CUT, DENSE, AGAIN), **axes: Any) -> dict[str, Any]:
    """A line from 0.1 to 0, a cut at each cycle, and a rule after it."""
    rules = rule if isinstance(rule, dict) else {"class": rule}
    return {
        "version": 2,
        "phases": phases,
        "pruners": {"p": {"sparsity": {"ramp": "geometric", "to": 0.8}, **axes}},
        "lr_schedulers": {"dense": {"class": "linear", "from": 0.1}, "again": rules},
        "policies": list(policies),
    }


def rates(written: dict[str, Any], steps: int = 4, group: int = 0, **bound: Any) -> list[float]:
    """The learning rate of each step of a run."""
    model = small_model()
    optimizer = torch.optim.SGD(
        [{"params": [*model[0].parameters()]}, {"params": [*model[5].parameters()], "lr": 0.01}], lr=0.1, momentum=0.9
    )
    scheduler = load_schedule(written).bind(model, optimizer, **bound)
    seen: list[float] = []
    groups = optimizer.param_groups
    train(scheduler, model, optimizer, steps=steps, after_step=lambda *_: seen.append(groups[group]["lr"]))
    return seen


def weights_after(written: dict[str, Any], **bound: Any) -> dict[str, Tensor]:
    model = small_model()
    optimizer = sgd(model)
    train(load_schedule(written).bind(model, optimizer, **bound), model, optimizer)
    return model.state_dict()


# --- ALLR in the loop ------------------------------------------------------------------------------------------------


def idle(model: nn.Module, written: dict[str, Any], steps: int = 10, rate: float = 0.1) -> list[float]:
    """The rates of a run whose loop never updates the model."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    scheduler = load_schedule(written).bind(model, optimizer)
    seen = []
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        for step in range(steps):
            scheduler.on_minibatch_begin(epoch, step, steps)
            scheduler.before_parameter_optimization(epoch, step, steps)
            seen.append(optimizer.param_groups[0]["lr"])
            scheduler.on_minibatch_end(epoch, step, steps)
        scheduler.on_epoch_end(epoch)
    return seen


def counting() -> nn.Linear:
    """The weights 1..10."""
    layer = nn.Linear(10, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 11.0)[None])
    return layer


def published(cycle: int, *policies: dict[str, Any], rule: str = "ALLR", dense: int = 20) -> dict[str, Any]:
    """Half of the weights 1..10, then those of 6..10 down to 3 of 10; the dense rate is 0.1 throughout."""
    phases = [{"name": "dense", "epochs": dense}, {"name": "cycle", "epochs": cycle, "repeat": 2}]
    written = document({"class": rule, "warmup": 0}, phases=phases, policies=[*(policies or [CUT]), AGAIN])
    return {
        **written,
        "lr_schedulers": {"again": written["lr_schedulers"]["again"]},
        "pruners": {"p": {"sparsity": {"ramp": "list", "values": [0.5, 0.7]}}},
    }


@pytest.mark.parametrize("rule", ["ALLR", "LayerwiseALLR"])
def test_allr_has_the_published_peaks_in_both_cycles(rule: str) -> None:
    seen = idle(counting(), published(1, rule=rule))
    assert (seen[200], seen[210]) == pytest.approx((0.0534522, 0.0802458), rel=1e-6)


def test_a_long_retraining_raises_the_peak_of_allr() -> None:
    assert idle(counting(), published(15))[200] == pytest.approx(0.075)


def test_a_cut_at_the_end_of_the_dense_phase_is_one_at_the_start_of_the_cycle() -> None:
    phases = [{"name": "dense", "epochs": 20}, {"name": "cycle", "epochs": 1}]
    seen = [
        idle(counting(), {**published(1, {"pruner": "p", "at": at}), "phases": phases,
                          "pruners": {"p": {"sparsity": 0.5}}})
        for at in ("cycle", {"end": "dense"})
    ]  # fmt: skip
    assert seen[0] == seen[1] and seen[0][200] == pytest.approx(0.0534522, rel=1e-6)


def test_a_bias_lowers_the_peak() -> None:
    model = nn.Linear(10, 1)
    with torch.no_grad():
        model.weight.copy_(torch.arange(1.0, 11.0)[None])
        model.bias.fill_(385**0.5)  # as large as all weights together
    assert idle(model, published(1))[200] == pytest.approx(0.0534522 / 2**0.5, rel=1e-6)


def test_pruners_at_one_moment_are_one_cut() -> None:
    def peak(pruners: dict[str, Any]) -> float:
        written = published(1, *({"pruner": name, "at": "cycle"} for name in pruners))
        return idle(nn.Sequential(counting(), counting()), {**written, "pruners": pruners})[200]

    levels = {"ramp": "list", "values": [0.5, 0.7]}
    one = {"p": {"sparsity": levels, "allocation": "uniform"}}
    two = {name: {"sparsity": levels, "parameters": f"{name}.weight"} for name in ("0", "1")}
    assert peak(one) == pytest.approx(peak(two)) == pytest.approx(0.0534522, rel=1e-6)


def test_allr_after_a_cut_at_a_step_takes_its_peak_from_it() -> None:
    written = published(1, {"pruner": "p", "during": "cycle", "every": "10st"})
    seen = idle(counting(), written)
    assert (seen[200], seen[210]) == pytest.approx((0.0534522, 0.0802458), rel=1e-6)


# --- the trace -------------------------------------------------------------------------------------------------------


def bound(written: dict[str, Any], **options: Any) -> tuple[nn.Module, torch.optim.SGD, PruningScheduler]:
    model = small_model()
    optimizer = sgd(model)
    return model, optimizer, load_schedule(written).bind(model, optimizer, **options)


def test_the_trace_stops_at_the_first_cut() -> None:
    model, optimizer, scheduler = bound(document("LLR"))
    assert scheduler.trace is None
    train(scheduler, model, optimizer)
    assert scheduler.trace is not None and scheduler.trace.steps_per_epoch == 4
    assert list(scheduler.trace.rates) == pytest.approx([0.1 * (1 - step / 16) for step in range(16)])


def test_a_training_before_the_run_is_put_in_front() -> None:
    model, optimizer, scheduler = bound(document("LLR"), trace=Trace([0.4, 0.3], 1))
    train(scheduler, model, optimizer, epochs=range(1))
    assert scheduler.trace is not None
    assert list(scheduler.trace.rates[:9]) == [0.4] * 4 + [0.3] * 4 + [0.1]


def test_the_file_can_say_how_foreign_weights_were_trained() -> None:
    phases = [{"name": "cycle", "epochs": 2}]
    written = document("LRW", phases=phases, policies=[CUT, AGAIN])
    written["trace"] = {"epochs": 4, "lr": {"class": "step", "from": 0.1}}
    del written["lr_schedulers"]["dense"]
    assert rates(written) == pytest.approx([0.01] * 4 + [0.001] * 4)
    assert rates(written, trace=Trace([0.5, 0.25], 1)) == [0.5] * 4 + [0.25] * 4  # the weights' own comes first


def test_a_tensor_rate_is_traced_too() -> None:
    model = small_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1), capturable=True)
    scheduler = load_schedule(document("SLR")).bind(model, optimizer)
    for epoch in range(4):
        scheduler.on_epoch_begin(epoch)
        for step in range(4):
            scheduler.on_minibatch_begin(epoch, step, 4)
            scheduler.before_parameter_optimization(epoch, step, 4)
            scheduler.on_minibatch_end(epoch, step, 4)
        scheduler.on_epoch_end(epoch)
    assert scheduler.trace is not None
    assert list(scheduler.trace.rates) == pytest.approx([0.1 * (1 - step / 16) for step in range(16)])


# --- rules restart with every cycle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["FT", "LRW", "SLR", "CLR", "LLR"])
def test_a_rule_restarts_with_every_cycle_from_the_dense_training(rule: str) -> None:
    seen = rates(document(rule))
    assert seen[16:24] == seen[24:32]


@pytest.mark.parametrize("rule", ["FT", "LRW", "SLR", "CLR", "LLR", "ALLR", "LayerwiseALLR"])
def test_parameter_groups_keep_their_ratio_throughout(rule: str) -> None:
    first, second = (rates(document(rule), group=group) for group in (0, 1))
    assert second == pytest.approx([0.1 * rate for rate in first])


def test_a_rule_before_any_cut_has_the_dense_training_until_then() -> None:
    written = document("LRW", policies=[{"pruner": "p", "at": {"end": "run"}}, DENSE, AGAIN])
    seen = rates(written)
    assert seen[16:24] == seen[8:16] and seen[24:32] == seen[16:24]


def test_a_file_without_phases_is_told_of_a_missing_dense_training_when_it_is_bound() -> None:
    written = {
        "version": 2,
        "pruners": {"p": {"sparsity": 0.5}},
        "lr_schedulers": {"again": {"class": "LLR"}},
        "policies": [{"pruner": "p", "at": "start"}, {"lr_scheduler": "again", "during": "run"}],
    }
    with pytest.raises(SchedEngineError, match=r"policies\[1\]: LLR: .* none is known"):
        rates(written, epochs=3)
    assert rates(written, epochs=1, trace=Trace([0.2], 1))[0] == 0.2


# --- identities ------------------------------------------------------------------------------------------------------


def test_imp_in_one_cycle_is_one_shot() -> None:
    phases = [{"name": "dense", "epochs": 2}, {"name": "cycle", "epochs": 2}]
    many = document("LLR", phases=phases)
    once = {**many, "pruners": {"p": {"sparsity": 0.8}}, "policies": [{"pruner": "p", "at": 2}, DENSE, AGAIN]}
    one, other = weights_after(many), weights_after(once)
    assert all(one[name].equal(other[name]) for name in one)


def test_bimp_is_a_linear_training_and_imp_with_allr_after_it() -> None:
    """One run of four dense epochs and two cycles against a dense run, and a second one that starts from it."""
    whole = weights_after(document("ALLR"))
    model, optimizer = small_model(), sgd(small_model())
    optimizer = sgd(model)
    dense = {**document("ALLR"), "phases": CYCLES[:1], "pruners": {}, "policies": [DENSE]}
    del dense["lr_schedulers"]["again"]
    first = load_schedule(dense).bind(model, optimizer)
    train(first, model, optimizer)
    cycles = {**document("ALLR"), "phases": CYCLES[1:], "policies": [CUT, AGAIN]}
    del cycles["lr_schedulers"]["dense"]
    second = load_schedule(cycles).bind(model, optimizer, trace=first.trace)
    shifted(second, model, optimizer, by=4)
    assert all(whole[name].equal(value) for name, value in model.state_dict().items())


def shifted(scheduler: PruningScheduler, model: nn.Module, optimizer: torch.optim.Optimizer, by: int) -> None:
    """The plain loop over the data of later epochs."""
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        for step in range(4):
            scheduler.on_minibatch_begin(epoch, step, 4)
            images, labels = batch(epoch + by, step)
            loss = scheduler.before_backward_pass(epoch, step, 4, nn.functional.cross_entropy(model(images), labels))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            scheduler.before_parameter_optimization(epoch, step, 4)
            optimizer.step()
            scheduler.on_minibatch_end(epoch, step, 4)
        scheduler.on_epoch_end(epoch)


@pytest.mark.parametrize("cycle", [1, 2, 4])
def test_rewinding_the_clock_is_learning_rate_rewinding(cycle: int) -> None:
    phases = [{"name": "dense", "epochs": 4}, {"name": "cycle", "epochs": cycle, "repeat": 2}]
    policies = [CUT, {"rewind": {"clock": 4 - cycle}, "at": "cycle"},
                {"lr_scheduler": "dense", "during": ["dense", "cycle"]}]  # fmt: skip
    rewound = document("LRW", phases=phases, policies=policies)
    del rewound["lr_schedulers"]["again"]
    assert rates(rewound) == pytest.approx(rates(document("LRW", phases=phases)))


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 30))
def test_a_rescaled_linear_training_is_linear(budget: int) -> None:
    """Budget-aware conversion of a line is a line (Li, Yumer and Ramanan, 2020, arXiv 1905.04753)."""
    dense = {**document("LLR"), "phases": CYCLES[:1], "pruners": {}, "policies": [DENSE]}
    del dense["lr_schedulers"]["again"]
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = rescale(load_schedule(dense), budget).bind(model, optimizer)
    seen = []
    for epoch in scheduler.epochs():
        scheduler.on_epoch_begin(epoch)
        scheduler.on_minibatch_begin(epoch, 0, 1)
        seen.append(optimizer.param_groups[0]["lr"])
        scheduler.on_epoch_end(epoch)
    assert seen == pytest.approx([0.1 * (1 - epoch / budget) for epoch in range(budget)])


# --- rewinding as a method -------------------------------------------------------------------------------------------


def first_step_weights(rewind: dict[str, Any], **axes: Any) -> tuple[dict[str, Tensor], PruningScheduler]:
    """The model right after the beginning of the first cycle."""
    policies = [CUT, {"rewind": rewind, "at": "cycle"}, {"lr_scheduler": "dense", "during": ["dense", "cycle"]}]
    written = document("LLR", policies=policies, **axes)
    del written["lr_schedulers"]["again"]
    model, optimizer, scheduler = bound(written)
    train(scheduler, model, optimizer, epochs=range(4))
    scheduler.on_epoch_begin(4)
    return model.state_dict(), scheduler


@pytest.mark.parametrize("pruned", ["zero", "hidden", "dense"])
def test_the_lottery_ticket_is_the_initial_network_under_its_mask(pruned: str) -> None:
    initial = small_model().state_dict()
    found, scheduler = first_step_weights({"weights": 0, "clock": 0}, pruned=pruned)
    masks = {name: scheduler.masks.in_force(name) for name in scheduler.masks.names}
    assert masks.keys() == {"0.weight", "5.weight"} and not all(bool(mask.all()) for mask in masks.values())
    assert all(found[name].equal(value * masks.get(name, torch.tensor(1)).to(value)) for name, value in initial.items())


def test_rewinding_to_the_end_of_the_dense_phase_is_fine_tunings_start() -> None:
    rewound, scheduler = first_step_weights({"weights": 4, "optimizer": "keep"})
    stayed, _ = first_step_weights({"optimizer": "mask"})
    assert all(rewound[name].equal(value) for name, value in stayed.items()) and scheduler.cuts


def test_the_lottery_tickets_cycles_repeat_the_rates_of_the_dense_training() -> None:
    phases = [{"name": "dense", "epochs": 4}, {"name": "cycle", "epochs": 4, "repeat": 2}]
    policies = [CUT, {"rewind": {"weights": 0, "clock": 0}, "at": "cycle"},
                {"lr_scheduler": "dense", "during": ["dense", "cycle"]}]  # fmt: skip
    written = document("LLR", phases=phases, policies=policies)
    del written["lr_schedulers"]["again"]
    seen = rates(written)
    assert seen[:16] == seen[16:32] == seen[32:48]


def test_a_loop_that_leaves_out_the_callback_before_the_update_has_a_trace_too() -> None:
    model = small_model()
    optimizer = sgd(model, lr=0.3)
    scheduler = load_schedule({"version": 2, "policies": []}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    for step in range(2):
        scheduler.on_minibatch_begin(0, step, 2)
        scheduler.on_minibatch_end(0, step, 2)
    assert scheduler.trace == Trace([0.3, 0.3], 2)


def test_a_trace_that_is_a_list_is_refused() -> None:
    with pytest.raises(SchedEngineError, match=r"Trace\(rates, steps_per_epoch\); got \[0.1\]"):
        load_schedule({"version": 2, "policies": []}).bind(small_model(), epochs=1, trace=[0.1])  # type: ignore[arg-type]


SOFT = {"update": "learned", "pruned": {"soft_threshold": {"init": -2.0, "weight_decay": 0.1}}}
DECAYED = {"update": "reselect", "pruned": {"decay": {"strength": 0.02}}, "sparsity": 0.5}


@pytest.mark.parametrize(("pruner", "epochs"), [(SOFT, 2), (DECAYED, 4)], ids=["learned", "held back"])
def test_the_dense_training_ends_where_a_pruner_learns_but_not_where_it_holds_back(
    pruner: dict[str, Any], epochs: int
) -> None:
    """As the engine records it, and as the file's check has it: a replay of the last two epochs fits into both."""
    phases = [{"name": name, "epochs": 2} for name in ("dense", "act", "tune")]
    cutting = [] if pruner is SOFT else [{"pruner": "cut", "at": "tune"}]
    policies = [
        {"pruner": "p", "during": "act"},
        *cutting,
        {"lr_scheduler": "fall", "during": ["dense", "act"]},
        {"lr_scheduler": "again", "during": "tune"},
    ]
    pruners = {"p": pruner} if pruner is SOFT else {"p": pruner, "cut": {"sparsity": 0.5}}
    rates = {"fall": {"class": "linear", "from": 0.1}, "again": {"class": "LRW"}}
    document = {"version": 2, "phases": phases, "pruners": pruners, "lr_schedulers": rates, "policies": policies}
    model = small_model()
    optimizer = sgd(model)
    scheduler = load_schedule(document).bind(model, optimizer, steps_per_epoch=4)
    train(scheduler, model, optimizer)
    assert scheduler.trace is not None and scheduler.trace.epochs == epochs


def test_a_peak_is_not_taken_from_what_is_learned_or_held_back() -> None:
    phases = [{"name": "dense", "epochs": 2}, {"name": "act", "epochs": 2}]
    for pruner in (SOFT, DECAYED):
        policies = [{"pruner": "p", "during": "act"}, {"lr_scheduler": "again", "during": "act"}]
        document = {"version": 2, "phases": phases, "pruners": {"p": pruner}, "policies": policies}
        with pytest.raises(ScheduleError, match="takes its peak from a cut at epoch 2, and no pruner cuts then"):
            load_schedule({**document, "lr_schedulers": {"again": {"class": "ALLR"}}})
