"""What a run can be asked, and what is refused."""

from __future__ import annotations

import json

import pytest

from schedengine.errors import CheckpointError, SchedEngineError
from schedengine.training.settings import Algorithm, Amp, Settings


def settings(**options: object) -> Settings:
    return Settings("s.yaml", "digits_cnn", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("optimizer", "usual"),
    [("sgd", (0.1, 0.9, 1e-4)), ("adam", (1e-3, None, 0.0)), ("adamw", (1e-3, None, 1e-2))],
)
def test_each_optimizer_has_its_usual_rates(optimizer: str, usual: tuple[float, float | None, float]) -> None:
    made = settings(optimizer=Algorithm(optimizer))
    assert (made.lr, made.momentum, made.weight_decay) == usual


def test_what_is_given_is_kept() -> None:
    made = settings(lr=0.5, momentum=0.0, weight_decay=0.0)
    assert (made.lr, made.momentum, made.weight_decay) == (0.5, 0.0, 0.0)


def test_settings_survive_json() -> None:
    made = settings(amp=Amp.BF16, epochs=3)
    assert Settings.from_plain(json.loads(json.dumps(made.plain()))) == made


def test_momentum_is_for_sgd_only() -> None:
    with pytest.raises(SchedEngineError, match="--momentum 0.9: adam has none"):
        settings(optimizer=Algorithm.ADAM, momentum=0.9)


@pytest.mark.parametrize(
    "wrong", [{"lr": 0.0}, {"lr": float("nan")}, {"momentum": 1.0}, {"epochs": 0}, {"batch_size": 0}]
)
def test_values_out_of_range_are_refused_by_their_option(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(SchedEngineError, match="--" + name.replace("_", "-")):
        settings(**wrong)


def test_every_difference_from_the_run_is_named() -> None:
    with pytest.raises(SchedEngineError, match=r"--lr 0.2: the run was started with 0.1.*\n--seed 7"):
        settings().check_agrees({"lr": 0.2, "seed": 7, "batch_size": 64})


def test_settings_of_another_release_are_refused() -> None:
    with pytest.raises(CheckpointError, match="another release"):
        Settings.from_plain({"schedule": "s.yaml", "model": "m", "colour": "blue"})


def test_plugins_are_part_of_the_settings() -> None:
    made = settings(plugin=["mine.power"])
    assert made.plain()["plugin"] == ["mine.power"]
    assert Settings.from_plain(json.loads(json.dumps(made.plain()))) == made
