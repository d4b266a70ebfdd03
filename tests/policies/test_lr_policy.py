"""Learning rates in a loop: what the optimizer has at each step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from loops import sgd, small_model, train

from schedengine import ScheduleError, load_schedule


def rates(document: dict[str, Any], *, epochs: int, steps: int = 2, lr: float = 0.1, resume_at: int = 0) -> list[float]:
    model = small_model()
    optimizer = sgd(model, lr=lr)
    scheduler = load_schedule({"version": 2, **document}).bind(model, optimizer, epochs=epochs)
    seen: list[float] = []
    train(scheduler, model, optimizer, steps=steps, after_step=lambda *_: seen.append(optimizer.param_groups[0]["lr"]))
    return seen


def one(fields: dict[str, Any], policy: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {"lr_schedulers": {"lr": fields}, "policies": [{"lr_scheduler": "lr", **policy}], **sections}


def test_our_shapes_move_with_every_step() -> None:
    document = one({"class": "linear", "from": 0.4, "to": 0.0}, {"during": "run"})
    assert rates(document, epochs=2) == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_torchs_classes_move_with_every_epoch() -> None:
    document = one({"class": "ExponentialLR", "gamma": 0.5}, {"during": "run"})
    assert rates(document, epochs=3) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_torchs_classes_move_with_every_step_if_asked() -> None:
    document = one({"class": "ExponentialLR", "gamma": 0.5}, {"during": "run", "every": "1st"})
    assert rates(document, epochs=2) == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_a_schedule_restarts_with_every_repeat() -> None:
    phases = {"phases": [{"name": "cycle", "epochs": 1, "repeat": 2}]}
    document = one({"class": "linear"}, {"during": "cycle"}, **phases)
    assert rates(document, epochs=2) == pytest.approx([0.1, 0.05, 0.1, 0.05])


def test_the_runs_clock_does_not_restart() -> None:
    phases = {"phases": [{"name": "cycle", "epochs": 1, "repeat": 2}]}
    document = one({"class": "linear"}, {"during": "cycle", "clock": "run"}, **phases)
    assert rates(document, epochs=2) == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_a_rate_stays_where_its_window_left_it() -> None:
    document = one({"class": "ExponentialLR", "gamma": 0.5}, {"during": "run", "until": 2})
    assert rates(document, epochs=4, steps=1) == pytest.approx([0.1, 0.05, 0.05, 0.05])


def test_other_parameter_groups_keep_their_ratio() -> None:
    model = small_model()
    groups = [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[5].parameters(), "lr": 0.02}]
    optimizer = torch.optim.SGD(groups)  # type: ignore[arg-type]
    document = one({"class": "linear", "from": 0.4}, {"during": "run"})
    scheduler = load_schedule({"version": 2, **document}).bind(model, optimizer, epochs=2)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 1, 2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.3, 0.03])


def test_a_tensor_rate_is_filled_in_place() -> None:
    model = small_model()
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, capturable=False, foreach=False)
    document = one({"class": "linear", "from": 0.4}, {"during": "run"})
    scheduler = load_schedule({"version": 2, **document}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 1, 2)
    assert optimizer.param_groups[0]["lr"] is rate and float(rate) == pytest.approx(0.2)


def test_one_cycle_moves_the_momentum_too() -> None:
    model = small_model()
    optimizer = sgd(model)
    document = one({"class": "OneCycleLR", "max_lr": 0.4}, {"during": "run", "every": "1st"})
    scheduler = load_schedule({"version": 2, **document}).bind(model, optimizer, epochs=1)
    scheduler.on_epoch_begin(0)
    scheduler.on_minibatch_begin(0, 0, 10)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.95)
    scheduler.on_minibatch_begin(0, 2, 10)
    assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.85)


def test_plateau_lowers_the_rate_when_the_metric_stalls() -> None:
    """Losses 1, 1/2, 1/3 improve; with mode max the falling ones do not: lowered after epochs 1 and 2."""
    fields = {"class": "ReduceLROnPlateau", "patience": 0, "mode": "max", "metric": "loss"}
    assert rates(one(fields, {"during": "run"}), epochs=4, steps=1) == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_a_schedule_of_rates_needs_the_optimizer() -> None:
    document = one({"class": "linear"}, {"during": "run"})
    with pytest.raises(ScheduleError, match=r"policies\[0\]: a learning-rate schedule needs the optimizer"):
        load_schedule({"version": 2, **document}).bind(small_model(), epochs=1)


def test_shapes_need_the_length_of_the_run_before_it_starts() -> None:
    document = one({"class": "linear"}, {"during": "run"})
    with pytest.raises(ScheduleError, match="length of the run is needed"):
        load_schedule({"version": 2, **document}).bind(small_model(), sgd(small_model()))


def test_an_instant_reads_the_clock_in_the_schedules_own_unit() -> None:
    document = one({"class": "ExponentialLR", "gamma": 0.5}, {"at": [1, 3], "clock": "run"})
    assert rates(document, epochs=4, steps=3)[::3] == pytest.approx([0.1, 0.05, 0.05, 0.0125])


def test_a_shape_at_an_instant_has_no_span_and_is_an_error() -> None:
    model = small_model()
    with pytest.raises(ScheduleError, match=r"policies\[0\]: .*length"):
        schedule = load_schedule({"version": 2, **one({"class": "linear"}, {"at": "start"})})
        schedule.bind(model, sgd(model), epochs=2, steps_per_epoch=3)


def test_a_warm_up_longer_than_its_window_is_an_error_before_training() -> None:
    model = small_model()
    document = one({"class": "linear", "warmup": "100st"}, {"during": "run"})
    with pytest.raises(ScheduleError, match="100"):
        load_schedule({"version": 2, **document}).bind(model, sgd(model), epochs=2, steps_per_epoch=3)


def test_a_plateau_goes_on_from_the_rate_that_another_policy_left() -> None:
    document = {
        "lr_schedulers": {"s": {"class": "step", "drops": [1]}, "p": {"class": "ReduceLROnPlateau"}},
        "policies": [
            {"lr_scheduler": "s", "during": "run", "until": 2},
            {"lr_scheduler": "p", "during": "run", "from": 2},
        ],
    }
    assert rates(document, epochs=4, steps=1) == pytest.approx([0.1, 0.01, 0.01, 0.01])
